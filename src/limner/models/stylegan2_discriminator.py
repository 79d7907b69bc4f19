"""StyleGAN2's discriminator (Karras et al. 2020), as NVlabs/stylegan2-ada-pytorch has it."""

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import Labels, NetworkConfig, Scores
from limner.core.ranges import Positive
from limner.layers import (
    BINOMIAL,
    at_least_single,
    fir_filter,
    full_precision,
    minibatch_deviation,
    resample,
)
from limner.layers.equalized import FilterConv2d
from limner.layers.mapping import MappingNetwork, StyleLinear
from limner.models.common import Few, FewOrNone, Size
from limner.models.stylegan2 import BOTTOM, Architecture, Clamp, channels_by_resolution


class StyleGan2Discriminator(Config, NetworkConfig, frozen=True, kw_only=True):
    """Scores of images; with classes, <v(y), h> / sqrt(dim), v the mapped label, h of the image.

    architecture: blocks have residual shortcuts ("resnet") or none ("orig"), or every block also
        sees the image at its resolution ("skip").
    group_size: images that the minibatch standard deviation compares; null: the whole batch.
    features: feature maps of that deviation; 0: none.
    label_dim: entries of a mapped label; null: as many as there are channels at 4 pixels.
    num_mapping, mapping_rate: of the labels' mapping network.
    The other fields are those of StyleGan2Generator.
    """

    channel_base: Size = 32768
    channel_max: Size = 512
    channels: tuple[Size, ...] = ()
    architecture: Architecture = "resnet"
    clamp: Clamp = 256.0
    group_size: Size | None = 4
    features: FewOrNone = 1
    label_dim: Size | None = None
    num_mapping: Few = 8
    mapping_rate: Positive = 0.01
    filter: tuple[float, ...] = BINOMIAL

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(x [N, C, H, W], y) -> Scores(logits [N])."""
        return StyleGan2DiscriminatorNetwork(self, image_shape, num_classes)


class StyleGan2DiscriminatorNetwork(nn.Module):
    """See StyleGan2Discriminator. `y` is needed with classes and ignored without.

    Freezing its first layers (Mo et al. 2020), as stylegan2-ada-pytorch numbers them, goes from the
    highest resolution down and in a block from_image, conv0, conv1, skip.
    """

    conditioned = ("mapper", "final.output")

    def __init__(
        self, config: StyleGan2Discriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        channels = channels_by_resolution(
            config.channel_base, config.channel_max, image_shape, config.channels
        )
        self.blocks = nn.ModuleDict()
        for size, below in itertools.pairwise(sorted(channels, reverse=True)):
            sees_image = config.architecture == "skip" or size == image_shape[1]
            image = image_shape[0] if sees_image else None
            block = DiscriminatorBlock(config, channels[size], channels[below], image)
            self.blocks[str(size)] = block
        label_dim = (config.label_dim or channels[BOTTOM]) if num_classes else 0
        self.mapper = None
        if num_classes:
            self.mapper = MappingNetwork(
                0, num_classes, label_dim, config.num_mapping, config.mapping_rate
            )
        self.final = FinalBlock(config, channels[BOTTOM], label_dim or 1, image_shape[0])
        self.label_scale = 1.0 / math.sqrt(label_dim or 1)
        self.freeze_order = tuple(
            f"blocks.{size}.{layer}"
            for size, block in self.blocks.items()
            for layer, _ in block.named_children()
        )

    def forward(self, x: Float[Tensor, "n c h w"], y: Labels | None = None) -> Scores:
        h, image = None, x.contiguous(memory_format=torch.channels_last)
        for block in self.blocks.values():
            h, image = block(h, image)
        with full_precision(x.device):
            answers = self.final(h, image)
            if self.mapper is None:
                return Scores(answers[:, 0])
            return Scores((answers * self.mapper(None, y)).sum(1) * self.label_scale)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second halving; of the image too, where `image_channels` are given."""

    kernel: Tensor

    def __init__(
        self,
        config: StyleGan2Discriminator,
        channels: int,
        out_channels: int,
        image_channels: int | None,
    ):
        super().__init__()
        rest = config.filter, config.clamp
        self.from_image = self.skip = None
        if image_channels is not None:
            self.from_image = FilterConv2d(image_channels, channels, 1, "none", *rest)
        self.conv0 = FilterConv2d(channels, channels, 3, "none", *rest)
        self.conv1 = FilterConv2d(channels, out_channels, 3, "down", *rest)
        if config.architecture == "resnet":
            self.skip = FilterConv2d(
                channels, out_channels, 1, "down", config.filter, linear_gain=math.sqrt(0.5)
            )
        self.halves_image = config.architecture == "skip"
        self.register_buffer("kernel", fir_filter(config.filter), persistent=False)

    def forward(
        self, x: Float[Tensor, "n i h w"] | None, image: Float[Tensor, "n c h w"] | None
    ) -> tuple[Float[Tensor, "n o new_h new_w"], Float[Tensor, "n c new_h new_w"] | None]:
        """Features, and the image at their resolution if the next block sees it."""
        if self.from_image is not None:
            seen = self.from_image(image)
            x = seen if x is None else x + seen
        if self.halves_image:
            assert image is not None
            with full_precision(image.device):
                image = resample(image, self.kernel, down=2)
        else:
            image = None
        if self.skip is None:
            return self.conv1(self.conv0(x)), image
        return self.skip(x) + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), image


class FinalBlock(nn.Module):
    """Minibatch standard deviation, a convolution and two dense layers at the bottom."""

    def __init__(
        self, config: StyleGan2Discriminator, channels: int, num_outputs: int, image_channels: int
    ):
        super().__init__()
        if config.features and channels % config.features:
            raise ConfigError(
                f"features: {config.features} must divide the {channels} channels at {BOTTOM} "
                "pixels; give 1, or 0 for none"
            )
        self.group_size, self.features = config.group_size, config.features
        self.from_image = None
        if config.architecture == "skip":
            self.from_image = FilterConv2d(image_channels, channels, 1, "none", config.filter)
        inner = channels + config.features
        self.conv = FilterConv2d(inner, channels, 3, "none", config.filter, config.clamp)
        self.linear = StyleLinear(channels * BOTTOM**2, channels, leaky=True)
        self.output = StyleLinear(channels, num_outputs)

    def forward(
        self, x: Float[Tensor, "n i h w"], image: Float[Tensor, "n c h w"] | None
    ) -> Float[Tensor, "n outputs"]:
        x = at_least_single(x)
        if self.from_image is not None:
            x = x + self.from_image(image)
        if self.features:
            x = minibatch_deviation(x, self.group_size, features=self.features)
        return self.output(self.linear(self.conv(x).flatten(1)))
