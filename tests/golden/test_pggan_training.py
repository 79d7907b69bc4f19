"""Three iterations of the original's training in a fade, reproduced by the Trainer."""

import json
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

from limner.checkpoints.importers.pggan_names import to_limner
from limner.core.config import Config
from limner.data import DataConfig
from limner.engine import Adam, Players, RunConfig, Update
from limner.engine.controllers import Controller, Ema
from limner.engine.noise import Draw, Noise
from limner.engine.trainer import Trainer
from limner.models import PgganDiscriminator, PgganGenerator
from limner.objectives import (
    AuxiliaryClassifierD,
    AuxiliaryClassifierG,
    Drift,
    GradientPenalty,
    WassersteinD,
    WassersteinG,
)

RTOL, ATOL = 1e-3, 1e-4  # the fixture's own
LR, STEPS = 1e-3, 3
SHARE_OF_SIGN_NOISE = 0.005  # entries whose gradient is about 0: Adam with beta1 = 0 moves them
ROLES = {"G": "generator", "D": "discriminator", "Gs": "generator"}


class Replay(Noise):
    """Hands out the recorded latents, labels and mixing factors; the first call is D's."""

    def __init__(self, tensors):
        super().__init__(seed=0)
        self.tensors = tensors

    def draw(self, step, call):
        return ReplayedDraw(self, step, call)


class ReplayedDraw(Draw):
    def _recorded(self, name):
        return self._noise.tensors[f"in/train_{name}"][self._step]

    def latents(self, num, z_dim):
        latents = self._recorded("D_latents" if self._call == 0 else "G_latents")
        assert latents.shape == (num, z_dim)
        return latents

    def labels(self, num, num_classes, rule="drawn"):
        assert (self._call, rule) == (1, "natural")
        return self._recorded("G_labels")

    def uniform(self, purpose, shape):
        assert (self._call, purpose) == (0, "mix")
        return self._recorded("mixing")


class Pictures:
    """The recorded reals with their labels; conversion from bytes is undone beforehand."""

    def __init__(self, tensors):
        self.tensors, self.drawn = tensors, 0

    def __call__(self):
        self.images = (self.tensors["in/train_reals"][self.drawn] + 1) * 127.5
        self.labels = self.tensors["in/train_labels"][self.drawn]
        self.indices = torch.arange(len(self.images))
        self.drawn += 1
        return self


class Losses(Config, Controller, frozen=True):
    """Keeps the loss of the last micro-batch of each update."""

    last: ClassVar[dict[str, float]] = {}

    def after_update(self, trainer, player, memory):
        self.last[player] = float(trainer.watch.batches[-1].loss)


def original() -> RunConfig:
    """loss.py and train.py of the original, with labels, G_smoothing 0.999."""
    adam = Adam(lr=LR, betas=(0.0, 0.99), eps=1e-8)
    return RunConfig(
        name="pggan16_train",
        generator=PgganGenerator(fmap_base=64, fmap_max=12),
        discriminator=PgganDiscriminator(fmap_base=64, fmap_max=12),
        data=DataConfig(resolution=16),
        updates=(
            Update(
                player="d",
                terms=(WassersteinD(), GradientPenalty(), Drift(), AuxiliaryClassifierD()),
                labels="real",
            ),
            Update(player="g", terms=(WassersteinG(), AuxiliaryClassifierG()), labels="natural"),
        ),
        optim=Players(g=adam, d=adam),
        controllers=(Ema(decay=0.999, after="d", buffers="copy"), Losses()),
        batch_size=8,
        steps=STEPS,
    )


def part_of(tensors, config, place, net):
    begin = f"{place}/{net}/"
    part = {k.removeprefix(begin): v for k, v in tensors.items() if k.startswith(begin)}
    assert part, begin
    role = ROLES[net]
    return to_limner(role, getattr(config, role), part)


def beyond(got, expected):
    """Of one tensor: entries outside the tolerance, the largest gap, and all entries."""
    gap = (got.detach() - expected).abs()
    return int((gap > ATOL + RTOL * expected.abs()).sum()), float(gap.max()), gap.numel()


# The recorded reals are no multiples of 1 / 127.5, so floats stand where pictures are uint8.
@pytest.mark.usefixtures("unchecked")
def test_three_iterations_of_the_original(golden):
    path = golden("pggan/pggan16_train.safetensors")
    facts = json.loads(path.with_suffix(".json").read_text())["config"]
    tensors, config = load_file(path.with_suffix(".safetensors")), original()
    assert (facts["train_iters"], facts["lrate"], facts["G_smoothing"]) == (STEPS, LR, 0.999)
    trainer = Trainer(
        config, (3, 16, 16), 5, Pictures(tensors), noise=Replay(tensors), label_counts=[1] * 5
    )
    networks = {**trainer.networks, "ema": trainer.generator_ema}
    for name, net in (("g", "G"), ("d", "D"), ("ema", "G")):
        lod = {"lod": torch.tensor(facts["train_lod"])}
        networks[name].load_state_dict(lod | part_of(tensors, config, "state", net))
    for iteration in range(1, STEPS + 1):
        trainer.step()
        for player, name in (("d", "D_loss"), ("g", "G_loss")):
            expected = float(tensors[f"out/train{iteration}/{name}"].mean())
            assert Losses.last[player] == pytest.approx(expected, rel=2e-4, abs=1e-4)
    assert trainer.progress.nimg == 24
    compared, outside = 0, 0
    for name, net in (("g", "G"), ("d", "D"), ("ema", "Gs")):
        got = dict(networks[name].named_parameters())
        expected = part_of(tensors, config, "after_train", net)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            wrong, gap, entries = beyond(got[key], value)
            assert gap <= 2 * LR * STEPS, (net, key, gap)
            compared, outside = compared + entries, outside + wrong
    assert compared == sum(v.numel() for k, v in tensors.items() if k.startswith("after_train/"))
    assert outside <= SHARE_OF_SIGN_NOISE * compared, (outside, compared)
    moved = networks["ema"].blocks[0].conv.weight - networks["g"].blocks[0].conv.weight
    assert moved.abs().max() > 1e-3  # the average is no copy
