"""Presets say what R3GAN's train.py and its commands say, row by row."""

from typing import NamedTuple

import pytest
import torch

from limner import presets
from limner.core.config import decode, encode, override
from limner.core.schedules import Cosine
from limner.engine import Adam, RunConfig
from limner.engine.augment import AdaPipe
from limner.engine.controllers import Beta2, Ema, LearningRate
from limner.engine.trainer import Trainer
from limner.models import R3ganDiscriminator, R3ganGenerator
from limner.models.r3gan import ResidualBlock, Stage, widths_of
from limner.objectives import R1, R2, RelativisticD, RelativisticG
from toys import ToyReals


class Row(NamedTuple):
    """Widths and cardinalities from 4x4 upward; of classes: their number, entries of a vector in G
    and in D; images a step; the horizon of all schedules; gamma, the half-life and the chance of an
    augmentation at its end; millions of parameters of G and D."""

    resolution: int
    widths: tuple[int, ...]
    cardinalities: tuple[int, ...]
    classes: tuple[int, int, int]
    bfloat16_stages: int
    images: int
    horizon: int
    gamma: tuple[float, float]
    half_life: float
    p: float
    millions: tuple[float, float]


TABLE = {
    "r3gan-cifar10": Row(
        32, (768,) * 4, (96,) * 4, (10, 64, 768), 3, 512,
        20_000_000, (0.05, 0.005), 5e6, 0.55, (20.78, 21.28),
    ),
    "r3gan-ffhq64": Row(
        64, (*(768,) * 4, 384), (*(96,) * 4, 48), (0, 0, 0), 4, 256,
        20_000_000, (2.0, 0.2), 5e5, 0.3, (22.43, 22.38),
    ),
    "r3gan-ffhq256": Row(
        256, (*(768,) * 4, 384, 192, 96), (*(96,) * 4, 48, 24, 12), (0, 0, 0), 4, 256,
        20_000_000, (150.0, 15.0), 5e5, 0.3, (23.06, 23.01),
    ),
    "r3gan-imagenet32": Row(
        32, (1536,) * 4, (96,) * 4, (1000, 64, 1536), 3, 4096,
        200_000_000, (0.5, 0.05), 5e7, 0.5, (82.91, 86.55),
    ),
    "r3gan-imagenet64": Row(
        64, (1536,) * 5, (96,) * 5, (1000, 64, 1536), 4, 4096,
        200_000_000, (1.0, 0.1), 5e7, 0.4, (103.57, 107.21),
    ),
}  # fmt: skip

each = pytest.mark.parametrize("name", TABLE)


def networks(config: RunConfig, resolution: int, num_classes: int) -> list[torch.nn.Module]:
    shape = (3, resolution, resolution)
    with torch.device("meta"):
        return [part.build(shape, num_classes) for part in (config.generator, config.discriminator)]


def stages_of(network: torch.nn.Module) -> list[Stage]:
    return [module for module in network.modules() if isinstance(module, Stage)]


def test_the_table_is_whole():
    assert list(TABLE) == [name for name in presets.PRESETS if name.startswith("r3gan-")]


@each
def test_networks(name: str):
    row, config = TABLE[name], presets.get(name)()
    num_classes, g_entries, d_entries = row.classes
    built = networks(config, row.resolution, num_classes)
    for network, order, millions in zip(built, (1, -1), row.millions, strict=True):
        stages = stages_of(network)[::order]
        blocks = [[b for b in stage if isinstance(b, ResidualBlock)] for stage in stages]
        assert [len(found) for found in blocks] == [2] * len(row.widths)
        for found, width, cardinality in zip(blocks, row.widths, row.cardinalities, strict=True):
            for block in found:
                assert (block.conv1.in_channels, block.conv2.in_channels) == (width, 2 * width)
                assert block.conv2.groups == cardinality
        expected = [level >= len(stages) - row.bfloat16_stages for level in range(len(stages))]
        assert [stage.lower for stage in stages] == expected
        count = sum(p.numel() for p in network.parameters())
        assert round(count / 1e6, 2) == millions
    g, d = built
    assert g.z_dim == 64
    if num_classes:
        assert g.embed.weight.shape == (num_classes, g_entries)
        assert d.embed.weight.shape == (num_classes, d_entries)


@each
def test_data(name: str):
    row, data = TABLE[name], presets.get(name)().data
    assert (data.resolution, data.channels, data.flip) == (row.resolution, 3, True)
    assert data.labels == ("classes" if row.classes[0] else "none")
    assert data.expected_classes == (row.classes[0] or None)


@each
def test_the_algorithm(name: str):
    row, config = TABLE[name], presets.get(name)()
    gamma = Cosine(*row.gamma, until_nimg=row.horizon)
    d, g = config.updates
    assert (d.player, d.terms) == ("d", (RelativisticD(), R1(gamma=gamma), R2(gamma=gamma)))
    assert (g.player, g.terms) == ("g", (RelativisticG(),))
    assert (d.labels, d.counts, d.forwards) == ("real", True, "real_then_fake")
    assert (g.labels, g.counts, g.forwards) == ("real", False, "fake_then_real")
    assert config.images_per_step() == row.images
    assert d.accumulate == g.accumulate
    assert config.optim.g == config.optim.d == Adam(lr=2e-4, betas=(0.0, 0.9), eps=1e-8)
    assert config.controllers == (
        LearningRate(factor=Cosine(1.0, 0.25, until_nimg=row.horizon)),
        Beta2(value=Cosine(0.9, 0.99, until_nimg=row.horizon)),
        Ema(
            half_life_nimg=Cosine(0.0, row.half_life, until_nimg=row.horizon),
            after="step",
            buffers="copy",
        ),
    )
    p = Cosine(0.0, row.p, until_nimg=row.horizon)
    assert config.augments == (AdaPipe(p=p, transforms="r3gan"),)
    assert config.kimg == row.horizon / 1000
    assert config.precision == "bfloat16"


@each
def test_presets_are_named_and_come_back_from_json(name: str):
    config = presets.get(name)()
    assert config.name == name
    assert decode(RunConfig, encode(config)) == config


# By one --set; both networks have the widths of the table's rows as far as these go.
OTHERS = {
    "r3gan-cifar10": {16: (768,) * 3, 64: (768,) * 5, 128: (768,) * 6},
    "r3gan-ffhq64": {32: (768,) * 4, 256: TABLE["r3gan-ffhq256"].widths},
    "r3gan-ffhq256": {64: TABLE["r3gan-ffhq64"].widths, 512: (*(768,) * 4, 384, 192, 96, 48)},
    "r3gan-imagenet32": {16: (1536,) * 3, 64: TABLE["r3gan-imagenet64"].widths},
    "r3gan-imagenet64": {32: TABLE["r3gan-imagenet32"].widths, 128: (1536,) * 6},
}


@pytest.mark.parametrize(("name", "size"), [(n, size) for n in OTHERS for size in OTHERS[n]])
def test_other_resolutions_by_one_setting(name: str, size: int):
    config = override(presets.get(name)(), [f"data.resolution={size}"])
    for part in (config.generator, config.discriminator):
        assert isinstance(part, R3ganGenerator | R3ganDiscriminator)
        assert widths_of(part, (3, size, size)) == list(OTHERS[name][size])
    for network in networks(config, size, TABLE[name].classes[0]):
        assert len(stages_of(network)) == len(OTHERS[name][size])


@each
def test_a_narrow_one_takes_steps(name: str):
    narrow = ("generator.widths=[8]", "discriminator.widths=[8]", "batch_size=2")
    few = ("updates.0.accumulate=2", "updates.1.accumulate=2", "data.resolution=8")
    config = override(presets.get(name)(), [*narrow, *few])
    trainer = Trainer(config, (1, 8, 8), 0, ToyReals(2, side=8))
    trainer.step()
    trainer.step()
    assert (trainer.progress.nimg, trainer.progress.num_drawn) == (8, 16)
    assert all(torch.isfinite(p).all() for p in trainer.generator_ema.parameters())
