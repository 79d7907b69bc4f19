"""LSGAN's own networks (Mao et al. 2017, figure 5) as MMGeneration trains them.

Transposed 3x3 convolutions, two a resolution at first, against strided 5x5 ones; batch norm
everywhere but at the image. Linear layers begin as torch's.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import Labels, NetworkConfig, Scores
from limner.layers import ClassTable, projected, with_class
from limner.models.common import Size, initialize_he, num_doublings

SLOPE = 0.2  # of the discriminator's leaky relu


class LsganGenerator(Config, NetworkConfig, frozen=True):
    """4 `width` channels up to a quarter of the image's resolution, then 2 `width` and `width`.

    z_dim: entries of the latent vector.
    embedding_dim: with classes, entries of the class vector that is concatenated to z.
    first_side: pixels on a side where it begins; the image has 4 times as many or more.
    """

    width: Size = 64
    z_dim: Size = 1024
    embedding_dim: Size = 32
    first_side: Size = 8

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return LsganGeneratorNetwork(self, image_shape, num_classes)


class LsganDiscriminator(Config, NetworkConfig, frozen=True):
    """`width` channels at half the image's resolution, doubled at every halving, to `first_side`
    pixels on a side; with classes a projection, as in DcganDiscriminator."""

    width: Size = 64
    first_side: Size = 8

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return LsganDiscriminatorNetwork(self, image_shape, num_classes)


def halvings(image_shape: tuple[int, int, int], first_side: int) -> int:
    """How often the image's side is halved to `first_side` pixels, at least twice.

    Raises:
        ConfigError: another shape.
    """
    if (num := num_doublings(image_shape, first_side)) < 2:
        raise ConfigError(
            f"image shape {list(image_shape)}: LSGAN's networks make images of {4 * first_side} "
            "pixels or more; set data.resolution, or first_side of both networks"
        )
    return num


class LsganGeneratorNetwork(nn.Module):
    """See LsganGenerator. `y` is needed with classes and ignored without."""

    conditioned = ("first",)  # takes the class vector too, where there is one

    def __init__(self, config: LsganGenerator, image_shape: tuple[int, int, int], num_classes: int):
        super().__init__()
        num = halvings(image_shape, config.first_side)
        self.z_dim, self.num_classes = config.z_dim, num_classes
        self.first_side = config.first_side
        self.embed = ClassTable(num_classes, config.embedding_dim) if num_classes else None
        inputs, wide = config.z_dim + (config.embedding_dim if num_classes else 0), 4 * config.width
        self.first = nn.Linear(inputs, wide * config.first_side**2)
        self.norm = nn.BatchNorm2d(wide)
        blocks = [GeneratorBlock(wide, wide, stride) for _ in range(num - 2) for stride in (2, 1)]
        blocks += [GeneratorBlock(wide, wide // 2, 2), GeneratorBlock(wide // 2, wide // 4, 2)]
        self.blocks = nn.ModuleList(blocks)
        self.output = nn.ConvTranspose2d(config.width, image_shape[0], 3, padding=1)
        initialize_he(self, math.sqrt(2))

    def forward(self, z: Float[Tensor, "n z"], y: Labels | None = None) -> Float[Tensor, "n c h w"]:
        z = with_class(z, self.embed, y)
        h = self.first(z).unflatten(1, (-1, self.first_side, self.first_side))
        h = F.relu_(self.norm(h.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            h = block(h)
        return torch.tanh(self.output(h))


class GeneratorBlock(nn.Module):
    """Transposed 3x3 convolution, of stride 2 to twice the resolution; batch norm, relu."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            in_channels, out_channels, 3, stride, padding=1, output_padding=stride - 1, bias=False
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        return F.relu_(self.norm(self.conv(x)))


class LsganDiscriminatorNetwork(nn.Module):
    """See LsganDiscriminator. `y` is needed with classes and ignored without."""

    def __init__(
        self, config: LsganDiscriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        num = halvings(image_shape, config.first_side)
        widths = [config.width << i for i in range(num)]
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(i, o, has_norm=number > 0)
            for number, (i, o) in enumerate(itertools.pairwise([image_shape[0], *widths]))
        )
        self.freeze_order = tuple(f"blocks.{i}" for i in range(num))
        features = widths[-1] * config.first_side**2
        self.output = nn.Linear(features, 1)
        self.num_classes = num_classes
        self.embed = ClassTable(num_classes, features) if num_classes else None
        initialize_he(self, math.sqrt(2 / (1 + SLOPE**2)))

    def forward(self, x: Float[Tensor, "n c h w"], y: Labels | None = None) -> Scores:
        h = x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h)
        h = h.flatten(1)
        logits = self.output(h).flatten()
        return Scores(projected(logits, h, self.embed, y))


class DiscriminatorBlock(nn.Module):
    """5x5 convolution of stride 2, batch norm (and then no bias) or none, leaky relu."""

    def __init__(self, in_channels: int, out_channels: int, has_norm: bool):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 5, 2, padding=2, bias=not has_norm)
        self.norm = nn.BatchNorm2d(out_channels) if has_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h//2 w//2"]:
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE, inplace=True)
