"""Dense layers of style networks, and the network that maps latents and labels to styles."""

import itertools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.protocols import Labels
from limner.layers.activation import LEAKY_GAIN, leaky
from limner.layers.class_table import required, rows_of
from limner.layers.pixel_norm import pixel_norm
from limner.layers.precision import at_least_single, full_precision
from limner.layers.prepared import fixed, scaled


class StyleLinear(nn.Module):
    """gain * act(x W^T c + rate * b), c = rate / sqrt(inputs), in single precision at least.

    Equalized learning rate with a rate of the layer's own: weights begin as N(0, 1/rate), so that
    they learn `rate` times as fast as others (Karras et al. 2019, appendix C).

    Args:
        leaky: leaky relu with its gain; False: neither.
        first_bias: what biases begin as.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        leaky: bool = False,
        rate: float = 1.0,
        first_bias: float = 0.0,
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / rate)
        self.bias = nn.Parameter(torch.full((out_features,), first_bias))
        self.leaky = leaky
        gain = LEAKY_GAIN if leaky else 1.0
        self.scale, self.bias_scale = gain * rate / math.sqrt(in_features), gain * rate

    def forward(self, x: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        with full_precision(x.device):
            weight = scaled(self.weight, self.scale)
            h = F.linear(at_least_single(x), weight, scaled(self.bias, self.bias_scale))
            return leaky(h) if self.leaky else h

    def prepare(self) -> nn.Module:
        self.weight, self.scale = fixed(self.weight * self.scale), 1.0
        self.bias, self.bias_scale = fixed(self.bias * self.bias_scale), 1.0
        return self


class MappingNetwork(nn.Module):
    """From normalized latents, and embedded labels behind them, to vectors of `out_dim` entries.

    Args:
        z_dim: entries of a latent vector; 0: labels alone are mapped.
        num_classes: entries of a row of labels; 0: none are read.
        num_layers: dense layers, each with a leaky relu.
        rate: of the dense layers, see StyleLinear; the labels' embedding learns at 1.
    """

    conditioned = ("embed", "layers.0.weight")

    def __init__(self, z_dim: int, num_classes: int, out_dim: int, num_layers: int, rate: float):
        super().__init__()
        self.num_classes = num_classes
        self.embed = LabelEmbedding(num_classes, out_dim) if num_classes else None
        widths = [z_dim + (out_dim if num_classes else 0), *[out_dim] * num_layers]
        self.layers = nn.ModuleList(
            StyleLinear(i, o, True, rate) for i, o in itertools.pairwise(widths)
        )

    def forward(
        self, z: Float[Tensor, "n z"] | None, y: Labels | None = None
    ) -> Float[Tensor, "n w_dim"]:
        """y is needed with classes and ignored without."""
        inputs = [] if z is None else [pixel_norm(at_least_single(z))]
        if self.embed is not None:
            inputs.append(pixel_norm(self.embed(required(y, self.num_classes))))
        h = torch.cat(inputs, dim=1)
        for layer in self.layers:
            h = layer(h)
        return h


class LabelEmbedding(StyleLinear):
    """Rows of labels, any numbers, through a dense layer; integers as one-hot rows."""

    per_class = ("weight",)

    def forward(self, x: Labels) -> Float[Tensor, "n o"]:
        return super().forward(rows_of(x, self.weight.shape[1], self.weight.dtype))
