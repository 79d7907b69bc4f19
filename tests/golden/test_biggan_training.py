"""Whole iterations of BigGAN-PyTorch's training, reproduced by the Trainer on recorded noise."""

import json
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

from limner.checkpoints.importers.biggan_names import to_limner
from limner.core.config import Config
from limner.data.config import DataConfig
from limner.engine import Adam, Players, RunConfig, Update
from limner.engine.controllers import Controller, Ema
from limner.engine.noise import Draw, Noise
from limner.engine.trainer import Trainer
from limner.models import (
    BigGanDiscriminator,
    BigGanGenerator,
    SnganDiscriminator,
    SnganGenerator,
)
from limner.objectives import HingeD, HingeG, Orthogonal

RTOL, ATOL = 1e-3, 1e-4  # the fixtures' own, for training
SHARE_OF_SIGN_NOISE = 0.005  # entries that may be off by 2 * lr a step, for Adam with beta1 = 0


class Replay(Noise):
    """Hands out recorded latents and labels [iterations, calls, rows, ...]; a pass that needs
    fewer rows than were recorded takes the first, as the reference does."""

    def __init__(self, latents, labels):
        super().__init__(seed=0)
        self.recorded = {"latents": latents, "labels": labels}

    def draw(self, step, call):
        return ReplayedDraw(self, step, call)


class ReplayedDraw(Draw):
    def latents(self, num, z_dim):
        assert self._noise.recorded["latents"].shape[3] == z_dim
        return self._rows_of("latents", num)

    def labels(self, num, num_classes, rule="drawn"):
        assert rule == "drawn"
        return self._rows_of("labels", num)

    def _rows_of(self, name, num):
        rows = self._noise.recorded[name][self._step, self._call]
        assert num <= len(rows)
        return rows[:num]


class Pictures:
    """The loader's pictures in their order, `size` at a time; conversion is undone beforehand."""

    def __init__(self, images, labels, size):
        self.parts = list(zip(images.split(size), labels.split(size), strict=True))

    def __call__(self):
        images, self.labels = self.parts.pop(0)
        self.images = (images + 1) * 127.5
        self.indices = torch.arange(len(images))
        return self


class Losses(Config, Controller, frozen=True):
    """Keeps the loss of the last micro-batch of each update, undivided by the repeats."""

    last: ClassVar[dict[str, float]] = {}

    def after_update(self, trainer, player, memory):
        self.last[player] = float(trainer.watch.batches[-1].loss)


def cifar() -> RunConfig:
    """Accumulation in both players, 6 latents for the generator, regularization, an average."""
    return RunConfig(
        name="train_cifar_2x2",
        generator=BigGanGenerator(width=4, z_dim=12, init="normal"),
        discriminator=BigGanDiscriminator(width=4, init="normal"),
        data=DataConfig(resolution=32),
        updates=(
            Update(player="d", terms=(HingeD(),), repeats=2, accumulate=2, forwards="joint"),
            Update(
                player="g",
                terms=(HingeG(),),
                accumulate=2,
                num_latents=6,
                direct=(Orthogonal(strength=1e-4),),
            ),
        ),
        optim=Players(g=Adam(lr=1e-3, betas=(0.0, 0.999)), d=Adam(lr=2e-3, betas=(0.0, 0.999))),
        controllers=(Ema(decay=0.9), Losses()),
        batch_size=4,
        steps=2,
    )


def sngan() -> RunConfig:
    """Five steps of a thin discriminator, an average that begins in the second iteration."""
    adam = Adam(lr=1e-3, betas=(0.0, 0.9))
    return RunConfig(
        name="train_sngan_5",
        generator=SnganGenerator(width=4, z_dim=16),
        discriminator=SnganDiscriminator(width=4),
        data=DataConfig(resolution=32),
        updates=(
            Update(player="d", terms=(HingeD(),), repeats=5, forwards="joint"),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(g=adam, d=adam),
        controllers=(Ema(decay=0.99, start_step=2), Losses()),
        batch_size=3,
        steps=2,
    )


class Compared:
    """Counts what a fixture's iteration left behind against the trainer's."""

    def __init__(self, config, facts, tensors):
        self.config, self.tensors = config, tensors
        self.noisy = set(facts["keys_with_rounding_noise_gradient"]["keys"])
        self.seen: dict[str, int] = {}

    def state(self, iteration, net, got):
        """Entries of one network after an iteration."""
        role, config = self.role_of(net)
        expected = self.group(f"after_itr{iteration}/{net}/")
        names = to_limner(role, config, {key: key for key in expected})
        assert expected
        player = self.config.optim.d if net == "D" else self.config.optim.g
        updates = {u.player: u.repeats for u in self.config.updates}["d" if net == "D" else "g"]
        allowed = 2 * player.lr * updates * iteration
        for ours, theirs in names.items():
            self.entry(f"{net}/{theirs}", got[ours], expected[theirs], allowed)
        self.seen[f"{iteration}/{net}"] = len(names)

    @torch.no_grad()
    def take_noise(self, iteration, net, network):
        """Go on from the recorded biases whose true gradient is 0 (and what they feed): Adam moved
        them at random, and over iterations chance would add up."""
        recorded = self.group(f"after_itr{iteration}/{net}/")
        noisy = {key: value for key, value in recorded.items() if f"{net}/{key}" in self.noisy}
        own = network.state_dict()
        for ours, value in to_limner(*self.role_of(net), noisy).items():
            own[ours].copy_(value.view_as(own[ours]))

    def entry(self, name, got, expected, allowed):
        gap = (got - expected.view_as(got)).abs()
        assert float(gap.max()) <= max(allowed, RTOL * float(expected.abs().max()) + ATOL), name
        if name in self.noisy:
            return
        outside = gap > RTOL * expected.view_as(got).abs() + ATOL
        assert float(outside.float().mean()) < SHARE_OF_SIGN_NOISE, (name, float(gap.max()))

    def role_of(self, net):
        if net == "D":
            return "discriminator", self.config.discriminator
        return "generator", self.config.generator

    def group(self, prefix):
        return {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}


def fill_networks(trainer, compared):
    for net, player in (("G", "g"), ("D", "d")):
        state = to_limner(*compared.role_of(net), compared.group(f"state/{net}/"))
        own = trainer.networks[player].state_dict()
        state = {key: value.view_as(own[key]) for key, value in state.items()}
        trainer.networks[player].load_state_dict(own | state)
        assert set(own) - set(state) <= {k for k in own if k.endswith("num_batches_tracked")}
    trainer.generator_ema.load_state_dict(trainer.networks["g"].state_dict())


def compare_losses(compared, iteration):
    out = compared.group(f"out/itr{iteration}/")
    d, g = compared.config.updates
    expected = {
        "d": float(out["D_loss_real"] + out["D_loss_fake"]) / d.accumulate,
        "g": float(out["G_loss"]),
    }
    assert Losses.last == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert g.accumulate == (2 if compared.config.name == "train_cifar_2x2" else 1)


def compare_optimizers(compared, trainer):
    """Second moments, relative to the largest of each tensor: they reach 150 here."""
    for net, player in (("G", "g"), ("D", "d")):
        names = {p: name for name, p in trainer.networks[player].named_parameters()}
        state = trainer.optimizers[player].state
        got = {names[p]: values["exp_avg_sq"] for p, values in state.items()}
        expected = compared.group(f"after_itr2/{net}_optim/exp_avg_sq/")
        assert expected
        for ours, value in to_limner(*compared.role_of(net), expected).items():
            gap = float((got[ours] - value.view_as(got[ours])).abs().max())
            assert gap <= 4e-3 * float(value.abs().max()) + 1e-6, (net, ours, gap)


# The recorded reals are no multiples of 1 / 127.5, so floats stand where pictures are uint8.
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("config", [cifar(), sngan()], ids=lambda config: config.name)
def test_two_iterations_of_the_reference(golden, config):
    path = golden(f"biggan/{config.name}.safetensors")
    facts = json.loads(path.with_suffix(".json").read_text())
    tensors = load_file(path.with_suffix(".safetensors"))
    compared = Compared(config, facts, tensors)
    reals = tensors["in/x_real"].flatten(0, 1), tensors["in/y_real"].flatten()
    trainer = Trainer(
        config,
        (3, 32, 32),
        10,
        Pictures(*reals, config.batch_size),
        noise=Replay(tensors["in/z_seq"], tensors["in/y_seq"]),
    )
    fill_networks(trainer, compared)
    for iteration in (1, 2):
        trainer.step()
        compare_losses(compared, iteration)
        for net, network in (
            ("G", trainer.networks["g"]),
            ("D", trainer.networks["d"]),
            ("G_ema", trainer.generator_ema),
        ):
            compared.state(iteration, net, network.state_dict())
            compared.take_noise(iteration, net, network)
    compare_optimizers(compared, trainer)
    stored = [key for key in tensors if key.startswith("after_itr") and "_optim/" not in key]
    assert sum(compared.seen.values()) == len(stored) > 300
    assert trainer.progress.nimg == len(reals[0])
