"""The one conversion between the networks' [-1, 1] and the files' 0..255."""

import torch
from torch import Tensor


def to_uint8(images: Tensor) -> Tensor:
    """Floats in [-1, 1] to uint8: clamp(round_half_even(127.5 x + 127.5), 0, 255), any shape."""
    return images.float().mul(127.5).add(127.5).round().clamp(0, 255).to(torch.uint8)


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 0..255 to float32 in [-1, 1]: x / 127.5 - 1, any shape; memory format is kept."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)
