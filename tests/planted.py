"""Faults planted into a run from outside: numbers that are not finite, and players that collapse.

The parts are named in configs as "planted:Plant", so that the public command can be given them.
"""

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from limner.core.config import Config, to_json
from limner.core.protocols import NetworkConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Controller, Ema
from limner.models import DcganDiscriminator, DcganGenerator
from limner.objectives import HingeD, HingeG, NonSaturatingD, NonSaturatingG, Term
from limner.presets import digits_tiny
from runs import toy_pictures
from toys import ToyDiscriminator, ToyGenerator, toy_config

PLACES = ("loss", "gradient", "input", "weight", "statistic")
NAN = float("nan")


class Poisonable(Config, Term, frozen=True):
    """Nothing, until it is armed: then NaN, once."""

    reads: ClassVar[tuple[str, ...]] = ("fake",)
    armed: ClassVar[list[bool]] = []

    def __call__(self, batch, memory):
        return batch.fake_logits.mean() * (NAN if self.armed and self.armed.pop() else 0.0)


class Plant(Config, Controller, frozen=True, kw_only=True):
    """Plants NaN before step `at` + 1, while the run has gone back fewer than `times` times."""

    trainers: ClassVar[list[Any]] = []

    place: Literal["loss", "gradient", "input", "weight", "statistic", "average"]
    player: Literal["g", "d"]
    at: int = 5
    times: int = 99

    def before_step(self, trainer, memory):
        self.trainers[:] = [trainer]
        if trainer.progress.step == self.at and trainer.progress.rollbacks < self.times:
            getattr(self, f"_{self.place}")(trainer, trainer.networks[self.player])

    def _loss(self, trainer: Any, network: nn.Module) -> None:
        Poisonable.armed[:] = [True]

    def _gradient(self, trainer: Any, network: Any) -> None:
        weight = network.last.weight.requires_grad_()
        handle = weight.register_hook(lambda grad: handle.remove() or grad * NAN)

    def _weight(self, trainer: Any, network: Any) -> None:
        with torch.no_grad():
            network.first.weight[0, 0] = NAN

    def _statistic(self, trainer: Any, network: Any) -> None:
        network.norm.running_var[1] = math.inf

    def _average(self, trainer: Any, network: Any) -> None:
        with torch.no_grad():
            trainer.generator_ema.last.bias[0] = NAN

    def _input(self, trainer: Any, network: nn.Module) -> None:
        (self._reals if self.player == "d" else self._latents)(trainer)

    def _reals(self, trainer: Any) -> None:
        next_reals = trainer._next_reals

        def spoiled():
            trainer._next_reals = next_reals
            batch = next_reals()
            images = batch.images.float()
            images[2, 0, 1, 1] = NAN
            return batch._replace(images=images)

        trainer._next_reals = spoiled

    def _latents(self, trainer: Any) -> None:
        noise, draw = trainer.noise, trainer.noise.draw

        def spoiled(step, call):
            drawn = draw(step, call)
            if call == 1:  # the generator's own update
                del noise.draw
                latents = drawn.latents

                def with_nan(num: int, z_dim: int) -> Tensor:
                    z = latents(num, z_dim)
                    z[1, 0] = NAN
                    return z

                drawn.latents = with_nan
            return drawn

        noise.draw = spoiled


def planted_config(place: str, player: str, **changes: Any) -> RunConfig:
    """A toy run with batch norm in both players, and a fault."""
    at, times = changes.pop("at", 5), changes.pop("times", 99)
    poison = {p: (Poisonable(),) if (place, player) == ("loss", p) else () for p in "gd"}
    config = toy_config(
        generator=ToyGenerator(norm="batch"),
        discriminator=ToyDiscriminator(norm="batch"),
        updates=(
            Update(player="d", terms=(HingeD(), *poison["d"])),
            Update(player="g", terms=(HingeG(), *poison["g"])),
        ),
        controllers=(Plant(place=place, player=player, at=at, times=times), Ema(decay=0.9)),
        steps=10,
        num_classes=0,
        intervals=Intervals(log=2, health=2, sample=0, save=1),
    )
    return config.replace(**changes)


def planted_command(directory: Path, config) -> list[str]:
    """`limner train` of a config on 32 toy pictures."""
    file = directory / "config.json"
    file.write_text(to_json(config))
    data = directory / "pictures.npz"
    if not data.exists():
        toy_pictures(data)
    run = directory / "run"
    return ["train", str(file), "--data", str(data), "--run", str(run), "--device", "cpu"]


# --- collapses -------------------------------------------------------------------


class OneImage(Config, NetworkConfig, frozen=True):
    """A generator that sees neither latents nor labels."""

    inner: NetworkConfig

    def build(self, image_shape, num_classes):
        return OneImageNetwork(self.inner.build(image_shape, num_classes))


class OneImageNetwork(nn.Module):
    def __init__(self, inner: Any):
        super().__init__()
        self.inner, self.z_dim = inner, inner.z_dim

    def forward(self, z, y=None):
        return self.inner(torch.zeros_like(z), None if y is None else torch.zeros_like(y))


def rates(g: float, d: float, beta: float = 0.0) -> Players:
    return Players(g=Adam(lr=g, betas=(beta, 0.99)), d=Adam(lr=d, betas=(beta, 0.99)))


def watched(config: RunConfig, seed: int, steps: int, every: int) -> RunConfig:
    """Without scores and sheets, its health looked at in every log line."""
    intervals = Intervals(log=every, health=every, sample=0, save=0)
    return config.replace(metrics=(), intervals=intervals, seed=seed, steps=steps)


def small_convolutions() -> RunConfig:
    """A plain convolutional pair on digits at 8x8, batch norm and logistic loss: quick and tame."""
    return digits_tiny().replace(
        name="convolutions",
        generator=DcganGenerator(width=16, z_dim=32),
        discriminator=DcganDiscriminator(width=16),
        updates=(
            Update(player="d", terms=(NonSaturatingD(),)),
            Update(player="g", terms=(NonSaturatingG(),)),
        ),
        optim=rates(2e-3, 2e-3, 0.5),
        batch_size=32,
    )


# A generator that hardly moves stands for a discriminator that is far too strong.
WRONG_RATES = {"rate too high": rates(0.2, 0.2), "discriminator wins": rates(1e-6, 8e-3)}
COLLAPSES = ("one picture", *WRONG_RATES)


def collapsing(config: RunConfig, kind: str) -> RunConfig:
    """A run that goes wrong in one way."""
    if kind == "one picture":
        return config.replace(generator=OneImage(inner=config.generator))
    return config.replace(optim=WRONG_RATES[kind])
