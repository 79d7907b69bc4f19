"""DCGAN (Radford et al. 2016), as MMGeneration trains it or as the paper has it.

Strided 4x4 convolutions from 4x4 pixels to the image and back, batch norm everywhere but at the
image. The defaults are those of MMGeneration's celeba recipe, which departs from the paper in two
values: leaky_slope 0.01 (paper 0.2) and batch-norm weights from N(0, 1) (paper N(1, 0.02)).
"""

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.protocols import Labels, NetworkConfig, Scores
from limner.core.ranges import NonNegative
from limner.layers import ClassTable, CrossReplicaBatchNorm2d, projected, with_class
from limner.models.common import Size, num_doublings

Norm = Literal["batch", "cross_replica"]
BOTTOM = 4  # pixels on a side where the generator begins and the discriminator ends

NORMS = {"batch": nn.BatchNorm2d, "cross_replica": CrossReplicaBatchNorm2d}


class DcganGenerator(Config, NetworkConfig, frozen=True):
    """`width` channels at half the image's resolution, doubled at every halving, to max_channels.

    z_dim: entries of the latent vector.
    embedding_dim: with classes, entries of the class vector that is concatenated to z.
    conv_std: convolutions and class vectors begin as N(0, conv_std).
    norm_mean, norm_std: batch-norm weights begin as N(norm_mean, norm_std); (1, 0.02) in the paper.
    norm: statistics over each process' own batch, or "cross_replica": over that of all of them.
    """

    width: Size = 128
    z_dim: Size = 100
    embedding_dim: Size = 32
    max_channels: Size = 1024
    conv_std: NonNegative = 0.02
    norm_mean: float = 0.0
    norm_std: NonNegative = 1.0
    norm: Norm = "batch"

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return DcganGeneratorNetwork(self, image_shape, num_classes)


class DcganDiscriminator(Config, NetworkConfig, frozen=True):
    """`width` channels at half the image's resolution, doubled at every halving, to max_channels.

    With classes, <v(y), h> is added to the logit: v a vector of the class, h the 4x4 features
    (projection, Miyato & Koyama 2018). The other fields are those of DcganGenerator.
    """

    width: Size = 128
    max_channels: Size = 1024
    leaky_slope: NonNegative = 0.01
    conv_std: NonNegative = 0.02
    norm_mean: float = 0.0
    norm_std: NonNegative = 1.0
    norm: Norm = "batch"

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return DcganDiscriminatorNetwork(self, image_shape, num_classes)


def channels_from_top(width: int, max_channels: int, num: int) -> list[int]:
    """Channels at half, quarter, eighth ... of the image's resolution, `num` of them."""
    return [min(width << i, max_channels) for i in range(num)]


class DcganGeneratorNetwork(nn.Module):
    """See DcganGenerator. `y` is needed with classes and ignored without."""

    conditioned = ("blocks.0.conv",)  # takes the class vector too, where there is one

    def __init__(self, config: DcganGenerator, image_shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        num = num_doublings(image_shape, BOTTOM)
        widths = channels_from_top(config.width, config.max_channels, num)[::-1]
        self.z_dim = config.z_dim
        self.num_classes = num_classes
        self.embed = ClassTable(num_classes, config.embedding_dim) if num_classes else None
        inputs = config.z_dim + (config.embedding_dim if num_classes else 0)
        first = nn.ConvTranspose2d(inputs, widths[0], BOTTOM, bias=False)
        ups = (
            nn.ConvTranspose2d(inner, outer, 4, stride=2, padding=1, bias=False)
            for inner, outer in itertools.pairwise(widths)
        )
        self.blocks = nn.ModuleList(GeneratorBlock(conv, config.norm) for conv in (first, *ups))
        self.output = nn.ConvTranspose2d(widths[-1], image_shape[0], 4, stride=2, padding=1)
        initialize(self, config.conv_std, config.norm_mean, config.norm_std)

    def forward(self, z: Float[Tensor, "n z"], y: Labels | None = None) -> Float[Tensor, "n c h w"]:
        z = with_class(z, self.embed, y)
        h = z[:, :, None, None].contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h)
        return torch.tanh(self.output(h))


class GeneratorBlock(nn.Module):
    """Transposed convolution, batch norm, relu."""

    def __init__(self, conv: nn.ConvTranspose2d, norm: Norm):
        super().__init__()
        self.conv = conv
        self.norm = NORMS[norm](conv.out_channels)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        """Doubles the resolution (the first block: 1x1 -> 4x4)."""
        return F.relu_(self.norm(self.conv(x)))


class DcganDiscriminatorNetwork(nn.Module):
    """See DcganDiscriminator. `y` is needed with classes and ignored without."""

    def __init__(
        self, config: DcganDiscriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        num = num_doublings(image_shape, BOTTOM)
        widths = channels_from_top(config.width, config.max_channels, num)
        slope = config.leaky_slope
        self.num_classes = num_classes
        self.blocks = nn.ModuleList(
            [DiscriminatorBlock(image_shape[0], widths[0], slope, None)]
            + [DiscriminatorBlock(i, o, slope, config.norm) for i, o in itertools.pairwise(widths)]
        )
        self.freeze_order = tuple(f"blocks.{i}" for i in range(len(self.blocks)))
        self.output = nn.Conv2d(widths[-1], 1, BOTTOM)
        features = widths[-1] * BOTTOM**2
        self.embed = ClassTable(num_classes, features) if num_classes else None
        initialize(self, config.conv_std, config.norm_mean, config.norm_std)

    def forward(self, x: Float[Tensor, "n c h w"], y: Labels | None = None) -> Scores:
        h = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h)
        logits = self.output(h).flatten()
        return Scores(projected(logits, h.flatten(1), self.embed, y))


class DiscriminatorBlock(nn.Module):
    """4x4 convolution of stride 2, batch norm (and then no bias) or none, leaky relu."""

    def __init__(self, in_channels: int, out_channels: int, slope: float, norm: Norm | None):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=not norm)
        self.norm = NORMS[norm](out_channels) if norm else nn.Identity()
        self.slope = slope

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h//2 w//2"]:
        return F.leaky_relu(self.norm(self.conv(x)), self.slope, inplace=True)


def initialize(module: nn.Module, conv_std: float, norm_mean: float, norm_std: float) -> None:
    """Convolutions and class vectors N(0, conv_std), batch-norm weights N(mean, std), biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, norm_mean, norm_std)
        elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
            nn.init.normal_(layer.weight, 0.0, conv_std)
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and layer.bias is not None:
                nn.init.zeros_(layer.bias)
