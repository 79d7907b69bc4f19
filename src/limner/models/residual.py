"""The class-conditional residual pair, in any width: the beginning of the BigGAN family.

Generator: conditional batch norm (or a plain one without classes), nearest-neighbour doubling in
residual blocks, tanh. Discriminator: spectral norm, residual blocks with average pooling, sum
pooling, and a projection of the class (Miyato & Koyama 2018; Zhang et al. 2019; Brock et al. 2019).
Without `embedding_dim` it is the unshared form of BigGAN: one table of gains and biases a layer.
"""

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import Labels, NetworkConfig, Scores
from limner.layers import (
    ClassTable,
    ConditionalBatchNorm2d,
    CrossReplicaBatchNorm2d,
    PlainBatchNorm2d,
    PowerIteration,
    ResampleConv2d,
    Scale2d,
    SNConv2d,
    SNEmbedding,
    SNLinear,
    downsample,
    required,
    upsample,
)
from limner.layers.resampling import Resample
from limner.models.common import check_sizes, initialize, num_doublings

Init = Literal["orthogonal", "normal"]
BOTTOM = 4  # pixels on a side where the generator begins


class ResidualGenerator(Config, NetworkConfig, frozen=True):
    """width * multipliers[0] channels at full resolution, [1] at half, ...; the last one repeats.

    (1, 2, 4, 8, 16, 16) with width 96 are BigGAN's channels at 128 px, (4,) those of its CIFAR net.

    z_dim: entries of the latent vector.
    embedding_dim: entries of the class vector shared by all layers; 0: tables of their own instead.
    norm: "cross_replica" takes the statistics over the batch of all processes, "batch" over that
        of each; "none" keeps scale and shift but no statistics, so samples are independent.
    init: weights orthogonal, or normal with deviation 0.02; biases zero.
    """

    width: int = 32
    z_dim: int = 64
    embedding_dim: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    norm: Literal["batch", "cross_replica", "none"] = "batch"
    spectral_norm: bool = False
    init: Init = "orthogonal"
    batch_norm_eps: float = 1e-5
    spectral_norm_eps: float = 1e-8

    def __post_init__(self) -> None:
        check_sizes(width=self.width, z_dim=self.z_dim)
        check_multipliers(self.multipliers)
        if self.embedding_dim < 0:
            raise ConfigError(f"embedding_dim: {self.embedding_dim} must be 0 or more")

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(z [N, z_dim], y) -> images [N, C, H, W] in [-1, 1]; see NetworkConfig."""
        return ResidualGeneratorNetwork(self, image_shape, num_classes)


class ResidualDiscriminator(Config, NetworkConfig, frozen=True):
    """width * multipliers[0] channels after the first block, [1] after the second, ...

    One block a halving down to `bottom` pixels, then `num_last_blocks` there; the last multiplier
    repeats. (4,) with width 64, bottom 8 and two last blocks is BigGAN's net for 32 px.
    """

    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4)
    bottom: int = 4
    num_last_blocks: int = 1
    spectral_norm: bool = True
    init: Init = "orthogonal"
    spectral_norm_eps: float = 1e-8

    def __post_init__(self) -> None:
        check_sizes(width=self.width, bottom=self.bottom)
        check_multipliers(self.multipliers)
        if not 0 <= self.num_last_blocks <= 64:
            raise ConfigError(f"num_last_blocks: {self.num_last_blocks} must be 0 to 64")

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(x [N, C, H, W] in [-1, 1], y) -> Scores(logits [N]); see NetworkConfig."""
        return ResidualDiscriminatorNetwork(self, image_shape, num_classes)


def check_multipliers(multipliers: tuple[int, ...]) -> None:
    """Raises ConfigError unless there is at least one and all are positive."""
    if not multipliers or min(multipliers) < 1:
        raise ConfigError(f"multipliers: {list(multipliers)} must be one or more positive integers")
    check_sizes(multipliers=max(multipliers))


def channels_from_top(width: int, multipliers: tuple[int, ...], num: int) -> list[int]:
    """Channels at full, half, quarter ... resolution, `num` of them."""
    last = len(multipliers) - 1
    return [width * multipliers[min(i, last)] for i in range(num)]


# --- generator -------------------------------------------------------------


class ResidualGeneratorNetwork(nn.Module):
    """See ResidualGenerator. `y` is needed with classes and ignored without."""

    def __init__(
        self, config: ResidualGenerator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        num_blocks = num_doublings(image_shape, BOTTOM)
        widths = channels_from_top(config.width, config.multipliers, num_blocks + 1)[::-1]
        make = _GeneratorMaker(config, num_classes)
        self.z_dim = config.z_dim
        self.num_classes = num_classes
        shared = num_classes > 0 and config.embedding_dim > 0
        self.shared = ClassTable(num_classes, config.embedding_dim) if shared else None
        self.linear = make.linear(config.z_dim, widths[0] * BOTTOM**2)
        self.blocks = nn.ModuleList(
            GeneratorBlock(inner, outer, make) for inner, outer in itertools.pairwise(widths)
        )
        self.output_norm = make.plain_norm(widths[-1])
        self.output = make.conv(widths[-1], image_shape[0], 3)
        initialize(self, config.init)

    def forward(self, z: Float[Tensor, "n z"], y: Labels | None = None) -> Float[Tensor, "n c h w"]:
        """Images in [-1, 1]."""
        condition = None
        if self.num_classes:
            y = required(y, self.num_classes)
            condition = y if self.shared is None else self.shared(y)
        h = self.linear(z)
        h = h.view(len(h), -1, BOTTOM, BOTTOM).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h, condition)
        return torch.tanh(self.output(F.relu_(self.output_norm(h))))


class GeneratorBlock(nn.Module):
    """norm, relu, double, conv, norm, relu, conv, plus a 1x1 convolution of the doubled input."""

    def __init__(self, in_channels: int, out_channels: int, make: "_GeneratorMaker"):
        super().__init__()
        self.norm1 = make.norm(in_channels)
        self.conv1 = make.conv(in_channels, out_channels, 3, "up")
        self.norm2 = make.norm(out_channels)
        self.conv2 = make.conv(out_channels, out_channels, 3)
        self.shortcut = make.conv(in_channels, out_channels, 1)

    def forward(
        self, x: Float[Tensor, "n i h w"], condition: Shaped[Tensor, "n ..."] | None
    ) -> Float[Tensor, "n o 2*h 2*w"]:
        """The condition is what the norms take."""
        h = self.conv1(F.relu_(self.norm1(x, condition)))
        h = self.conv2(F.relu_(self.norm2(h, condition)))
        # A 1x1 convolution commutes with doubling, and is four times cheaper before it.
        return h.add_(upsample(self.shortcut(x)))


# --- discriminator ---------------------------------------------------------


class ResidualDiscriminatorNetwork(nn.Module):
    """See ResidualDiscriminator. `y` is needed with classes and ignored without."""

    def __init__(
        self, config: ResidualDiscriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        num_halvings = num_doublings(image_shape, config.bottom)
        num_blocks = num_halvings + config.num_last_blocks
        widths = channels_from_top(config.width, config.multipliers, num_blocks)
        make = _Maker(config.spectral_norm, config.spectral_norm_eps)
        self.num_classes = num_classes
        self.first = FirstBlock(image_shape[0], widths[0], make)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(widths[i - 1], widths[i], i < num_halvings, make)
            for i in range(1, num_blocks)
        )
        self.linear = make.linear(widths[-1], 1)
        self.embed = make.table(num_classes, widths[-1]) if num_classes else None
        initialize(self, config.init)

    def forward(self, x: Float[Tensor, "n c h w"], y: Labels | None = None) -> Scores:
        """Logits of images in [-1, 1]."""
        h = self.first(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = block(h)
        h = F.relu_(h).sum((2, 3))
        logits = self.linear(h).squeeze(1)
        if self.embed is not None:
            logits = logits + (self.embed(required(y, self.num_classes)) * h).sum(1)
        return Scores(logits)


class FirstBlock(nn.Module):
    """conv, relu, conv, halve; the shortcut halves, then a 1x1 convolution. No relu on images."""

    def __init__(self, in_channels: int, out_channels: int, make: "_Maker"):
        super().__init__()
        self.conv1 = make.conv(in_channels, out_channels, 3)
        self.conv2 = make.conv(out_channels, out_channels, 3, "down")
        self.shortcut = make.conv(in_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h//2 w//2"]:
        """Halves the resolution."""
        h = self.conv2(F.relu_(self.conv1(x)))
        return h.add_(self.shortcut(downsample(x)))


class DiscriminatorBlock(nn.Module):
    """relu, conv, relu, conv (, halve); the shortcut is a 1x1 convolution where shapes change."""

    def __init__(self, in_channels: int, out_channels: int, halve: bool, make: "_Maker"):
        super().__init__()
        resample: Resample = "down" if halve else "none"
        changes = halve or in_channels != out_channels
        self.conv1 = make.conv(in_channels, out_channels, 3)
        self.conv2 = make.conv(out_channels, out_channels, 3, resample)
        self.shortcut = make.conv(in_channels, out_channels, 1, resample) if changes else None

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        """Halves the resolution, or keeps it."""
        h = self.conv2(F.relu_(self.conv1(F.relu(x))))
        return h.add_(x if self.shortcut is None else self.shortcut(x))


# --- layers ----------------------------------------------------------------


class _Maker:
    """Layers with or without spectral norm, as one config asks."""

    def __init__(self, spectral_norm: bool, eps: float):
        self.power = PowerIteration(eps=eps) if spectral_norm else None

    def conv(
        self, in_channels: int, out_channels: int, size: int, resample: Resample = "none"
    ) -> nn.Module:
        if self.power is None:
            return ResampleConv2d(in_channels, out_channels, size, resample=resample)
        return SNConv2d(in_channels, out_channels, size, resample=resample, power=self.power)

    def linear(self, in_features: int, out_features: int, bias: bool = True) -> nn.Module:
        if self.power is None:
            return nn.Linear(in_features, out_features, bias)
        return SNLinear(in_features, out_features, bias, self.power)

    def table(self, num_classes: int, dim: int) -> nn.Module:
        if self.power is None:
            return ClassTable(num_classes, dim)
        return SNEmbedding(num_classes, dim, self.power)


class _GeneratorMaker(_Maker):
    """Also the norm of a generator's block: conditional with classes, plain without."""

    def __init__(self, config: ResidualGenerator, num_classes: int):
        super().__init__(config.spectral_norm, config.spectral_norm_eps)
        self.config = config
        self.num_classes = num_classes

    def norm(self, num_channels: int) -> nn.Module:
        if not self.num_classes:
            return self.plain_norm(num_channels)
        return ConditionalBatchNorm2d(
            num_channels,
            self._from_condition(num_channels),
            self._from_condition(num_channels),
            eps=self.config.batch_norm_eps,
            normalize=self.config.norm != "none",
            cross_replica=self.config.norm == "cross_replica",
        )

    def plain_norm(self, num_channels: int) -> nn.Module:
        if self.config.norm == "none":
            return Scale2d(num_channels)
        layer = CrossReplicaBatchNorm2d if self.config.norm == "cross_replica" else PlainBatchNorm2d
        return layer(num_channels, eps=self.config.batch_norm_eps)

    def _from_condition(self, num_channels: int) -> nn.Module:
        if self.config.embedding_dim:
            return self.linear(self.config.embedding_dim, num_channels, bias=False)
        return ClassTable(self.num_classes, num_channels)
