"""Progressive growing of GANs (Karras et al. 2018): G_paper and D_paper of its TensorFlow code.

Both networks hold all levels of resolution from the start and compute those that their `lod` asks
for. Images always have full resolution: a generator that has not grown repeats its pixels, and a
discriminator averages them. The image is linear, without tanh.
"""

import itertools
import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import Labels, NetworkConfig, Scores
from limner.core.ranges import NonNegativeInt
from limner.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    downsample,
    minibatch_deviation,
    pixel_norm,
    required,
    rows_of,
    upsample,
)
from limner.layers.equalized import HE
from limner.models.common import Epsilon, Few, Size, check_latents
from limner.models.growing import Growing, num_levels_of


class PgganGenerator(Config, NetworkConfig, frozen=True):
    """From a normalized latent vector, class weights appended, to an image of any range.

    z_dim: entries of the latent vector; None: as many as stage 0 has feature maps.
    fmap_base, fmap_decay, fmap_max: stage s has min(fmap_base / 2^(s fmap_decay), fmap_max)
        feature maps; the base grid is stage 1, every doubling one stage more.
    equalized: equalized learning rate; False: weights begin as He et al. 2015 draw them.
    pixel_norm, pixel_norm_eps: normalized feature vectors after every activation.
    pixel_norm_outside: the eps is added to the root, not under it, as MMGeneration has it.
    normalize_latents: the latent vector, with the class weights behind it, likewise.
    latent_norm_eps: of that; without, pixel_norm_eps.
    leaky: leaky relu of slope 0.2; False: relu.
    fused_scale: as the discriminator's; here both forms are one function, and computed as such.
    doubling_fan: what the weights of convolutions that double are scaled by, their inputs or, as in
        MMGeneration, whose transposed weights are counted so, their outputs.
    base: height and width in pixels of the grid that growing begins with; as the discriminator's.
    """

    z_dim: Size | None = None
    fmap_base: Size = 8192
    fmap_decay: Annotated[float, Meta(ge=0, le=8)] = 1.0
    fmap_max: Size = 512
    equalized: bool = True
    pixel_norm: bool = True
    pixel_norm_eps: Epsilon = 1e-8
    pixel_norm_outside: bool = False
    normalize_latents: bool = True
    latent_norm_eps: Epsilon | None = None
    leaky: bool = True
    fused_scale: bool = True
    doubling_fan: Literal["inputs", "outputs"] = "inputs"
    base: tuple[Few, Few] = (4, 4)

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(z [N, z_dim], y) -> images [N, C, H, W], nominally in [-1, 1]."""
        return PgganGeneratorNetwork(self, image_shape, num_classes)


class PgganDiscriminator(Config, NetworkConfig, frozen=True):
    """Scores of images and, with classes, logits of an auxiliary classifier; labels aren't read.

    group_size: images that the minibatch standard deviation compares with each other; 0: none.
    last_conv: a convolution between that deviation and the dense layers; MMGeneration has none.
    fused_scale: convolution and halving in one, before the activation.
    The other fields are those of PgganGenerator.
    """

    fmap_base: Size = 8192
    fmap_decay: Annotated[float, Meta(ge=0, le=8)] = 1.0
    fmap_max: Size = 512
    equalized: bool = True
    leaky: bool = True
    fused_scale: bool = True
    group_size: NonNegativeInt = 4
    last_conv: bool = True
    base: tuple[Few, Few] = (4, 4)

    def __post_init__(self) -> None:
        if self.group_size == 1:
            raise ConfigError(f"group_size: {self.group_size} must be 2 or more, or 0 for none")

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(x [N, C, H, W], y) -> Scores(logits [N], class_logits [N, classes] or None)."""
        return PgganDiscriminatorNetwork(self, image_shape, num_classes)


def feature_maps(config: PgganGenerator | PgganDiscriminator, num_levels: int) -> list[int]:
    """Of stages 0, 1 ... num_levels.

    Raises:
        ConfigError: none are left for the last.
    """
    maps = [
        min(int(config.fmap_base / 2.0 ** (stage * config.fmap_decay)), config.fmap_max)
        for stage in range(num_levels + 1)
    ]
    if maps[-1] < 1:
        raise ConfigError(
            f"fmap_base: {config.fmap_base} leaves no feature maps for level {num_levels} of "
            f"resolution; give {math.ceil(2.0 ** (num_levels * config.fmap_decay))} or more"
        )
    return maps


class PgganGeneratorNetwork(Growing):
    """See PgganGenerator. `y` is needed with classes and ignored without."""

    per_class = ("blocks.0.linear.weight",)  # its last columns are those of the classes

    def __init__(self, config: PgganGenerator, image_shape: tuple[int, int, int], num_classes: int):
        super().__init__(num_levels_of(image_shape, config.base), config.base)
        maps = feature_maps(config, self.num_levels)
        self.z_dim = config.z_dim or maps[0]
        self.num_classes = num_classes
        self.config = config
        self.blocks = nn.ModuleList([FirstBlock(config, self.z_dim + num_classes, maps[1])])
        self.blocks.extend(UpBlock(config, i, o) for i, o in itertools.pairwise(maps[1:]))
        self.outputs = nn.ModuleList(
            EqualizedConv2d(i, image_shape[0], 1, 1.0, config.equalized) for i in maps[1:]
        )

    def forward(self, z: Float[Tensor, "n z"], y: Labels | None = None) -> Float[Tensor, "n c h w"]:
        """Images of full resolution, at the level of detail `lod`."""
        check_latents(z, self.z_dim)
        if self.num_classes:
            rows = rows_of(required(y, self.num_classes), self.num_classes, z.dtype)
            z = torch.cat([z, rows], dim=1)
        if self.config.normalize_latents:
            own = self.config.latent_norm_eps
            eps = self.config.pixel_norm_eps if own is None else own
            z = pixel_norm(z, eps, self.config.pixel_norm_outside)
        top, fade = self.level_and_fade()
        h = below = self.blocks[0](z)
        for block in self.blocks[1 : top + 1]:
            h, below = block(h), h
        image = self.outputs[top](h)
        if fade > 0.0:
            image = image.lerp(upsample(self.outputs[top - 1](below)), fade)
        times = 2 ** (self.num_levels - 1 - top)
        return F.interpolate(image, scale_factor=float(times)) if times > 1 else image


class FirstBlock(nn.Module):
    """From a vector to feature maps on the base grid, and one convolution."""

    def __init__(self, config: PgganGenerator, num_inputs: int, channels: int):
        super().__init__()
        # A quarter of the gain, as the original has it, "to match the original Theano" one's size.
        self.linear = EqualizedLinear(num_inputs, channels, HE / 4, config.equalized, config.base)
        self.conv = EqualizedConv2d(channels, channels, 3, HE, config.equalized)
        self.config = config

    def forward(self, z: Float[Tensor, "n z"]) -> Float[Tensor, "n c h w"]:
        h = self.linear(z).contiguous(memory_format=torch.channels_last)
        h = activate(h, self.config)
        return activate(self.conv(h), self.config)


class UpBlock(nn.Module):
    """Doubling, and two convolutions."""

    def __init__(self, config: PgganGenerator, in_channels: int, out_channels: int):
        super().__init__()
        by_outputs = config.doubling_fan == "outputs"
        gain = HE * math.sqrt(in_channels / out_channels) if by_outputs else HE
        self.conv1 = EqualizedConv2d(in_channels, out_channels, 3, gain, config.equalized, "up")
        self.conv2 = EqualizedConv2d(out_channels, out_channels, 3, HE, config.equalized)
        self.config = config

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o 2*h 2*w"]:
        return activate(self.conv2(activate(self.conv1(x), self.config)), self.config)


def activate(
    x: Float[Tensor, "n c ..."], config: PgganGenerator | PgganDiscriminator
) -> Float[Tensor, "n c ..."]:
    """(Leaky) relu, in place, and in a generator pixel norm."""
    x = F.leaky_relu_(x, 0.2) if config.leaky else F.relu_(x)
    if isinstance(config, PgganGenerator) and config.pixel_norm:
        return pixel_norm(x, config.pixel_norm_eps, config.pixel_norm_outside)
    return x


class PgganDiscriminatorNetwork(Growing):
    """See PgganDiscriminator. `y` is ignored."""

    per_class = ("output",)  # one output is the score, the others are those of the classes

    def __init__(
        self, config: PgganDiscriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__(num_levels_of(image_shape, config.base), config.base)
        maps = feature_maps(config, self.num_levels)
        self.num_classes = num_classes
        self.config = config
        self.inputs = nn.ModuleList(
            EqualizedConv2d(image_shape[0], o, 1, HE, config.equalized) for o in maps[1:]
        )
        self.blocks = nn.ModuleList([LastBlock(config, maps[1], maps[0])])
        self.blocks.extend(DownBlock(config, i, o) for o, i in itertools.pairwise(maps[1:]))
        levels = reversed(range(1, len(self.blocks)))  # all but the last, which ends at 4x4
        self.freeze_order = tuple(f"{part}.{i}" for i in levels for part in ("inputs", "blocks"))
        self.output = EqualizedLinear(maps[0], 1 + num_classes, 1.0, config.equalized)

    def forward(self, x: Float[Tensor, "n c h w"], y: Labels | None = None) -> Scores:
        """Scores of images of full resolution, at the level of detail `lod`."""
        top, fade = self.level_and_fade()
        times = 2 ** (self.num_levels - 1 - top)
        x = x.contiguous(memory_format=torch.channels_last)
        image = F.avg_pool2d(x, times) if times > 1 else x
        h = self._features(image, top)
        if top:
            h = self.blocks[top](h)
        if fade > 0.0:
            h = h.lerp(self._features(downsample(image), top - 1), fade)
        for level in range(top - 1, 0, -1):
            h = self.blocks[level](h)
        answers = self.output(self.blocks[0](h))
        return Scores(answers[:, 0], answers[:, 1:] if self.num_classes else None)

    def _features(self, image: Tensor, level: int) -> Tensor:
        return activate(self.inputs[level](image), self.config)


class DownBlock(nn.Module):
    """Two convolutions, and halving."""

    def __init__(self, config: PgganDiscriminator, in_channels: int, out_channels: int):
        super().__init__()
        resample = "down" if config.fused_scale else "none"
        self.conv1 = EqualizedConv2d(in_channels, in_channels, 3, HE, config.equalized)
        self.conv2 = EqualizedConv2d(in_channels, out_channels, 3, HE, config.equalized, resample)
        self.config = config

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h//2 w//2"]:
        """Halves the resolution; the unfused form after the activation."""
        x = activate(self.conv2(activate(self.conv1(x), self.config)), self.config)
        return x if self.config.fused_scale else downsample(x)


class LastBlock(nn.Module):
    """Minibatch standard deviation, a convolution (with `last_conv`) and a dense layer on the base
    grid."""

    def __init__(self, config: PgganDiscriminator, channels: int, num_features: int):
        super().__init__()
        extra = 1 if config.group_size else 0
        self.conv = None
        if config.last_conv:
            self.conv = EqualizedConv2d(channels + extra, channels, 3, HE, config.equalized)
            extra = 0
        num_inputs = (channels + extra) * config.base[0] * config.base[1]
        self.linear = EqualizedLinear(num_inputs, num_features, HE, config.equalized)
        self.config = config

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n features"]:
        if self.config.group_size:
            x = minibatch_deviation(x, self.config.group_size)
        h = x if self.conv is None else activate(self.conv(x), self.config)
        return activate(self.linear(h.flatten(1)), self.config)
