"""Toy networks, pictures and runs for tests of the engine. Not limner's own: they live outside."""

from typing import Literal

import torch
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.protocols import NetworkConfig, Scores
from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Ema
from limner.objectives import HingeD, HingeG


class ToyGenerator(Config, NetworkConfig, frozen=True):
    """A dense layer, perhaps a batch norm, a dense layer."""

    z_dim: int = 4
    norm: Literal["batch", "none"] = "none"
    dropout: float = 0.0
    width: int = 8

    def build(self, image_shape, num_classes):
        return ToyGeneratorNetwork(self, image_shape, num_classes)


class ToyGeneratorNetwork(nn.Module):
    def __init__(self, config, image_shape, num_classes):
        super().__init__()
        self.z_dim, self.image_shape, self.num_classes = config.z_dim, image_shape, num_classes
        self.first = nn.Linear(config.z_dim + num_classes, config.width)
        self.norm = nn.BatchNorm1d(config.width) if config.norm == "batch" else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.last = nn.Linear(config.width, image_shape[0] * image_shape[1] * image_shape[2])
        self.forwards = 0

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        self.forwards += 1
        if self.num_classes:
            assert y is not None
            z = torch.cat([z, nn.functional.one_hot(y, self.num_classes).to(z.dtype)], 1)
        h = torch.tanh(self.dropout(self.norm(self.first(z))))
        return torch.tanh(self.last(h)).view(-1, *self.image_shape)


class ToyDiscriminator(Config, NetworkConfig, frozen=True):
    """Two dense layers, the first perhaps with batch norm."""

    norm: Literal["batch", "none"] = "none"
    width: int = 8

    def build(self, image_shape, num_classes):
        return ToyDiscriminatorNetwork(self, image_shape, num_classes)


class ToyDiscriminatorNetwork(nn.Module):
    def __init__(self, config, image_shape, num_classes):
        super().__init__()
        size = image_shape[0] * image_shape[1] * image_shape[2]
        self.num_classes = num_classes
        self.first = nn.Linear(size + num_classes, config.width)
        self.norm = nn.BatchNorm1d(config.width) if config.norm == "batch" else nn.Identity()
        self.last = nn.Linear(config.width, 1)
        self.seen: list[int] = []

    def forward(self, x: Tensor, y: Tensor | None = None) -> Scores:
        self.seen.append(len(x))
        x = x.flatten(1)
        if self.num_classes:
            assert y is not None
            x = torch.cat([x, nn.functional.one_hot(y, self.num_classes).to(x.dtype)], 1)
        return Scores(self.last(torch.tanh(self.norm(self.first(x)))).squeeze(1))


def toy_config(**changes) -> RunConfig:
    """A run on 4x4 pictures that takes milliseconds."""
    config = RunConfig(
        name="toy",
        generator=ToyGenerator(),
        discriminator=ToyDiscriminator(),
        data=DataConfig(resolution=4, channels=1, labels="none"),
        updates=(
            Update(player="d", terms=(HingeD(),)),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(g=Adam(lr=1e-2), d=Adam(lr=1e-2)),
        controllers=(Ema(decay=0.9),),
        batch_size=4,
        steps=12,
        intervals=Intervals(log=2, sample=0, save=4),
    )
    return config.replace(**changes)


class ToyReals:
    """An endless stream of toy pictures: batch k is a function of k."""

    def __init__(
        self,
        batch_size: int,
        num_classes: int = 0,
        rank: int = 0,
        world_size: int = 1,
        side: int = 4,
    ):
        self.batch_size, self.num_classes, self.drawn = batch_size, num_classes, 0
        self.side = side
        self.rank, self.world_size = rank, world_size

    def __call__(self):
        generator = torch.Generator().manual_seed(self.drawn)
        self.drawn += 1
        size = (self.batch_size, 1, self.side, self.side)
        self.images = torch.randint(0, 256, size, generator=generator).to(torch.uint8)
        self.labels = torch.randint(0, max(1, self.num_classes), (self.batch_size,))
        self.indices = torch.arange(self.batch_size)
        own = self.batch_size // self.world_size
        rows = slice(self.rank * own, (self.rank + 1) * own)
        self.images, self.labels = self.images[rows], self.labels[rows]
        self.indices = self.indices[rows]
        return self
