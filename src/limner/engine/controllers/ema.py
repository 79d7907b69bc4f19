"""A moving average of the generator's weights."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.ranges import BelowOne, NonNegativeInt, Positive, PositiveInt
from limner.core.schedules import Schedule, value_at
from limner.engine.controllers.base import Controller, TrainerView
from limner.engine.progress import Progress
from limner.objectives.base import Memory


class Ema(Config, Controller, frozen=True, kw_only=True):
    """e <- e + (1 - decay) (w - e) over parameters, and over buffers unless they are copied.

    Attributes:
        decay: a step's decay (Karras et al. 2018: 0.999; Brock et al. 2019: 0.9999), or
        half_life_nimg: images after which an old weight counts half; decay = 0.5^(images / it).
            With a schedule, 0 copies.
        rampup: the half-life is at most this share of the images shown before the step (Karras et
            al. 2020, StyleGAN2-ADA: 0.05), so that the first step copies.
        start_step: the average is a plain copy until this step (counted from 1).
        every: move at each `every`-th step only.
        after: the player whose update it follows, or the end of the "step".
        buffers: "average" floating-point buffers too (running statistics), or "copy" them.
    """

    averages: ClassVar[bool] = True

    decay: BelowOne | None = None
    half_life_nimg: Positive | Schedule | None = None
    rampup: Positive | None = None
    start_step: NonNegativeInt = 0
    every: PositiveInt = 1
    after: Literal["g", "d", "step"] = "g"
    buffers: Literal["average", "copy"] = "average"

    def __post_init__(self) -> None:
        if (self.decay is None) == (self.half_life_nimg is None):
            raise ConfigError("give exactly one of decay and half_life_nimg")
        if self.rampup is not None and self.half_life_nimg is None:
            raise ConfigError("rampup: it bounds a half-life; give half_life_nimg, or leave it out")

    def after_update(self, trainer: TrainerView, player: str, memory: Memory) -> None:
        if player == self.after:
            self._move(trainer, trainer.progress.step + 1, memory)

    def after_step(self, trainer: TrainerView, memory: Memory) -> None:
        if self.after == "step":
            self._move(trainer, trainer.progress.step, memory)

    def _move(self, trainer: TrainerView, step: int, memory: Memory) -> None:
        if step % self.every:
            return
        assert trainer.generator_ema is not None
        decay = self._decay(trainer.progress, memory)
        if step < self.start_step:
            decay = 0.0
        average(trainer.generator_ema, trainer.networks["g"], decay, self.buffers == "average")

    def _decay(self, progress: Progress, memory: Memory) -> float:
        if self.decay is not None:
            return self.decay
        assert self.half_life_nimg is not None
        before = int(memory["nimg"]) if "nimg" in memory else progress.step_nimg
        memory["nimg"] = torch.tensor(progress.nimg)
        half_life = value_at(self.half_life_nimg, progress.step_nimg)
        if self.rampup is not None:
            half_life = min(half_life, progress.step_nimg * self.rampup)
        return 0.5 ** ((progress.nimg - before) / half_life) if half_life else 0.0


@torch.no_grad()
def average(target: nn.Module, source: nn.Module, decay: float, average_buffers: bool) -> None:
    """target <- target + (1 - decay) (source - target); integers (and buffers, if asked) copied."""
    moved: list[tuple[Tensor, Tensor]] = [
        *zip(target.parameters(), source.parameters(), strict=True)
    ]
    copied: list[tuple[Tensor, Tensor]] = []
    for pair in zip(target.buffers(), source.buffers(), strict=True):
        averaged = average_buffers and pair[0].is_floating_point()
        (moved if averaged else copied).append(pair)
    if decay == 0.0:
        copied, moved = copied + moved, []
    if copied:
        torch._foreach_copy_([t for t, _ in copied], [s for _, s in copied])
    if moved:
        torch._foreach_lerp_([t for t, _ in moved], [s for _, s in moved], 1.0 - decay)
