"""Real images on their way from the data to a pass."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from limner.core.images import to_unit_range
from limner.engine.noise import Draw


class RealBatch(Protocol):
    """uint8 images [n, C, H, W], labels int64 [n] or float32 rows [n, classes], indices int64 [n]
    of this process."""

    @property
    def images(self) -> Tensor: ...

    @property
    def labels(self) -> Tensor: ...

    @property
    def indices(self) -> Tensor: ...


class Shown(NamedTuple):
    """One micro-batch as passes get it: images in [-1, 1], labels or None, and their places."""

    images: Tensor
    labels: Tensor | None
    indices: Tensor


def on_device(
    batch: RealBatch, device: torch.device, dtype: torch.dtype, num_classes: int
) -> tuple[Tensor, Tensor | None]:
    """Images in [-1, 1], and the labels where there are classes."""
    images = to_unit_range(batch.images.to(device, non_blocking=True)).to(dtype)
    return images, batch.labels.to(device, non_blocking=True) if num_classes else None


def flipped(images: Tensor, draw: Draw) -> Tensor:
    """Each image mirrored, or not, with equal chances."""
    mirrored = draw.uniform("flip", (len(images), 1, 1, 1)) < 0.5
    return torch.where(mirrored, images.flip(3), images)
