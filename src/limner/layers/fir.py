"""Resampling by finite impulse responses: zero insertion, filter, decimation (Karras et al. 2020).

Constants and conventions are those of NVlabs/stylegan2-ada-pytorch, upfirdn2d. Everything is linear
in the images and made of convolutions, so derivatives of every order exist; filters get none.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.modules.utils import _pair

from limner.layers.convolution import conv2d
from limner.layers.resampling import Resample

BINOMIAL = (1.0, 3.0, 3.0, 1.0)  # StyleGAN2's and R3GAN's resampling filter

Filter = Float[Tensor, " taps"] | Float[Tensor, "rows columns"]


def fir_filter(taps: Sequence[float] | None, gain: float = 1.0, flip: bool = False) -> Filter:
    """Taps as a filter of sum `gain`; None: the filter that changes nothing.

    Fewer than 8 taps become their outer product with themselves; 8 or more stay one row that is
    applied along both axes, with a sum of sqrt(gain).
    """
    row = torch.tensor([1.0] if taps is None else list(taps), dtype=torch.float32)
    kernel = torch.outer(row, row) if len(row) < 8 else row
    kernel = kernel / kernel.sum() * gain ** (kernel.ndim / 2)
    return kernel.flip(tuple(range(kernel.ndim))) if flip else kernel


def upfirdn(
    x: Float[Tensor, "n c h w"],
    kernel: Filter,
    up: int | tuple[int, int] = 1,
    down: int | tuple[int, int] = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = 1.0,
    flip: bool = False,
) -> Float[Tensor, "n c new_h new_w"]:
    """Insert up - 1 zeros after each pixel, pad by (left, right, top, bottom) zeros (negative:
    crop), convolve, keep each `down`-th pixel, multiply by `gain`.

    The filter is convolved with, so mirrored against `conv2d`; flip=True correlates. `up` and
    `down` as pairs are those of columns and rows.
    """
    (up_x, up_y), (down_x, down_y) = _pair(up), _pair(down)
    if kernel.ndim == 2:
        return _along_both(x, kernel * gain, (up_y, up_x), (down_y, down_x), padding, flip)
    row = (kernel * math.sqrt(gain))[None]
    x = _along_both(x, row, (1, up_x), (1, down_x), (*padding[:2], 0, 0), flip)
    return _along_both(x, row.t(), (up_y, 1), (down_y, 1), (0, 0, *padding[2:]), flip)


def _along_both(
    x: Float[Tensor, "n c h w"],
    kernel: Float[Tensor, "rows columns"],
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    flip: bool,
) -> Float[Tensor, "n c new_h new_w"]:
    """`upfirdn` with (rows, columns) of `up` and `down`: one convolution a channel, transposed
    where zeros would be inserted, so that none is multiplied by."""
    channels = x.shape[1]
    if up == (1, 1):
        kernel = kernel if flip else kernel.flip((0, 1))
        weight = kernel.to(x).expand(channels, 1, -1, -1)
        return conv2d(F.pad(x, padding), weight, stride=down, groups=channels)
    weight = (kernel.flip((0, 1)) if flip else kernel).to(x).expand(channels, 1, -1, -1)
    # A transposed convolution gives all places that the filter reaches, size - 1 in front of the
    # first pixel and size - up behind the last zero of the definition.
    rows, columns = kernel.shape
    left, right, top, bottom = padding
    left, right = left - (columns - 1), right - (columns - up[1])
    top, bottom = top - (rows - 1), bottom - (rows - up[0])
    crop = max(0, min(-top, -bottom)), max(0, min(-left, -right))
    x = F.conv_transpose2d(x, weight, stride=up, padding=crop, groups=channels)
    rest = (left + crop[1], right + crop[1], top + crop[0], bottom + crop[0])
    return (F.pad(x, rest) if any(rest) else x)[:, :, :: down[0], :: down[1]]


def padding_of(size: int, up: int = 1, down: int = 1) -> tuple[int, int]:
    """Zeros on the first and second side with which a filter of `size` taps keeps pictures in
    place while it doubles (up) or halves (down) them."""
    if up > 1:
        return (size + up - 1) // 2, (size - up) // 2
    if down > 1:
        return (size - down + 1) // 2, (size - down) // 2
    return size // 2, (size - 1) // 2


def resample(
    x: Float[Tensor, "n c h w"],
    kernel: Filter,
    up: int = 1,
    down: int = 1,
    gain: float = 1.0,
    flip: bool = False,
) -> Float[Tensor, "n c new_h new_w"]:
    """Filter images, `up` or `down` times as large, in place; brightness is kept at gain 1."""
    columns, rows = kernel.shape[-1], kernel.shape[0]
    padding = (*padding_of(columns, up, down), *padding_of(rows, up, down))
    return upfirdn(x, kernel, up, down, padding, gain * up**2, flip)


def filtered_convolve(
    x: Float[Tensor, "n i h w"],
    weight: Float[Tensor, "o i k k"],
    bias: Float[Tensor, " o"] | None,
    direction: Resample,
    kernel: Filter,
) -> Float[Tensor, "n o new_h new_w"]:
    """A "same" convolution, k odd, after doubling or before halving the resolution by a filter.

    Exact forms of zero insertion, filter and convolution in less work: a 3x3 convolution halves
    with its stride what is filtered, and doubles as a transposed one before the filter; a 1x1
    convolution commutes with filters, so it runs at the low resolution. As in the original, layers
    that double convolve (mirrored against `conv2d`), the others correlate.
    """
    size, taps = weight.shape[-1], len(kernel)
    if direction == "none":
        return F.conv2d(x, weight, bias, padding=size // 2)
    if direction == "down" and size == 1:
        return F.conv2d(resample(x, kernel, down=2), weight, bias)
    if direction == "down":
        first, second = (side + size // 2 for side in padding_of(taps, down=2))
        x = upfirdn(x, kernel, padding=(first, second, first, second))
        return F.conv2d(x, weight, bias, stride=2)
    if size == 1:
        x = resample(F.conv2d(x, weight), kernel, up=2)
    else:
        first, second = (side + size // 2 for side in padding_of(taps, up=2))
        first, second = first - (size - 1), second - (size - 2)
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        x = upfirdn(x, kernel, padding=(first, second, first, second), gain=4.0)
    return x if bias is None else x + bias.to(x.dtype)[:, None, None]
