"""FastGAN's generator (Liu et al. 2021), as Projected GAN has it (Sauer et al. 2021).

Nearest-neighbour doubling, 3x3 convolutions, gated linear units; from 64 to 512 pixels each channel
is scaled by what a sixteenth of the resolution says (squeeze and excitation). The image is linear,
without tanh. Of the original it departs in evaluation alone, where noise is a stored map: an image
is then a function of its latent vector.
"""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.protocols import Labels, NetworkConfig
from limner.layers import (
    ClassTable,
    ConditionalNorm2d,
    PlainNorm2d,
    PowerIteration,
    SNConv2d,
    SNLinear,
    SNStridedConv2d,
    pixel_norm,
    required,
)
from limner.layers.spectral_norm import add_buffers, normalized
from limner.models.common import Size, check_latents, num_doublings

BOTTOM = 4  # pixels on a side where it begins
MULTIPLIERS = (16, 8, 4, 2, 2, 1, 0.5, 0.25, 0.125)  # at 4, 8, 16 ... 1024 pixels
SKIPS = range(4, 8)  # doublings after which a skip stands: 64 to 512 pixels
REACH = 4  # doublings that a skip bridges
POWER = PowerIteration(eps=1e-12)


class FastGanGenerator(Config, NetworkConfig, frozen=True):
    """width * (16, 8, 4, 2, 2, 1, 1/2, 1/4, 1/8) channels at 4, 8, 16 ... 1024 pixels.

    z_dim: entries of the latent vector, and with classes of the class vector that the batch norms'
        gains and biases are computed from.
    """

    width: Size = 128
    z_dim: Size = 256

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return FastGanGeneratorNetwork(self, image_shape, num_classes)


class FastGanGeneratorNetwork(nn.Module):
    """See FastGanGenerator. `y` is needed with classes and ignored without."""

    def __init__(
        self, config: FastGanGenerator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        num = num_doublings(image_shape, BOTTOM)
        last = len(MULTIPLIERS) - 1
        widths = [max(int(config.width * MULTIPLIERS[min(i, last)]), 1) for i in range(num + 1)]
        self.z_dim, self.num_classes = config.z_dim, num_classes
        self.embed = ClassTable(num_classes, config.z_dim) if num_classes else None
        condition_dim = config.z_dim if num_classes else 0
        self.first = FirstBlock(config.z_dim, widths[0])
        self.blocks = nn.ModuleList(
            UpBlock(inner, outer, BOTTOM << (i + 1), condition_dim, is_double=i % 2 == 0)
            for i, (inner, outer) in enumerate(itertools.pairwise(widths))
        )
        self.skips = nn.ModuleDict(
            {str(i): Skip(widths[i - REACH], widths[i]) for i in SKIPS if i <= num}
        )
        self.output = SNConv2d(widths[-1], image_shape[0], 3, power=POWER)

    def forward(self, z: Float[Tensor, "n z"], y: Labels | None = None) -> Float[Tensor, "n c h w"]:
        check_latents(z, self.z_dim)
        condition = None if self.embed is None else self.embed(required(y, self.num_classes))
        features = [self.first(pixel_norm(z))]
        for i, block in enumerate(self.blocks, 1):
            h = block(features[-1], condition)
            if str(i) in self.skips:
                h = self.skips[str(i)](features[i - REACH], h)
            features.append(h)
        return self.output(features[-1])


class FirstBlock(nn.Module):
    """4x4 pixels from a latent vector: transposed convolution, batch norm, gated linear unit."""

    def __init__(self, z_dim: int, out_channels: int):
        super().__init__()
        wide = 2 * out_channels
        # Rows are outputs, as power iteration takes them; drawn as torch's transposed convolution.
        weight = torch.empty(wide, z_dim, BOTTOM, BOTTOM)
        self.weight = nn.Parameter(weight.uniform_(-1, 1) / (wide * BOTTOM**2) ** 0.5)
        self.norm = PlainNorm2d(wide)
        add_buffers(self, wide, POWER)

    def forward(self, z: Float[Tensor, "n z"]) -> Float[Tensor, "n o 4 4"]:
        weight = normalized(self, self.weight, POWER).transpose(0, 1)
        return F.glu(self.norm(F.conv_transpose2d(z[:, :, None, None], weight)), dim=1)


class UpBlock(nn.Module):
    """Doubling, convolution, batch norm, gated linear unit; a double one has a second convolution,
    and noise after both.

    condition_dim: entries of the class vector; 0: none.
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: int, condition_dim: int, is_double: bool
    ):
        super().__init__()
        wide = 2 * out_channels
        convs = [SNConv2d(in_channels, wide, 3, False, "up", POWER)]
        if is_double:
            convs.append(SNConv2d(out_channels, wide, 3, False, power=POWER))
        self.convs = nn.ModuleList(convs)
        self.noises = nn.ModuleList(PixelNoise(size) if is_double else nn.Identity() for _ in convs)
        self.norms = nn.ModuleList(_norm(wide, condition_dim) for _ in convs)

    def forward(
        self, x: Float[Tensor, "n i h w"], condition: Float[Tensor, "n d"] | None
    ) -> Float[Tensor, "n o 2*h 2*w"]:
        for conv, noise, norm in zip(self.convs, self.noises, self.norms, strict=True):
            x = F.glu(norm(noise(conv(x)), condition), dim=1)
        return x


def _norm(num_channels: int, condition_dim: int) -> nn.Module:
    if not condition_dim:
        return PlainNorm2d(num_channels)
    gain, bias = (SNLinear(condition_dim, num_channels, power=POWER) for _ in range(2))
    return ConditionalNorm2d(num_channels, gain, bias)


class PixelNoise(nn.Module):
    """x + weight * noise, the same for all channels; in evaluation the noise is the stored map."""

    map: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("map", torch.randn(1, 1, size, size))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        noise = torch.randn_like(x[:, :1]) if self.training else self.map.to(x.dtype)
        return torch.addcmul(x, self.weight.to(x.dtype)[:, None, None], noise)


class Skip(nn.Module):
    """Channels of a high resolution, each times a number in 0 to 1 that a low resolution gives."""

    def __init__(self, low_channels: int, high_channels: int):
        super().__init__()
        options = {"power": POWER, "bias": False}
        self.squeeze = SNStridedConv2d(low_channels, high_channels, 4, **options)
        self.excite = SNStridedConv2d(high_channels, high_channels, 1, **options)

    def forward(
        self, low: Float[Tensor, "n i h w"], high: Float[Tensor, "n o height width"]
    ) -> Float[Tensor, "n o height width"]:
        h = F.silu(self.squeeze(F.adaptive_avg_pool2d(low, 4)))
        return high * torch.sigmoid(self.excite(h))
