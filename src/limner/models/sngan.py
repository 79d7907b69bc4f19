"""SN-GAN (Miyato et al. 2018; projection: Miyato & Koyama 2018), as BigGAN-PyTorch trains it.

BigGAN's networks with a table of gains and biases for every layer, no attention, and a
discriminator whose blocks widen in their second convolution.
"""

from torch import nn

from limner.core.config import Config
from limner.core.protocols import NetworkConfig
from limner.layers import NormKind
from limner.models.biggan import BigGanDiscriminator, BigGanGenerator
from limner.models.building import fields_of
from limner.models.common import Epsilon, Few, FewOrNone, Init, Size


class SnganGenerator(Config, NetworkConfig, frozen=True):
    """Channels as BigGAN's: width * multipliers, () the paper's for the resolution.

    spectral_norm: BigGAN-PyTorch normalizes the generator too; the paper and MMGeneration do not.
    The other fields are those of BigGanGenerator.
    """

    width: Size = 64
    z_dim: Size = 128
    multipliers: tuple[Size, ...] = ()
    norm: NormKind = "batch"
    spectral_norm: bool = True
    num_singular_values: Few = 1
    num_iterations: Few = 1
    init: Init = "xavier"
    batch_norm_eps: Epsilon = 1e-5
    spectral_norm_eps: Epsilon = 1e-8

    def network(self) -> BigGanGenerator:
        """The same network as a BigGAN's config."""
        return BigGanGenerator(**fields_of(self))

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return self.network().build(image_shape, num_classes)


class SnganDiscriminator(Config, NetworkConfig, frozen=True):
    """Channels as BigGAN's: width * multipliers, () the paper's for the resolution.

    wide: True gives blocks their outputs' channels in the middle, as MMGeneration does.
    The other fields are those of BigGanDiscriminator.
    """

    width: Size = 64
    multipliers: tuple[Size, ...] = ()
    wide: bool = False
    bottom: Size | None = None
    num_last_blocks: FewOrNone | None = None
    spectral_norm: bool = True
    num_singular_values: Few = 1
    num_iterations: Few = 1
    init: Init = "xavier"
    spectral_norm_eps: Epsilon = 1e-8

    def network(self) -> BigGanDiscriminator:
        """The same network as a BigGAN's config."""
        return BigGanDiscriminator(**fields_of(self))

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return self.network().build(image_shape, num_classes)
