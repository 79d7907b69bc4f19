"""Networks of the quality benchmarks: own modules, as a user's would be.

Digits are 28x28, which no doubling of limner's own architectures from 4 pixels reaches, so these
begin at 7 (or, in protocol B, at 4 and drop a row and a column).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.protocols import NetworkConfig, Scores
from limner.layers import (
    ClassTable,
    ConditionalNorm2d,
    PlainNorm2d,
    ResampleConv2d,
    SNConv2d,
    SNEmbedding,
    SNLinear,
)
from limner.models.biggan import projected
from limner.models.common import initialize

Shape = tuple[int, int, int]


class DigitGenerator(Config, NetworkConfig, frozen=True):
    """7x7 -> 14x14 -> 28x28 -> image: 3x3 convolutions, batch norm (of the class, if any), tanh."""

    width: int = 24
    z_dim: int = 64

    def build(self, image_shape: Shape, num_classes: int) -> nn.Module:
        return DigitGeneratorNetwork(self, image_shape, num_classes)


class DigitGeneratorNetwork(nn.Module):
    """See DigitGenerator."""

    def __init__(self, config: DigitGenerator, image_shape: Shape, num_classes: int):
        super().__init__()
        self.z_dim, self.bottom = config.z_dim, image_shape[1] // 4
        widths = (2 * config.width, 2 * config.width, config.width)
        self.linear = nn.Linear(config.z_dim, widths[0] * self.bottom**2)
        self.norms = nn.ModuleList(_norm(width, num_classes) for width in widths)
        self.convs = nn.ModuleList(
            ResampleConv2d(inner, outer, 3, resample="up") for inner, outer in pairwise(widths)
        )
        self.output = ResampleConv2d(widths[-1], image_shape[0], 3)
        initialize(self, "orthogonal")

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Images in [-1, 1]."""
        h = self.linear(z).view(len(z), -1, self.bottom, self.bottom)
        h = h.contiguous(memory_format=torch.channels_last)
        for norm, conv in zip(self.norms, [*self.convs, self.output], strict=True):
            h = conv(F.relu_(norm(h, y)))
        return torch.tanh(h)


def _norm(num_channels: int, num_classes: int) -> nn.Module:
    if not num_classes:
        return PlainNorm2d(num_channels)
    gain, bias = (ClassTable(num_classes, num_channels) for _ in range(2))
    return ConditionalNorm2d(num_channels, gain, bias)


SPECTRAL = SNConv2d, SNLinear, SNEmbedding
PLAIN = ResampleConv2d, nn.Linear, nn.Embedding


class DigitDiscriminator(Config, NetworkConfig, frozen=True):
    """Three convolutions, two of them halving; sum pooling; projection. All spectrally normalized,
    or none."""

    width: int = 32
    spectral_norm: bool = True

    def build(self, image_shape: Shape, num_classes: int) -> nn.Module:
        return DigitDiscriminatorNetwork(self, image_shape, num_classes)


class DigitDiscriminatorNetwork(nn.Module):
    """See DigitDiscriminator."""

    def __init__(self, config: DigitDiscriminator, image_shape: Shape, num_classes: int):
        super().__init__()
        width = config.width
        conv, linear, embedding = SPECTRAL if config.spectral_norm else PLAIN
        self.convs = nn.ModuleList(
            [
                conv(image_shape[0], width, 3, resample="down"),
                conv(width, 2 * width, 3, resample="down"),
                conv(2 * width, 4 * width, 3),
            ]
        )
        self.linear = linear(4 * width, 1)
        self.embed = embedding(num_classes, 4 * width) if num_classes else None
        initialize(self, "orthogonal")

    def forward(self, x: Tensor, y: Tensor | None = None) -> Scores:
        """Logits of images in [-1, 1]."""
        first, *rest = self.convs
        h = first(x.contiguous(memory_format=torch.channels_last))
        for conv in rest:
            h = conv(F.leaky_relu_(h, 0.1))
        return Scores(projected(h, y, self.linear, self.embed))


# --- protocol B (Metz et al. 2017, as PacGAN's code has it) --------------------------


class UnrolledGenerator(Config, NetworkConfig, frozen=True):
    """4x4x64 -> 7x7x32 -> 14x14x16 -> 28x28x8 -> 3: 3x3 transposed convolutions, batch norm, tanh.

    Weights begin as N(0, 0.02), and what TensorFlow's "same" padding cuts off is cut off here.
    """

    z_dim: int = 256

    def build(self, image_shape: Shape, num_classes: int) -> nn.Module:
        return UnrolledGeneratorNetwork(self, image_shape)


class UnrolledGeneratorNetwork(nn.Module):
    """See UnrolledGenerator."""

    def __init__(self, config: UnrolledGenerator, image_shape: Shape):
        super().__init__()
        widths = (64, 32, 16, 8)
        self.z_dim = config.z_dim
        self.linear = nn.Linear(config.z_dim, widths[0] * 4 * 4)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(inner, outer, 3, stride=2, padding=int(i == 0))
            for i, (inner, outer) in enumerate(pairwise(widths))
        )
        self.output = nn.Conv2d(widths[-1], image_shape[0], 3, padding=1)
        initialize(self, "normal")

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Images in [-1, 1]."""
        h = F.relu(self.norms[0](self.linear(z).view(len(z), -1, 4, 4)))
        for conv, norm, size in zip(self.convs, [*self.norms][1:], (7, 14, 28), strict=True):
            h = F.relu(norm(conv(h)[:, :, :size, :size]))
        return torch.tanh(self.output(h))


class UnrolledDiscriminator(Config, NetworkConfig, frozen=True):
    """Three 3x3 convolutions of stride 2 with batch norm and leaky ReLU (0.3), a linear layer.

    widths: (4, 8, 16) is "D = 1/2 G", (2, 4, 8) "D = 1/4 G".
    """

    widths: tuple[int, int, int] = (4, 8, 16)

    def build(self, image_shape: Shape, num_classes: int) -> nn.Module:
        return UnrolledDiscriminatorNetwork(self, image_shape)


class UnrolledDiscriminatorNetwork(nn.Module):
    """See UnrolledDiscriminator."""

    def __init__(self, config: UnrolledDiscriminator, image_shape: Shape):
        super().__init__()
        widths = (image_shape[0], *config.widths)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in config.widths)
        self.linear = nn.Linear(widths[-1] * 4 * 4, 1)
        initialize(self, "normal")

    def forward(self, x: Tensor, y: Tensor | None = None) -> Scores:
        """Logits of images in [-1, 1]."""
        h = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            # TensorFlow's "same": the odd pixel of padding goes to the right and below.
            before = h.shape[-1] % 2
            h = F.leaky_relu(norm(conv(F.pad(h, (before, 1, before, 1)))), 0.3)
        return Scores(self.linear(h.flatten(1)).squeeze(1))


# --- points ----------------------------------------------------------------------------


class PointGenerator(Config, NetworkConfig, frozen=True):
    """A perceptron from latents to points of the plane, as "images" [N, 2, 1, 1] in raw units."""

    widths: tuple[int, ...] = (128, 128, 128)
    z_dim: int = 2

    def build(self, image_shape: Shape, num_classes: int) -> nn.Module:
        return PointGeneratorNetwork(self)


class PointGeneratorNetwork(nn.Module):
    """See PointGenerator."""

    def __init__(self, config: PointGenerator):
        super().__init__()
        self.z_dim = config.z_dim
        self.layers = perceptron((config.z_dim, *config.widths, 2))

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Points [N, 2, 1, 1], not bounded."""
        return self.layers(z)[:, :, None, None]


class PointDiscriminator(Config, NetworkConfig, frozen=True):
    """A perceptron on points [N, 2, 1, 1]."""

    widths: tuple[int, ...] = (128, 128, 128)

    def build(self, image_shape: Shape, num_classes: int) -> nn.Module:
        return PointDiscriminatorNetwork(self)


class PointDiscriminatorNetwork(nn.Module):
    """See PointDiscriminator."""

    def __init__(self, config: PointDiscriminator):
        super().__init__()
        self.layers = perceptron((2, *config.widths, 1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Scores:
        """Logits of points."""
        return Scores(self.layers(x.flatten(1)).squeeze(1))


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them, begun as torch does: docs/log.md has what leaky ReLU
    and He's weights did."""
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
