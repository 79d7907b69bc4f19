"""Modulated convolutions (Karras et al. 2020): feature maps scaled by a style, image by image."""

import torch
from jaxtyping import Float
from torch import Tensor

from limner.layers.fir import Filter, filtered_convolve
from limner.layers.precision import at_least_single, full_precision
from limner.layers.resampling import Resample


def modulated_convolve(
    x: Float[Tensor, "n i h w"],
    weight: Float[Tensor, "o i k k"],
    styles: Float[Tensor, "n i"],
    kernel: Filter,
    direction: Resample = "none",
) -> Float[Tensor, "n o new_h new_w"]:
    """The convolution by weight * styles[n], without demodulation: scaled maps, one convolution."""
    scaled = x * styles.to(x.dtype)[:, :, None, None]
    return filtered_convolve(scaled, weight, None, direction, kernel)


def squares_of(weight: Float[Tensor, "o i k k"]) -> Float[Tensor, "o i"]:
    """Sums of a weight's squares over its pixels, in single precision at least."""
    return at_least_single(weight).square().sum((2, 3))


def demodulation(
    squares: Float[Tensor, "o i"], styles: Float[Tensor, "n i"], eps: float = 1e-8
) -> Float[Tensor, "n o"]:
    """1 / sqrt(sum over i, k, k of (weight * styles[n])^2 + eps), in single precision at least.

    squares: `squares_of` the weight.

    It brings outputs of a modulated convolution back to the size of its inputs; constants and the
    equality with weights of each image's own (eq. 1 and 3) as in NVlabs/stylegan2-ada-pytorch.
    """
    with full_precision(squares.device):
        return torch.rsqrt(at_least_single(styles).square() @ squares.t() + eps)
