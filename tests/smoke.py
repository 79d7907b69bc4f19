"""The smoke of digits-tiny: a working run, and runs each broken in one way, from the outside.

`python tests/smoke.py 0-5 working` prints one JSON line a run: that is how the thresholds of
test_smoke.py were set and how docs/smoke.md was measured. Nothing in limner knows of the faults.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from limner.api import evaluation_sampler
from limner.core.config import Config
from limner.core.protocols import NetworkConfig
from limner.data import Loader, open_data
from limner.engine import RunConfig, Update
from limner.engine.controllers import Controller, Ema
from limner.engine.noise import Draw, Noise
from limner.engine.trainer import Trainer
from limner.metrics import make_evaluator
from limner.models import BigGanDiscriminator
from limner.objectives import HingeD, HingeG, Term
from limner.presets import digits_tiny

# --- broken parts --------------------------------------------------------------


class WrongSignG(Config, Term, frozen=True):
    reads: ClassVar[tuple[str, ...]] = ("fake",)

    def __call__(self, batch, memory):
        return batch.fake_logits.mean()


class SwappedD(Config, Term, frozen=True):
    def __call__(self, batch, memory):
        return (1 + batch.real_logits).relu().mean() + (1 - batch.fake_logits).relu().mean()


class WrongLabelsG(Config, Term, frozen=True):
    reads: ClassVar[tuple[str, ...]] = ("fake",)

    def __call__(self, batch, memory):
        return -batch.critic(batch.fake, (batch.fake_labels + 1) % 10).logits.mean()


class UnconditionalD(Config, NetworkConfig, frozen=True):
    inner: BigGanDiscriminator

    def build(self, image_shape, num_classes):
        return self.inner.build(image_shape, 0)


class WithoutZ(Config, NetworkConfig, frozen=True):
    inner: NetworkConfig

    def build(self, image_shape, num_classes):
        return WithoutZNetwork(self.inner.build(image_shape, num_classes))


class WithoutZNetwork(nn.Module):
    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner, self.z_dim = inner, inner.z_dim

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return self.inner(torch.zeros_like(z), y)


class EmaWithoutBuffers(Config, Controller, frozen=True):
    averages: ClassVar[bool] = True

    def after_update(self, trainer, player, memory):
        if player == "g":
            pairs = zip(
                trainer.generator_ema.parameters(), trainer.networks["g"].parameters(), strict=True
            )
            with torch.no_grad():
                for target, source in pairs:
                    target.lerp_(source, 0.01)


class ZeroLatents(Noise):
    def draw(self, step, call):
        return ZeroDraw(self, step, call)


class ZeroDraw(Draw):
    def latents(self, num, z_dim):
        return torch.zeros(num, z_dim)


# --- variants ------------------------------------------------------------------


@dataclasses.dataclass
class Variant:
    """How one run differs from the working one."""

    config: Callable[[RunConfig], RunConfig] = lambda config: config
    choose: Callable[[np.ndarray], np.ndarray] = lambda labels: np.ones(len(labels), bool)
    relabel: Callable[[Tensor], Tensor] = lambda labels: labels
    repaint: Callable[[Tensor], Tensor] = lambda images: images
    noise: type[Noise] = Noise
    after: Callable[[Trainer], None] = lambda trainer: None


def with_terms(d: Term, g: Term) -> Callable[[RunConfig], RunConfig]:
    updates = (Update(player="d", terms=(d,)), Update(player="g", terms=(g,)))
    return lambda config: config.replace(updates=updates)


def with_rates(g: float = 1.0, d: float = 1.0) -> Callable[[RunConfig], RunConfig]:
    def change(config: RunConfig) -> RunConfig:
        optim = config.optim
        return config.replace(
            optim=optim.replace(
                g=optim.g.replace(lr=optim.g.lr * g), d=optim.d.replace(lr=optim.d.lr * d)
            )
        )

    return change


def shuffled(labels: Tensor) -> Tensor:
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(7))]


def keep_gradients(trainer: Trainer) -> None:
    trainer.optimizers["d"].zero_grad = lambda set_to_none=True: None


def first(num: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: np.arange(len(labels)) < num


VARIANTS: dict[str, Variant] = {
    "working": Variant(),
    "wrong-sign-g": Variant(config=with_terms(HingeD(), WrongSignG())),
    "swapped-d": Variant(config=with_terms(SwappedD(), HingeG())),
    "frozen-d": Variant(config=with_rates(d=0.0)),
    "frozen-g": Variant(config=with_rates(g=0.0)),
    "gradients-not-zeroed": Variant(after=keep_gradients),
    "shuffled-labels": Variant(relabel=shuffled),
    "wrong-labels-g": Variant(config=with_terms(HingeD(), WrongLabelsG())),
    "unconditional-d": Variant(
        config=lambda c: c.replace(discriminator=UnconditionalD(c.discriminator))
    ),
    "ignored-z": Variant(config=lambda c: c.replace(generator=WithoutZ(c.generator))),
    "trained-at-z-zero": Variant(noise=ZeroLatents),
    "ema-never-updated": Variant(
        config=lambda c: c.replace(controllers=(Ema(decay=0.99, every=10**9),))
    ),
    "ema-without-buffers": Variant(config=lambda c: c.replace(controllers=(EmaWithoutBuffers(),))),
    "stuck-loader": Variant(choose=first(100)),
    "missing-class": Variant(choose=lambda labels: labels != 3),
    "wrong-range": Variant(repaint=lambda images: images // 2 + 128),
    "wrong-flip": Variant(config=lambda c: c.replace(data=c.data.replace(flip=True))),
    "rates-x15": Variant(config=with_rates(15.0, 15.0)),
    "g-rate-tenth": Variant(config=with_rates(g=0.1)),
}


# --- running one ---------------------------------------------------------------


class Reals:
    """The loader's batches, read from the chosen pictures, relabelled and repainted."""

    def __init__(self, loader: Loader, data, variant: Variant):
        self.loader, self.variant = loader, variant
        self.chosen = np.flatnonzero(variant.choose(np.asarray(data.labels)))
        self.pictures = torch.from_numpy(np.array(data.images)).permute(0, 3, 1, 2)
        self.of_picture = torch.from_numpy(np.array(data.labels))

    def __call__(self):
        places = self.loader.next().indices % len(self.chosen)
        self.indices = torch.from_numpy(self.chosen)[places]
        self.images = self.variant.repaint(self.pictures[self.indices])
        self.labels = self.variant.relabel(self.of_picture[self.indices])
        return self


def trained(
    variant: Variant,
    change: Callable[[RunConfig], RunConfig] = lambda config: config,
    seed: int = 0,
) -> Trainer:
    """The trainer after the preset's 400 steps, or as many as `change` leaves."""
    config = change(variant.config(digits_tiny().replace(seed=seed)))
    data = open_data("digits", config.data)
    reals = Reals(Loader(data, config.batch_size, seed), data, variant)
    noise = variant.noise(seed)
    trainer = Trainer(config, data.image_shape, data.num_classes, reals, noise=noise)
    variant.after(trainer)
    assert config.steps is not None
    for _ in range(config.steps):
        trainer.step()
    return trainer


def run(name: str, seed: int, raw: bool = True) -> dict[str, float]:
    """Train one variant and score its average, and its raw weights where they are asked for."""
    begin = time.process_time()
    trainer = trained(VARIANTS[name], seed=seed)
    seconds = time.process_time() - begin
    data = open_data("digits", trainer.config.data)
    assert trainer.generator_ema is not None
    figures = score(trainer.generator_ema, data, trainer.config)
    if raw:
        of_raw = score(trainer.networks["g"], data, trainer.config)
        figures |= {"raw_fid": of_raw["fid"], "raw_floors": of_raw["floors"]}
    return {**figures, "seconds": seconds}


def score(generator: nn.Module, data, config: RunConfig) -> dict[str, float]:
    """accuracy, cas, recall, fid, and floors: fid in units of real half against real half."""
    evaluator = make_evaluator(data, list(config.metrics), config.num_evaluate)
    results = {r.name: r for r in evaluator(evaluation_sampler(generator, data.num_classes))}
    fid = results["fd-classifier"]
    return {
        "accuracy": results["accuracy"].value,
        "cas": results["cas-1nn"].value,
        "recall": results["recall"].value,
        "fid": fid.value,
        "floors": fid.value / fid.floor,
    }


def main(arguments: list[str]) -> None:
    low, _, high = arguments[0].partition("-")
    for name in arguments[1:] or VARIANTS:
        for seed in range(int(low), int(high or low) + 1):
            figures = {key: round(value, 4) for key, value in run(name, seed).items()}
            print(json.dumps({"variant": name, "seed": seed, **figures}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
