"""SA-GAN (Zhang et al. 2019), as BigGAN-PyTorch trains it.

BigGAN's networks with a table of gains and biases for every layer and one self-attention, at half
the image's resolution and at most at 64 pixels (the paper's place at 128).
"""

from torch import nn

from limner.core.config import Config
from limner.core.protocols import NetworkConfig
from limner.layers import NormKind
from limner.models.biggan import BigGanDiscriminator, BigGanGenerator
from limner.models.building import fields_of
from limner.models.common import Epsilon, Few, FewOrNone, Init, Size


class SaganGenerator(Config, NetworkConfig, frozen=True):
    """Channels as BigGAN's: width * multipliers, () the paper's for the resolution.

    attention: resolutions (pixels); None: the paper's place.
    The other fields are those of BigGanGenerator.
    """

    width: Size = 64
    z_dim: Size = 128
    multipliers: tuple[Size, ...] = ()
    attention: tuple[int, ...] | None = None
    norm: NormKind = "batch"
    spectral_norm: bool = True
    num_singular_values: Few = 1
    num_iterations: Few = 1
    init: Init = "xavier"
    batch_norm_eps: Epsilon = 1e-5
    spectral_norm_eps: Epsilon = 1e-8

    def network(self, attention: tuple[int, ...]) -> BigGanGenerator:
        """The same network as a BigGAN's config, with attention at these resolutions."""
        return BigGanGenerator(**{**fields_of(self), "attention": attention})

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        attention = places(self.attention, image_shape, lowest=8)
        return self.network(attention).build(image_shape, num_classes)


class SaganDiscriminator(Config, NetworkConfig, frozen=True):
    """Channels as BigGAN's: width * multipliers, () the paper's for the resolution.

    attention: resolutions (pixels); None: the paper's place.
    The other fields are those of BigGanDiscriminator.
    """

    width: Size = 64
    multipliers: tuple[Size, ...] = ()
    attention: tuple[int, ...] | None = None
    bottom: Size | None = None
    num_last_blocks: FewOrNone | None = None
    spectral_norm: bool = True
    num_singular_values: Few = 1
    num_iterations: Few = 1
    init: Init = "xavier"
    spectral_norm_eps: Epsilon = 1e-8

    def network(self, attention: tuple[int, ...]) -> BigGanDiscriminator:
        """See SaganGenerator."""
        return BigGanDiscriminator(**{**fields_of(self), "attention": attention})

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        attention = places(self.attention, image_shape, lowest=4)
        return self.network(attention).build(image_shape, num_classes)


def places(
    given: tuple[int, ...] | None, image_shape: tuple[int, int, int], lowest: int
) -> tuple[int, ...]:
    """Resolutions of attention: those given, else half the image's, `lowest` to 64."""
    if given is not None:
        return given
    return (max(lowest, min(64, image_shape[1] // 2)),)
