"""Progressive growing: level of detail, batch, rates and reals follow a schedule."""

import math
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from limner.core import distributed
from limner.core.config import Config
from limner.core.errors import ConfigError, LimnerError
from limner.core.growth import GrowthSchedule
from limner.core.ranges import PositiveInt
from limner.data.fading import shown_at
from limner.engine.controllers.base import Controller, TrainerView
from limner.objectives.base import Memory


class Growing(Protocol):
    """A network that grows: its level of detail may be set at any time."""

    lod: float


class Growth(Config, Controller, frozen=True, kw_only=True):
    """Moves both networks (and the average) through the levels of detail of a schedule.

    As `train_progressive_gan` does (tkarras/progressive_growing_of_gans, train.py): every
    `read_every` steps the schedule is read at the clock and sets `lod` of the networks, the batch
    and the learning rates, which then stay; reals are shown as the networks see their own images.
    Networks have a settable attribute `lod`. It must stand before controllers that read it.

    Attributes:
        schedule: everything that depends on the clock or the resolution.
        read_every: steps between two readings (the reference's minibatch_repeats).
        reset_optimizers: forget the optimizers' moments whenever floor or ceil of lod changes, so
            when a level begins to fade in and when it is there.
    """

    schedule: GrowthSchedule = GrowthSchedule()
    read_every: PositiveInt = 4
    reset_optimizers: bool = True

    def begin(self, trainer: TrainerView, memory: Memory) -> None:
        self._set(trainer, float(memory["lod"]) if "lod" in memory else self._lod(trainer))

    def before_step(self, trainer: TrainerView, memory: Memory) -> None:
        if trainer.progress.step % self.read_every == 0 or "lod" not in memory:
            self._read(trainer, memory)

    def rate(self, trainer: TrainerView, player: str, memory: Memory) -> float:
        adam = trainer.config.optim.g if player == "g" else trainer.config.optim.d
        own = self.schedule.learning_rate(player, self._resolution(trainer, memory), adam.lr)
        return own / adam.lr if adam.lr else 1.0

    def after_step(self, trainer: TrainerView, memory: Memory) -> None:
        progress = trainer.progress
        if progress.step % self.read_every:
            return
        resolution = self._resolution(trainer, memory)
        if progress.nimg >= int(memory["tick_from"]) + self.schedule.tick_nimg(resolution):
            memory["tick_from"] = torch.tensor(progress.nimg)
            progress.tick, progress.tick_step = progress.tick + 1, progress.step

    def reals(self, trainer: TrainerView, images: Tensor, memory: Memory) -> Tensor:
        return shown_at(float(memory["lod"]), images)

    def figures(self, trainer: TrainerView, memory: Memory) -> dict[str, float]:
        return {
            "lod": float(memory["lod"]),
            "batch_size": trainer.batch_size,
            "tick": trainer.progress.tick,
        }

    def _read(self, trainer: TrainerView, memory: Memory) -> None:
        lod, before = self._lod(trainer), memory.get("lod")
        if before is not None and _levels(lod) != _levels(float(before)):
            for optimizer in trainer.optimizers.values():
                optimizer.state.clear() if self.reset_optimizers else _come_of_age(optimizer)
        memory["lod"] = torch.tensor(lod, dtype=torch.float64)
        if "tick_from" not in memory:
            memory["tick_from"] = torch.tensor(trainer.progress.nimg)
        self._set(trainer, lod)

    def _resolution(self, trainer: TrainerView, memory: Memory) -> int:
        # The networks hold their lod in single precision, which may round it over an edge.
        return self.schedule.resolution(float(memory["lod"]), self._full(trainer))

    def _lod(self, trainer: TrainerView) -> float:
        return self.schedule.lod(trainer.progress.nimg, self._full(trainer))

    def _full(self, trainer: TrainerView) -> int:
        """The larger side. Of a rectangle that the schedule does not reach so (40 of 24x40 from
        4), the power of two below, so that its levels count as those of squares: 5, 10 as 4, 8."""
        short, full = sorted(trainer.image_shape[1:])
        if short == full or self.schedule.reaches(full):
            return full
        return 1 << (full.bit_length() - 1)

    def _set(self, trainer: TrainerView, lod: float) -> None:
        for network in (*trainer.networks.values(), trainer.generator_ema):
            if network is None:
                continue
            if not hasattr(network, "lod"):
                raise ConfigError(
                    f"controllers: {type(network).__name__} does not grow (it has no lod); give "
                    "networks that do, or leave Growth out"
                )
            try:
                cast("Growing", network).lod = lod
            except LimnerError as error:
                raise ConfigError(
                    f"controllers: Growth is at lod {lod:g} from schedule.initial_resolution "
                    f"{self.schedule.initial_resolution}, but {type(network).__name__} has fewer "
                    f"levels ({error}); give a larger initial_resolution, or both networks a "
                    "smaller base"
                ) from None
        trainer.batch_size = self.schedule.batch_size(
            self.schedule.resolution(lod, self._full(trainer)),
            usual=trainer.config.batch_size,
            num_processes=distributed.world_size(),
        )


def _levels(lod: float) -> tuple[int, int]:
    return math.floor(lod), math.ceil(lod)


def _come_of_age(optimizer: Optimizer) -> None:
    """Give weights that have had no gradient yet the moments of so many steps without one.

    TensorFlow's Adam counts steps for all weights together; torch's for each from its first
    gradient on. Only without resets does that make a difference.
    """
    steps = [values["step"] for values in optimizer.state.values()]
    if not steps:
        return
    step = torch.stack(steps).max()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if not state:
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["step"] = step.clone()
