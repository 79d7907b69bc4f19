"""WGAN-GP's networks as MMGeneration trains them: configuration (a) of Karras et al. 2018, table 1.

The generator doubles by nearest neighbours before two 3x3 convolutions a resolution, all with batch
norm; the discriminator has two and an average of 2x2, with a norm of each image by itself, as its
gradient penalty asks (Gulrajani et al. 2017, section 4).
"""

import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.protocols import Labels, NetworkConfig, Scores
from limner.layers import ClassTable, projected, with_class
from limner.models.common import Size, initialize_he, num_doublings
from limner.models.dcgan import BOTTOM, channels_from_top

SLOPE = 0.2  # of the discriminator's leaky relu


class WganGpGenerator(Config, NetworkConfig, frozen=True):
    """`width` channels at the image's resolution, doubled at every halving, to max_channels.

    z_dim: entries of the latent vector.
    embedding_dim: with classes, entries of the class vector that is concatenated to z.
    """

    width: Size = 32
    z_dim: Size = 128
    embedding_dim: Size = 32
    max_channels: Size = 512

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return WganGpGeneratorNetwork(self, image_shape, num_classes)


class WganGpDiscriminator(Config, NetworkConfig, frozen=True):
    """Channels as WganGpGenerator's; with classes a projection, as in DcganDiscriminator.

    norm: over all channels and pixels of an image: "group" with one weight a channel (the configs
        of MMGeneration), "layer" with one for each entry (its class' default).
    """

    width: Size = 32
    max_channels: Size = 512
    norm: Literal["group", "layer"] = "group"

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return WganGpDiscriminatorNetwork(self, image_shape, num_classes)


class WganGpGeneratorNetwork(nn.Module):
    """See WganGpGenerator. `y` is needed with classes and ignored without."""

    conditioned = ("first",)  # takes the class vector too, where there is one

    def __init__(
        self, config: WganGpGenerator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        num = num_doublings(image_shape, BOTTOM)
        widths = channels_from_top(config.width, config.max_channels, num + 1)[::-1]
        self.z_dim, self.num_classes = config.z_dim, num_classes
        self.embed = ClassTable(num_classes, config.embedding_dim) if num_classes else None
        inputs = config.z_dim + (config.embedding_dim if num_classes else 0)
        self.first = nn.Linear(inputs, widths[0] * BOTTOM**2, bias=False)
        self.bias = nn.Parameter(torch.zeros(widths[0]))
        self.norm = nn.BatchNorm2d(widths[0])
        pairs = [(widths[0], widths[0])]
        for inner, outer in itertools.pairwise(widths):
            pairs += [(inner, outer), (outer, outer)]
        self.blocks = nn.ModuleList(GeneratorBlock(*pair) for pair in pairs)
        self.output = nn.Conv2d(widths[-1], image_shape[0], 1)
        initialize(self, math.sqrt(2))

    def forward(self, z: Float[Tensor, "n z"], y: Labels | None = None) -> Float[Tensor, "n c h w"]:
        z = with_class(z, self.embed, y)
        h = self.first(z).unflatten(1, (-1, BOTTOM, BOTTOM)) + self.bias[:, None, None]
        h = self.norm(F.relu(h).contiguous(memory_format=torch.channels_last))
        for number, block in enumerate(self.blocks):
            if number % 2 == 1:
                h = F.interpolate(h, scale_factor=2.0)
            h = block(h)
        return torch.tanh(self.output(h))


class GeneratorBlock(nn.Module):
    """3x3 convolution with bias, batch norm, relu."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h w"]:
        return F.relu_(self.norm(self.conv(x)))


class WganGpDiscriminatorNetwork(nn.Module):
    """See WganGpDiscriminator. `y` is needed with classes and ignored without."""

    def __init__(
        self, config: WganGpDiscriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        num, side = num_doublings(image_shape, BOTTOM), image_shape[1]
        widths = channels_from_top(config.width, config.max_channels, num + 1)
        self.num_classes, top = num_classes, widths[-1]
        self.first = nn.Conv2d(image_shape[0], widths[0], 1)
        self.blocks = nn.ModuleList()
        for level, (outer, inner) in enumerate(itertools.pairwise(widths)):
            for out in (outer, inner):
                conv = nn.Conv2d(outer, out, 3, padding=1)
                self.blocks.append(DiscriminatorBlock(conv, config.norm, side >> level))
        last = nn.Conv2d(top, top, BOTTOM)
        self.last = DiscriminatorBlock(last, config.norm, 1)
        self.output = nn.Linear(top, 1)
        self.embed = ClassTable(num_classes, top) if num_classes else None
        self.freeze_order = ("first", *(f"blocks.{i}" for i in range(len(self.blocks))))
        initialize(self, math.sqrt(2 / (1 + SLOPE**2)))

    def forward(self, x: Float[Tensor, "n c h w"], y: Labels | None = None) -> Scores:
        h = F.leaky_relu(self.first(x.contiguous(memory_format=torch.channels_last)), SLOPE)
        for number, block in enumerate(self.blocks):
            h = block(h)
            if number % 2 == 1:
                h = F.avg_pool2d(h, 2)
        h = self.last(h).flatten(1)
        logits = self.output(h).flatten()
        return Scores(projected(logits, h, self.embed, y))


class DiscriminatorBlock(nn.Module):
    """A convolution with bias, a norm of each image, leaky relu; `side` pixels come out."""

    def __init__(self, conv: nn.Conv2d, norm: Literal["group", "layer"], side: int):
        super().__init__()
        self.conv, channels = conv, conv.out_channels
        self.norm = nn.GroupNorm(1, channels)
        if norm == "layer":
            self.norm = nn.LayerNorm([channels, side, side])

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE)


def initialize(module: nn.Module, gain: float) -> None:
    """Convolutions by `initialize_he`; linear layers and class vectors N(0, 1), biases 0."""
    initialize_he(module, gain)
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Embedding)):
            nn.init.normal_(layer.weight)
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
