"""Layers of equalized learning rate: unit normal weights, scaled as they are used."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.layers.activation import LEAKY_GAIN, leaky
from limner.layers.fir import filtered_convolve, fir_filter
from limner.layers.prepared import fixed, scaled
from limner.layers.resampling import FixedConv2d, Resample, convolve

HE = math.sqrt(2.0)  # the gain that a (leaky) relu calls for (He et al. 2015)


class EqualizedLinear(nn.Module):
    """x W^T c + b with c = gain / sqrt(inputs) (Karras et al. 2018, section 4.1).

    Adam moves every weight by about its learning rate, so weights of one size learn at one speed.

    Args:
        gain: of the standard deviation that the layer's weights stand for.
        equalized: False begins with weights N(0, c) and uses them as they are.
        grid: the outputs are feature maps of this height and width, with one bias a map.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        gain: float = HE,
        equalized: bool = True,
        grid: tuple[int, int] | None = None,
    ):
        super().__init__()
        positions = grid[0] * grid[1] if grid else 1
        self.weight = nn.Parameter(torch.empty(positions * out_features, in_features))
        self.bias = nn.Parameter(torch.empty(out_features))
        self.grid = grid
        self.scale = initialize(self.weight, self.bias, gain / math.sqrt(in_features), equalized)

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"] | Float[Tensor, "n o h w"]:
        """[N, out_features], or with a grid [N, out_features, *grid]."""
        weight = scaled(self.weight, self.scale)
        if self.grid is None:
            return F.linear(x, weight, self.bias)
        maps = F.linear(x, weight).unflatten(1, (-1, *self.grid))
        return maps + self.bias.to(maps.dtype)[:, None, None]

    def prepare(self) -> nn.Module:
        self.weight, self.scale = fixed(self.weight * self.scale), 1.0
        return self


class EqualizedConv2d(nn.Module):
    """`convolve` by weights W c, c = gain / sqrt(inputs * size^2); see EqualizedLinear."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        gain: float = HE,
        equalized: bool = True,
        resample: Resample = "none",
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, size, size))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.resample: Resample = resample
        deviation = gain / math.sqrt(in_channels * size**2)
        self.scale = initialize(self.weight, self.bias, deviation, equalized)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        return convolve(x, scaled(self.weight, self.scale), self.bias, self.resample)

    def prepare(self) -> nn.Module:
        return FixedConv2d(self.weight * self.scale, self.bias, self.resample)


class FilterConv2d(nn.Module):
    """A convolution of equalized learning rate, doubling or halving with a filter.

    Args:
        taps: of the filter.
        linear_gain: makes it linear, of this gain and without bias; None: bias and leaky relu.
        clamp: activations stay within +- this; None: no bound.
    """

    kernel: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        direction: Resample,
        taps: Sequence[float],
        clamp: float | None = None,
        linear_gain: float | None = None,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, size, size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if linear_gain is None else None
        self.direction: Resample = direction
        gain = LEAKY_GAIN if linear_gain is None else linear_gain
        self.scale = gain / math.sqrt(in_channels * size**2)
        self.clamp = clamp
        self.register_buffer("kernel", fir_filter(taps), persistent=False)

    def forward(
        self, x: Float[Tensor, "n i h w"], gain: float = 1.0
    ) -> Float[Tensor, "n o new_h new_w"]:
        """`gain` multiplies the layer's output, its clamp and all."""
        weight = scaled(self.weight, self.scale * gain)
        if self.bias is None:
            return filtered_convolve(x, weight, None, self.direction, self.kernel)
        bias = self.bias * (LEAKY_GAIN * gain)
        h = filtered_convolve(x, weight, bias, self.direction, self.kernel)
        return leaky(h, None if self.clamp is None else self.clamp * gain)

    def prepare(self) -> nn.Module:
        self.weight, self.scale = fixed(self.weight * self.scale), 1.0
        return self


def initialize(weight: Tensor, bias: Tensor, deviation: float, equalized: bool) -> float:
    """Draw a layer's weights, clear its biases; returns what weights are multiplied by in use."""
    nn.init.normal_(weight, 0.0, 1.0 if equalized else deviation)
    nn.init.zeros_(bias)
    return deviation if equalized else 1.0
