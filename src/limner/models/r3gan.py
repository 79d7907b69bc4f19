"""R3GAN (Huang et al. 2024): residual networks of grouped convolutions, without normalization.

Widths, groups and numbers of blocks are lists from 4x4 pixels upward, for any resolution 4 * 2^k:
they are cut at the image's. Beyond its end a list goes on with its last entry; widths that end with
a halving go on halving. So the lists of FFHQ at 64 px make those of 256 px and the other way round,
and ImageNet's of 32 px those of 64, as the paper has them. Images are linear, without tanh.

In bfloat16 the original keeps the sums of residual blocks in bfloat16 too and computes R2 in it.
Here autocast rounds products and penalties see float32: the same function, rounded elsewhere.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import Labels, NetworkConfig, Scores
from limner.layers import ClassTable, at_least_single, full_precision, required, with_class
from limner.layers.convolution import TwiceDifferentiableConv2d
from limner.layers.fir import BINOMIAL, fir_filter, resample
from limner.models.common import Few, FewOrNone, Size, check_latents, num_doublings

BOTTOM = 4  # pixels on a side where the generator begins and the discriminator ends
SLOPE = 0.2
GAIN = math.sqrt(2.0 / (1.0 + 0.2**2))  # of a leaky relu of that slope (He et al. 2015)


class R3ganGenerator(Config, NetworkConfig, frozen=True, kw_only=True):
    """From a latent vector, a class vector appended, to an image of any range.

    z_dim: entries of the latent vector.
    embedding_dim: with classes, entries of the class vector.
    widths: channels at 4x4, 8x8 ... pixels.
    group_widths: channels of a group in the 3x3 convolutions, at 4x4, 8x8 ... pixels; all of them
        where there are fewer. The paper counts groups: its cardinality is width * expansion / this.
    blocks: residual blocks at 4x4, 8x8 ... pixels.
    expansion: channels inside a block over those outside.
    bfloat16_stages: so many of the highest resolutions compute in bfloat16 where the run does.
    """

    z_dim: Size = 64
    embedding_dim: Size = 64
    widths: tuple[Size, ...] = (768, 768, 768, 768, 384, 192, 96)
    group_widths: tuple[Size, ...] = (16,)
    blocks: tuple[Few, ...] = (2,)
    expansion: Few = 2
    bfloat16_stages: FewOrNone = 4

    def __post_init__(self) -> None:
        check_lists(self)

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(z [N, z_dim], y) -> images [N, C, H, W], nominally in [-1, 1]."""
        return R3ganGeneratorNetwork(self, image_shape, num_classes)


class R3ganDiscriminator(Config, NetworkConfig, frozen=True, kw_only=True):
    """With classes the logit is <v(y), h>: v a vector of the class, h one of the image.

    embedding_dim: with classes, entries of both vectors; None: as many as channels at 4x4.
    The other fields are those of R3ganGenerator; lists run from 4x4 pixels upward here too.
    """

    embedding_dim: Size | None = None
    widths: tuple[Size, ...] = (768, 768, 768, 768, 384, 192, 96)
    group_widths: tuple[Size, ...] = (16,)
    blocks: tuple[Few, ...] = (2,)
    expansion: Few = 2
    bfloat16_stages: FewOrNone = 4

    def __post_init__(self) -> None:
        check_lists(self)

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(x [N, C, H, W], y) -> Scores(logits [N])."""
        return R3ganDiscriminatorNetwork(self, image_shape, num_classes)


R3ganConfig = R3ganGenerator | R3ganDiscriminator


def check_lists(config: R3ganConfig) -> None:
    """Raises ConfigError where one is empty."""
    for name in ("widths", "group_widths", "blocks"):
        if not getattr(config, name):
            raise ConfigError(f"{name} is empty: give one number or more, from 4x4 pixels upward")


class R3ganGeneratorNetwork(nn.Module):
    """See R3ganGenerator. `y` is needed with classes and ignored without."""

    def __init__(self, config: R3ganGenerator, image_shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        widths = widths_of(config, image_shape)
        self.z_dim, self.num_classes = config.z_dim, num_classes
        self.embed, num_extra = None, 0
        if num_classes:
            self.embed, num_extra = (
                class_vectors(num_classes, config.embedding_dim),
                config.embedding_dim,
            )
        levels: list[list[nn.Module]] = [*blocks_of(config, widths)]
        for level, (below, width) in enumerate(itertools.pairwise(widths), 1):
            levels[level].insert(0, Resampling(below, width, "up"))
        levels[0].insert(0, FirstLayer(config.z_dim + num_extra, widths[0]))
        levels[-1].append(convolution(widths[-1], image_shape[0]))
        num_single = len(levels) - config.bfloat16_stages
        self.stages = nn.Sequential(
            *(Stage(*layers, lower=level >= num_single) for level, layers in enumerate(levels))
        )

    def forward(self, z: Float[Tensor, "n z"], y: Labels | None = None) -> Float[Tensor, "n c h w"]:
        check_latents(z, self.z_dim)
        z = with_class(z, self.embed, y)
        return self.stages(z)


class R3ganDiscriminatorNetwork(nn.Module):
    """See R3ganDiscriminator. `y` is needed with classes and ignored without."""

    def __init__(
        self, config: R3ganDiscriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        widths = widths_of(config, image_shape)
        num_outputs = (config.embedding_dim or widths[0]) if num_classes else 1
        levels: list[list[nn.Module]] = [*blocks_of(config, widths)]
        for level, (below, width) in enumerate(itertools.pairwise(widths), 1):
            levels[level].append(Resampling(width, below, "down"))
        levels[0].append(LastLayer(widths[0], num_outputs))
        levels[-1].insert(0, convolution(image_shape[0], widths[-1]))
        self.stages = nn.Sequential(
            *(
                Stage(*layers, lower=place < config.bfloat16_stages)
                for place, layers in enumerate(levels[::-1])
            )
        )
        self.num_classes = num_classes
        self.embed = None
        if num_classes:
            self.embed = class_vectors(num_classes, num_outputs, num_outputs**-0.5)

    def forward(self, x: Float[Tensor, "n c h w"], y: Labels | None = None) -> Scores:
        features = self.stages(x.contiguous(memory_format=torch.channels_last))
        if self.embed is None:
            return Scores(features[:, 0])
        return Scores((features * self.embed(required(y, self.num_classes))).sum(1))


class Stage(nn.Sequential):
    """The layers of one resolution, in single precision unless `lower`."""

    def __init__(self, *layers: nn.Module, lower: bool):
        super().__init__(*layers)
        self.lower = lower

    def forward(self, input: Tensor) -> Tensor:
        if self.lower:
            return super().forward(input)
        with full_precision(input.device):
            return super().forward(at_least_single(input))


class ResidualBlock(nn.Module):
    """x + three convolutions, 1x1, 3x3 in groups and 1x1, of which the last begins as zeros."""

    def __init__(self, width: int, inner: int, groups: int, gain: float):
        super().__init__()
        self.conv1 = convolution(width, inner, gain=gain, bias=True)
        self.conv2 = convolution(inner, inner, size=3, groups=groups, gain=gain, bias=True)
        self.conv3 = convolution(inner, width, gain=0.0)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        h = F.leaky_relu_(self.conv1(x), SLOPE)
        h = F.leaky_relu_(self.conv2(h), SLOPE)
        return x + self.conv3(h)


class Resampling(nn.Module):
    """Doubles the resolution behind a 1x1 convolution or halves it in front of one, which is there
    where the widths differ."""

    kernel: Tensor

    def __init__(self, in_channels: int, out_channels: int, direction: Literal["up", "down"]):
        super().__init__()
        differ = in_channels != out_channels
        self.conv = convolution(in_channels, out_channels) if differ else nn.Identity()
        self.direction = direction
        self.register_buffer("kernel", fir_filter(BINOMIAL), persistent=False)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        if self.direction == "up":
            return resample(self.conv(x), self.kernel, up=2)
        return self.conv(resample(x, self.kernel, down=2))


class FirstLayer(nn.Module):
    """From a vector to maps of 4x4 pixels: a learned map for each channel, times a number."""

    conditioned = ("linear",)  # takes the class vector too, where there is one

    def __init__(self, in_features: int, channels: int):
        super().__init__()
        self.linear = initialized(nn.Linear(in_features, channels, bias=False))
        self.basis = nn.Parameter(torch.randn(channels, BOTTOM, BOTTOM))

    def forward(self, z: Float[Tensor, "n z"]) -> Float[Tensor, "n c h w"]:
        maps = self.linear(z)[:, :, None, None] * self.basis
        return maps.contiguous(memory_format=torch.channels_last)


class LastLayer(nn.Module):
    """From maps of 4x4 pixels to a vector: each channel's scalar product with a learned map."""

    conditioned = ("linear",)  # gives a number, or a vector to compare with the class vector

    def __init__(self, channels: int, out_features: int):
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, BOTTOM, BOTTOM) / BOTTOM)
        self.linear = initialized(nn.Linear(channels, out_features, bias=False))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n features"]:
        return self.linear((x * self.basis).sum((2, 3)))


def widths_of(config: R3ganConfig, image_shape: tuple[int, int, int]) -> list[int]:
    """Channels at 4x4, 8x8 ... pixels and those of the image."""
    num, widths = num_doublings(image_shape, BOTTOM) + 1, list(config.widths)
    halves = len(widths) > 1 and widths[-2] == 2 * widths[-1]
    while len(widths) < num:
        widths.append(max(widths[-1] // 2, 1) if halves else widths[-1])
    return widths[:num]


def blocks_of(config: R3ganConfig, widths: Sequence[int]) -> list[list[nn.Module]]:
    """Residual blocks at 4x4, 8x8 ... pixels. Raises ConfigError where groups cannot be equal."""
    levels = range(len(widths))
    num_blocks = [config.blocks[min(level, len(config.blocks) - 1)] for level in levels]
    # L^(-1 / (2m - 2)) for L blocks of m = 3 layers, the last of them 0 (Zhang et al. 2019, Fixup).
    gain = GAIN * sum(num_blocks) ** -0.25
    found: list[list[nn.Module]] = []
    for level, (width, num) in enumerate(zip(widths, num_blocks, strict=True)):
        inner = width * config.expansion
        group_width = min(config.group_widths[min(level, len(config.group_widths) - 1)], inner)
        if inner % group_width:
            side = BOTTOM << level
            raise ConfigError(
                f"group_widths: the {inner} inner channels at {side}x{side} pixels (width {width} "
                f"times expansion {config.expansion}) are no multiple of {group_width}; "
                "give a width or a group width that fits"
            )
        groups = inner // group_width
        found.append([ResidualBlock(width, inner, groups, gain) for _ in range(num)])
    return found


def convolution(
    in_channels: int,
    out_channels: int,
    size: int = 1,
    groups: int = 1,
    gain: float = 1.0,
    bias: bool = False,
) -> nn.Conv2d:
    """Of unchanged resolution."""
    conv = TwiceDifferentiableConv2d(
        in_channels, out_channels, size, padding=size // 2, groups=groups, bias=bias
    )
    return initialized(conv, gain)


def class_vectors(num_classes: int, dim: int, gain: float = 1.0) -> ClassTable:
    """A table of them. The original multiplies one-hot rows by it: so many inputs has the layer."""
    table = ClassTable(num_classes, dim)
    nn.init.normal_(table.weight, 0.0, gain / math.sqrt(num_classes))
    return table


Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def initialized(layer: Layer, gain: float = 1.0) -> Layer:
    """Weights N(0, gain / sqrt(inputs of an output)), biases 0."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
