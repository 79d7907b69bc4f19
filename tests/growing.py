"""Networks that grow, as small as they get, and a run of them that passes every kind of edge."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.growth import GrowthSchedule
from limner.core.protocols import NetworkConfig, Scores
from limner.data import DataConfig, PreparedData, prepare
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Ema, Growth
from limner.objectives import Drift, GradientPenalty, WassersteinD, WassersteinG

SIZE = 16
GREY = DataConfig(resolution=SIZE, channels=1, labels="none", flip=True)


class GrowingGenerator(Config, NetworkConfig, frozen=True):
    """A dense layer for each level of detail; only those of the current lod are used."""

    z_dim: int = 4

    def build(self, image_shape, num_classes):
        return GrowingGeneratorNetwork(self, image_shape)


class GrowingGeneratorNetwork(nn.Module):
    def __init__(self, config, image_shape):
        super().__init__()
        self.z_dim, self.shape, self.lod = config.z_dim, image_shape, 0.0
        sizes = [self.pixels(level) for level in range(3)]
        self.levels = nn.ModuleList(nn.Linear(config.z_dim, math.prod(size)) for size in sizes)

    def pixels(self, level: int) -> tuple[int, int, int]:
        channels, height, width = self.shape
        return channels, height >> level, width >> level

    def at(self, level: int, z: Tensor) -> Tensor:
        images = torch.tanh(self.levels[level](z)).view(-1, *self.pixels(level))
        return F.interpolate(images, scale_factor=2**level, mode="nearest")

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        level = math.floor(self.lod)
        images = self.at(level, z)
        if self.lod > level:
            images = images.lerp(self.at(level + 1, z), self.lod - level)
        return images


class GrowingDiscriminator(Config, NetworkConfig, frozen=True):
    """A layer of its own for each level, on the mean of its pixels."""

    def build(self, image_shape, num_classes):
        return GrowingDiscriminatorNetwork(image_shape)


class GrowingDiscriminatorNetwork(nn.Module):
    def __init__(self, image_shape):
        super().__init__()
        self.lod = 0.0
        size = math.prod(image_shape)
        self.first = nn.ModuleList(nn.Linear(size >> (2 * level), 6) for level in range(3))
        self.last = nn.Linear(6, 1)

    def at(self, level: int, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2**level) if level else x
        return torch.tanh(self.first[level](x.flatten(1)))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Scores:
        level = math.floor(self.lod)
        h = self.at(level, x)
        if self.lod > level:
            h = h.lerp(self.at(level + 1, x), self.lod - level)
        return Scores(self.last(h).squeeze(1))


# 4 px until image 32, a fade until 64, 8 px until 96, a fade until 128, then 16 px. Read at images
# 0, 16, 32, 48 (lod 1.5), 72 (1), 96, 120 (0.25), 128 (0), 136; ticks end at 32, 72, 96, 120, 136.
SCHEDULE = GrowthSchedule(
    training_kimg=0.032,
    transition_kimg=0.032,
    batch_sizes=((4, 4), (8, 6)),
    g_rates=((8, 2e-2), (16, 3e-2)),
    d_rates=((8, 2e-2),),
    tick_kimg=((4, 0.03), (8, 0.02)),
    usual_tick_kimg=0.01,
)


def growing_config(**changes: Any) -> RunConfig:
    """34 steps on 16x16 pictures, 140 images: three resolutions, two fades, ticks."""
    config = RunConfig(
        name="growing",
        generator=GrowingGenerator(),
        discriminator=GrowingDiscriminator(),
        data=GREY,
        updates=(
            Update(player="d", terms=(WassersteinD(), GradientPenalty(), Drift())),
            Update(player="g", terms=(WassersteinG(),)),
        ),
        optim=Players(g=Adam(lr=1e-2), d=Adam(lr=1e-2)),
        controllers=(
            Growth(schedule=SCHEDULE),
            Ema(decay=0.9, after="d", buffers="copy"),
        ),
        batch_size=2,
        steps=34,
        num_classes=0,
        intervals=Intervals(log=5, sample=0, save=0, milestone=1),
    )
    return config.replace(**changes)


def growing_data(directory: Path, num: int = 24) -> PreparedData:
    """Random pictures, prepared; fewer than the run shows."""
    images = np.random.default_rng(0).integers(0, 256, (num, SIZE, SIZE, 1), dtype=np.uint8)
    np.savez(directory / "pictures.npz", images=images)
    return prepare(str(directory / "pictures.npz"), directory / "prepared", GREY)
