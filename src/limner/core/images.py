"""The one conversion between the networks' [-1, 1] and the files' 0..255."""

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor


def to_uint8(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """[-1, 1] to 0..255: clamp(round_half_even(127.5 x + 127.5), 0, 255)."""
    return images.float().mul(127.5).add(127.5).round().clamp(0, 255).to(torch.uint8)


def to_unit_range(images: UInt8[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """0..255 to [-1, 1]: x / 127.5 - 1; memory format is kept."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)
