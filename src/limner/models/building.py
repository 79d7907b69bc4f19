"""How the networks of the BigGAN family make their layers, and what their configs check."""

import itertools
from typing import Any, Protocol

from torch import nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.layers import (
    ClassTable,
    ConditionalNorm2d,
    NormKind,
    PlainNorm2d,
    PowerIteration,
    ResampleConv2d,
    SelfAttention2d,
    SNConv2d,
    SNEmbedding,
    SNLinear,
)
from limner.layers.resampling import Resample

BOTTOM = 4  # pixels on a side where a generator begins

# Channels over the width, from full resolution down; the last one repeats. BigGAN's appendix B
# and BigGAN-PyTorch; the discriminator of 512 px is the one of that repository's issue 40.
GENERATOR_TABLE: dict[int, tuple[int, ...]] = {
    8: (4,),
    16: (4,),
    32: (4,),
    64: (2, 4, 8, 16, 16),
    128: (1, 2, 4, 8, 16, 16),
    256: (1, 2, 4, 8, 8, 16, 16),
    512: (1, 1, 2, 4, 8, 8, 16, 16),
}
DISCRIMINATOR_TABLE = GENERATOR_TABLE | {64: (1, 2, 4, 8, 16)}


def multipliers_at(
    table: dict[int, tuple[int, ...]], given: tuple[int, ...], resolution: int
) -> tuple[int, ...]:
    """Those given, or else the table's; ConfigError if it has no such resolution."""
    if given:
        return given
    if resolution not in table:
        known = ", ".join(map(str, table))
        raise ConfigError(
            f"multipliers: there is no table for {resolution} pixels, only for {known}; give the "
            "channels over the width from full resolution down"
        )
    return table[resolution]


def channels_from_top(width: int, multipliers: tuple[int, ...], num: int) -> list[int]:
    """Channels at full, half, quarter ... resolution, `num` of them."""
    last = len(multipliers) - 1
    return [width * multipliers[min(i, last)] for i in range(num)]


def check_grows(widths: list[int]) -> None:
    """Raises ConfigError if channels shrink towards the low resolutions (`widths` go down).

    The shortcuts of BigGAN-deep drop channels on the way up and add them on the way down.
    """
    if any(upper > lower for upper, lower in itertools.pairwise(widths)):
        raise ConfigError(
            f"multipliers: the channels {widths} from full resolution down must not shrink in "
            "BigGAN-deep, whose shortcuts drop channels towards the image"
        )


def check_attention(attention: tuple[int, ...], resolutions: list[int]) -> None:
    """Raises ConfigError unless each stands among the resolutions that blocks put out."""
    for resolution in attention:
        if resolution not in resolutions:
            allowed = ", ".join(map(str, sorted(set(resolutions))))
            raise ConfigError(
                f"attention: {resolution} is no resolution that a block of this network puts "
                f"out; allowed: {allowed}"
            )


class Attended(Protocol):
    """What every discriminator's config of the family says of attention."""

    @property
    def attention(self) -> tuple[int, ...]: ...
    @property
    def attention_after(self) -> tuple[int, ...] | None: ...


def attended(config: Attended, sizes: list[int]) -> set[int]:
    """The blocks after which attention stands, of those that put out these resolutions.

    Raises:
        ConfigError: there is no such block or resolution.
    """
    if config.attention_after is None:
        check_attention(config.attention, sizes)
        return {i for i, size in enumerate(sizes) if size in config.attention}
    for number in config.attention_after:
        if number >= len(sizes):
            raise ConfigError(f"attention_after: {number}; the last block is {len(sizes) - 1}")
    return set(config.attention_after)


class Layers:
    """Layers with or without spectral norm, as one config asks."""

    def __init__(self, power: PowerIteration | None):
        self.power = power

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        size: int,
        resample: Resample = "none",
        bias: bool = True,
    ) -> nn.Module:
        """A "same" convolution, after doubling or before halving the resolution."""
        if self.power is None:
            return ResampleConv2d(in_channels, out_channels, size, bias, resample)
        return SNConv2d(in_channels, out_channels, size, bias, resample, self.power)

    def linear(self, in_features: int, out_features: int, bias: bool = True) -> nn.Module:
        if self.power is None:
            return nn.Linear(in_features, out_features, bias)
        return SNLinear(in_features, out_features, bias, self.power)

    def table(self, num_classes: int, dim: int) -> nn.Module:
        if self.power is None:
            return ClassTable(num_classes, dim)
        return SNEmbedding(num_classes, dim, self.power)

    def attention(self, num_channels: int) -> nn.Module:
        """Raises ConfigError below 8 channels, for an eighth of them are the queries."""
        if num_channels < 8:
            raise ConfigError(
                f"attention: needs 8 channels or more where it stands, there are {num_channels}; "
                "raise width or choose a lower resolution"
            )
        return SelfAttention2d(num_channels, lambda i, o: self.conv(i, o, 1, bias=False))


class SpectralFields(Protocol):
    """What every config of the family says of spectral norm."""

    @property
    def spectral_norm(self) -> bool: ...
    @property
    def num_singular_values(self) -> int: ...
    @property
    def num_iterations(self) -> int: ...
    @property
    def spectral_norm_eps(self) -> float: ...


class NormFields(SpectralFields, Protocol):
    """What every generator's config of the family says of its norms."""

    @property
    def norm(self) -> NormKind: ...
    @property
    def channels_per_group(self) -> int: ...
    @property
    def batch_norm_eps(self) -> float: ...
    @property
    def output_norm_eps(self) -> float | None: ...


def fields_of(config: Config) -> dict[str, Any]:
    """Values by name."""
    return {name: getattr(config, name) for name in config.__struct_fields__}


def power_of(config: SpectralFields) -> PowerIteration | None:
    """How spectral norm is estimated; None without it."""
    if not config.spectral_norm:
        return None
    return PowerIteration(
        config.num_singular_values, config.num_iterations, config.spectral_norm_eps
    )


class GeneratorLayers(Layers):
    """Also the norms of a generator's blocks.

    condition_dim: entries of the vector that gains and biases are computed from; 0: none.
    num_classes: without such a vector, rows of the norms' own tables of gains and biases; with 0
        the norms are plain.
    """

    def __init__(self, config: NormFields, condition_dim: int, num_classes: int):
        super().__init__(power_of(config))
        self.config = config
        self.condition_dim = condition_dim
        self.num_classes = num_classes
        # Fields of BigGanGenerator alone.
        self.center = 1.0 if getattr(config, "gain_around_one", True) else 0.0
        self.normalized_tables: bool = getattr(config, "normalized_tables", False)

    def norm(self, num_channels: int) -> nn.Module:
        """A block's: forward(x, condition)."""
        config = self.config
        if not (self.condition_dim or self.num_classes):
            return self._plain(num_channels, config.batch_norm_eps)
        gain, bias = (self._from_condition(num_channels) for _ in range(2))
        options = config.norm, config.batch_norm_eps, config.channels_per_group
        return ConditionalNorm2d(num_channels, gain, bias, *options, self.center)

    def output_norm(self, num_channels: int) -> nn.Module:
        """The one in front of the last convolution, always plain."""
        own = self.config.output_norm_eps
        return self._plain(num_channels, self.config.batch_norm_eps if own is None else own)

    def _plain(self, num_channels: int, eps: float) -> nn.Module:
        config = self.config
        return PlainNorm2d(num_channels, config.norm, eps, config.channels_per_group)

    def _from_condition(self, num_channels: int) -> nn.Module:
        if self.condition_dim:
            return self.linear(self.condition_dim, num_channels, bias=False)
        if self.normalized_tables:
            return self.table(self.num_classes, num_channels)
        return ClassTable(self.num_classes, num_channels)
