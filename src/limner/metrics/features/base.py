"""What a score needs of a feature extractor."""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.core.images import to_unit_range
from limner.metrics.arrays import ImageSet

PIXELS_PER_BATCH = 1 << 18
BYTES_PER_READ = 1 << 28
PIXELS_MAX = 64
CPU = torch.device("cpu")


@runtime_checkable
class Extractor(Protocol):
    """Turns images into rows whose distances mean something.

    `name` goes into the score's name (fd-NAME), `weights_sha256` says which weights they were.
    Where images are brought to the network's size, an attribute `resize` names the filter.
    An entry of EXTRACTORS, or a user's class, is called with the PreparedData and returns one.
    """

    name: str
    weights_sha256: str | None

    def features(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to float [N, D] on the CPU, in batches that fit into memory."""
        ...


@runtime_checkable
class KnowsClasses(Extractor, Protocol):
    """An extractor that has logits: of classes of its own (ImageNet's), or of the data's."""

    def logits(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to float [N, classes] on the CPU."""
        ...


@runtime_checkable
class Classifier(KnowsClasses, Protocol):
    """An extractor that also knows the classes of the data.

    `held_out_accuracy` is that of the same training on a part of the images, measured on the rest;
    it is the floor of the accuracy of generated images.
    """

    held_out_accuracy: float


@torch.no_grad()
def in_batches(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The network's rows [N, D] for uint8 images [N, C, H, W], shown in [-1, 1]."""
    pixels = images.shape[-1] * images.shape[-2]
    size = min(max(PIXELS_PER_BATCH // pixels, 1), 1024)
    return torch.cat([network(to_unit_range(batch)) for batch in images.split(size)])


def rows_in_parts(rows: Callable[[Tensor], Tensor], data: ImageSet, indices: Tensor) -> Tensor:
    """Rows [n, ...] of the images at int64 indices [n], at most 256 MB of images at a time."""
    num = max(BYTES_PER_READ // math.prod(data.image_shape), 1)
    return torch.cat([rows(images_at(data, some)) for some in indices.split(num)])


def images_at(data: ImageSet, indices: Tensor) -> Tensor:
    """The images at int64 indices [n] as uint8 [n, C, H, W]."""
    picked = np.ascontiguousarray(data.images[indices.numpy()])
    return torch.from_numpy(picked).permute(0, 3, 1, 2)


def made_small(images: Tensor) -> Tensor:
    """uint8 [N, C, H, W]; sides above `PIXELS_MAX` are averaged down to it, for the cost."""
    if max(images.shape[-2:]) > PIXELS_MAX:
        images = averaged_down(images, PIXELS_MAX).round_().to(torch.uint8)
    return images.contiguous()


def averaged_down(images: Tensor, size: int) -> Tensor:
    """float32 [N, C, H, W] of uint8; sides above `size` are averaged down to it."""
    sides = [min(side, size) for side in images.shape[-2:]]
    return torch.cat([F.interpolate(x.float(), sides, mode="area") for x in images.split(256)])


def without_draws(kind: type[nn.Module], *arguments: int) -> nn.Module:
    """A layer without its constructor's initialization, which draws from the global stream."""
    return nn.utils.skip_init(kind, *arguments)


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of names, shapes and values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
