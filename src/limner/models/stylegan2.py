"""StyleGAN2's generator (Karras et al. 2020), as NVlabs/stylegan2-ada-pytorch has it.

Styles w from a mapping network scale the weights of every convolution of the synthesis network.
The image is linear, without tanh. `clamp` bounds activations; it came with half precision, but is
part of the function that published weights were trained as.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import LayerNoise, NetworkConfig
from limner.core.ranges import Positive, Share
from limner.layers import (
    BINOMIAL,
    at_least_single,
    biased_activation,
    demodulation,
    fir_filter,
    full_precision,
    modulated_convolve,
    resample,
    squares_of,
)
from limner.layers.activation import LEAKY_GAIN, leaky
from limner.layers.equalized import FilterConv2d
from limner.layers.mapping import StyleLinear
from limner.layers.prepared import fixed
from limner.layers.resampling import Resample
from limner.models.common import Few, Size, num_doublings
from limner.models.styled import StyledNetwork

BOTTOM = 4  # pixels on a side where the generator begins and the discriminator ends
Architecture = Literal["skip", "resnet", "orig"]
Clamp = Positive | None


class StyleGan2Generator(Config, NetworkConfig, frozen=True, kw_only=True):
    """From latents by way of styles to an image of any range.

    z_dim, w_dim: entries of a latent vector and of a style.
    num_mapping, mapping_rate: layers of the mapping network, and what their learning rate is
        multiplied by.
    channel_base, channel_max: at r pixels there are min(channel_base // r, channel_max) channels.
    channels: those at 4, 8 ... pixels, in the place of these two.
    architecture: the image is the sum of those of all resolutions ("skip"), or comes from the
        highest alone, whose blocks have residual shortcuts ("resnet") or none ("orig").
    clamp: activations stay within +- this; null: no bound.
    noise: layers add noise of learned strength.
    filter: taps of the filter that images and features are doubled with.
    mean_style_decay: of the running mean of styles, which truncation pulls towards.
    """

    z_dim: Size = 512
    w_dim: Size = 512
    num_mapping: Few = 8
    mapping_rate: Positive = 0.01
    channel_base: Size = 32768
    channel_max: Size = 512
    channels: tuple[Size, ...] = ()
    architecture: Architecture = "skip"
    clamp: Clamp = 256.0
    noise: bool = True
    filter: tuple[float, ...] = BINOMIAL
    mean_style_decay: Share = 0.995

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(z [N, z_dim], y) -> images [N, C, H, W], nominally in [-1, 1]."""
        return StyleGan2GeneratorNetwork(self, image_shape, num_classes)


def channels_by_resolution(
    channel_base: int,
    channel_max: int,
    image_shape: tuple[int, int, int],
    given: tuple[int, ...] = (),
) -> dict[int, int]:
    """Channels at 4, 8 ... pixels: those given, or by the formula.

    Raises:
        ConfigError: the image is out of reach, no channel is left for it, or another number is
            given.
    """
    num = num_doublings(image_shape, BOTTOM)
    sizes = [BOTTOM << i for i in range(num + 1)]
    if given and len(given) != len(sizes):
        raise ConfigError(f"channels: {len(given)} are given for the resolutions {sizes}")
    if given:
        return dict(zip(sizes, given, strict=True))
    if channel_base < sizes[-1]:
        raise ConfigError(
            f"channel_base: {channel_base} leaves no channel at {sizes[-1]} pixels; give "
            f"{sizes[-1]} or more"
        )
    return {size: min(channel_base // size, channel_max) for size in sizes}


class StyleGan2GeneratorNetwork(StyledNetwork):
    """See StyleGan2Generator and core.protocols.StyleGenerator. `y` is needed with classes and
    ignored without."""

    def __init__(
        self, config: StyleGan2Generator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__(config)
        channels = channels_by_resolution(
            config.channel_base, config.channel_max, image_shape, config.channels
        )
        self.blocks = nn.ModuleDict()
        for size, own in channels.items():
            inner = channels.get(size // 2)
            to_image = config.architecture == "skip" or size == image_shape[1]
            image = image_shape[0] if to_image else None
            self.blocks[str(size)] = SynthesisBlock(config, size, inner, own, image)
        self.add_mapping(num_classes, num_styles=2 * len(channels))

    def synthesis(
        self,
        styles: Float[Tensor, "n layers w_dim"],
        update_statistics: bool = True,
        noise: LayerNoise = "random",
    ) -> Float[Tensor, "n c h w"]:
        """Images from styles. Synthesis has no running statistics."""
        rows = styles.unbind(1)
        first, *others = self.blocks.values()
        with full_precision(styles.device):
            x, image = first(None, None, rows, noise)
        for i, block in enumerate(others):
            x, image = block(x, image, rows[1 + 2 * i :], noise)
        return image


class SynthesisBlock(nn.Module):
    """One resolution: doubling and two convolutions, or, at the bottom (`in_channels` None), the
    learned constant and one; and its image, where `image_channels` are given."""

    kernel: Tensor

    def __init__(
        self,
        config: StyleGan2Generator,
        size: int,
        in_channels: int | None,
        channels: int,
        image_channels: int | None,
    ):
        super().__init__()
        if in_channels is None:
            self.const = nn.Parameter(torch.randn(channels, size, size))
        else:
            self.conv0 = StyleConv2d(config, in_channels, channels, size, "up")
        self.conv1 = StyleConv2d(config, channels, channels, size)
        self.to_image = self.skip = None
        if image_channels is not None:
            self.to_image = ToImage(config, channels, image_channels)
        if config.architecture == "resnet" and in_channels is not None:
            self.skip = FilterConv2d(
                in_channels, channels, 1, "up", config.filter, linear_gain=math.sqrt(0.5)
            )
        self.is_first = in_channels is None
        self.register_buffer("kernel", fir_filter(config.filter), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "n i h w"] | None,
        image: Float[Tensor, "n c h w"] | None,
        styles: Sequence[Float[Tensor, "n w_dim"]],
        noise: LayerNoise,
    ) -> tuple[Float[Tensor, "n o new_h new_w"], Float[Tensor, "n c new_h new_w"] | None]:
        """Features and the image so far. The image takes the style that the next block begins
        with."""
        if x is None:
            x = self.const.expand(styles[0].shape[0], -1, -1, -1)
            x = x.contiguous(memory_format=torch.channels_last)
            h = self.conv1(x, styles[0], noise)
        else:
            h = self.conv0(x, styles[0], noise)
            gain = 1.0 if self.skip is None else math.sqrt(0.5)
            h = self.conv1(h, styles[1], noise, gain)
            h = h if self.skip is None else self.skip(x) + h
        if image is not None:
            with full_precision(image.device):
                image = resample(image, self.kernel, up=2)
        if self.to_image is not None:
            added = at_least_single(self.to_image(h, styles[1 if self.is_first else 2]))
            image = added if image is None else image + added
        return h, image


class StyleConv2d(nn.Module):
    """A modulated 3x3 convolution, demodulated, with noise, bias and leaky relu."""

    kernel: Tensor
    noise_const: Tensor | None

    def __init__(
        self,
        config: StyleGan2Generator,
        in_channels: int,
        out_channels: int,
        size: int,
        direction: Resample = "none",
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.noise_strength = nn.Parameter(torch.zeros(())) if config.noise else None
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("noise_const", torch.randn(size, size) if config.noise else None)
        self.affine = StyleLinear(config.w_dim, in_channels, first_bias=1.0)
        self.direction: Resample = direction
        self.clamp, self.size = config.clamp, size
        self.squares: Tensor | None = None  # of the weight, where that stays as it is
        self.register_buffer("kernel", fir_filter(config.filter), persistent=False)

    def prepare(self) -> nn.Module:
        self.squares = squares_of(self.weight)
        if self.direction == "up":  # which takes the weight transposed
            self.weight = fixed(self.weight.transpose(0, 1).contiguous().transpose(0, 1))
        return self

    def forward(
        self,
        x: Float[Tensor, "n i h w"],
        style: Float[Tensor, "n w_dim"],
        noise: LayerNoise,
        gain: float = 1.0,
    ) -> Float[Tensor, "n o new_h new_w"]:
        """`gain` multiplies the layer's output, its clamp and all."""
        factor = LEAKY_GAIN * gain
        scales = self.affine(style)
        h = modulated_convolve(x, self.weight, scales, self.kernel, self.direction)
        squares = squares_of(self.weight) if self.squares is None else self.squares
        back = (demodulation(squares, scales) * factor).to(h.dtype)
        bias = (self.bias * factor).to(h.dtype)
        h = torch.addcmul(bias[:, None, None], h, back[:, :, None, None])
        if self.noise_strength is not None:
            maps = self._maps(noise, h)
            if maps is not None:
                h = h + (maps * (self.noise_strength * factor)).to(h.dtype)
        return leaky(h, None if self.clamp is None else self.clamp * gain)

    def _maps(self, noise: LayerNoise, h: Tensor) -> Tensor | None:
        shape = (h.shape[0], 1, self.size, self.size)
        if callable(noise):
            return noise(shape)
        if noise == "random":
            return torch.randn(shape, device=h.device)
        return self.noise_const if noise == "const" else None


class ToImage(nn.Module):
    """A modulated 1x1 convolution to the image, neither demodulated nor activated."""

    kernel: Tensor

    def __init__(self, config: StyleGan2Generator, in_channels: int, image_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(image_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.affine = StyleLinear(config.w_dim, in_channels, first_bias=1.0)
        self.scale, self.clamp = 1.0 / math.sqrt(in_channels), config.clamp
        self.register_buffer("kernel", fir_filter(None), persistent=False)

    def forward(
        self, x: Float[Tensor, "n i h w"], style: Float[Tensor, "n w_dim"]
    ) -> Float[Tensor, "n c h w"]:
        scales = self.affine(style) * self.scale
        h = modulated_convolve(x, self.weight, scales, self.kernel)
        return biased_activation(h, self.bias, lambda x: x, clamp=self.clamp)
