"""BigGAN (Brock et al. 2019), as BigGAN-PyTorch has it; SN-GAN and SA-GAN are settings of it.

Generator: class-conditional normalization, nearest-neighbour doubling in residual blocks, tanh.
The class comes to every layer from a shared embedding (or from tables of each layer's own), and
with `skip_z` a part of the latent vector with it. Discriminator: residual blocks with average
pooling, sum pooling, and a projection of the class (Miyato & Koyama 2018). Spectral norm in both,
self-attention where it is asked for.
"""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import Labels, NetworkConfig, Scores
from limner.layers import (
    ClassTable,
    ConditionalNorm2d,
    NormKind,
    at_least_single,
    full_precision,
    keep_vectors,
    required,
    upsample,
)
from limner.layers.resampling import Resample
from limner.models.building import (
    BOTTOM,
    DISCRIMINATOR_TABLE,
    GENERATOR_TABLE,
    GeneratorLayers,
    Layers,
    attended,
    channels_from_top,
    check_attention,
    multipliers_at,
    power_of,
)
from limner.models.common import (
    Epsilon,
    Few,
    FewOrNone,
    Init,
    Size,
    SizeOrNone,
    check_latents,
    initialize,
    num_doublings,
)


class BigGanGenerator(Config, NetworkConfig, frozen=True):
    """width * multipliers[0] channels at full resolution, [1] at half, ...; the last one repeats.

    multipliers: () takes the paper's for 32 to 512 pixels: at 128, (1, 2, 4, 8, 16, 16).
    z_dim: entries of the latent vector.
    shared_dim: entries of the class vector that all layers share; 0: tables of their own instead.
    skip_z: cut the latent vector into a part for the first layer and one for each block; z_dim
        must be divisible by their number, 1 + log2(resolution / 4). Needs a shared_dim.
    attention: resolutions (pixels) after whose block self-attention stands.
    norm, channels_per_group: see `limner.layers.norms.Norm2d`; "none" keeps scale and shift only.
    spectral_norm: of every layer but the shared class vectors. num_singular_values are logged,
        num_iterations of power iteration run a training forward.
    init: weights orthogonal, normal with deviation 0.02 or Glorot's uniform, biases zero; or
        "none", torch's own.
    output_norm_eps: of the norm in front of the image; without, batch_norm_eps. BigGAN-PyTorch
        always has 1e-5 there.
    stored_vectors: layers, by their names or those of modules that they are in, whose spectral norm
        evaluates with the vectors of the last training forward, as torch's own does; "*": all.
    normalized_tables: spectral norm of the layers' own tables of gains and biases, too.
    gain_around_one: conditional norms multiply by 1 + gain; False: by the gain, which begins at 1.
    """

    width: Size = 64
    z_dim: Size = 128
    shared_dim: SizeOrNone = 0
    skip_z: bool = False
    multipliers: tuple[Size, ...] = ()
    attention: tuple[int, ...] = ()
    norm: NormKind = "batch"
    channels_per_group: Size = 16
    spectral_norm: bool = True
    num_singular_values: Few = 1
    num_iterations: Few = 1
    init: Init = "orthogonal"
    batch_norm_eps: Epsilon = 1e-5
    output_norm_eps: Epsilon | None = None
    spectral_norm_eps: Epsilon = 1e-8
    stored_vectors: tuple[str, ...] = ()
    normalized_tables: bool = False
    gain_around_one: bool = True

    def __post_init__(self) -> None:
        if self.skip_z and not self.shared_dim:
            raise ConfigError("skip_z: needs a shared_dim of 1 or more, the paper's is 128")

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return BigGanGeneratorNetwork(self, image_shape, num_classes)


class BigGanDiscriminator(Config, NetworkConfig, frozen=True):
    """width * multipliers[0] channels after the first block, [1] after the second, ...

    One block a halving down to `bottom` pixels, then `num_last_blocks` there; the last multiplier
    repeats. None: the paper's, 4 pixels and 1 block, but 8 and 2 for 32-pixel images.

    multipliers: () takes the paper's for 32 to 256 pixels, and for 512 BigGAN's of issue 40.
    attention: resolutions (pixels) after whose blocks self-attention stands.
    attention_after: blocks, counted from the image, which is 0, in the place of `attention`.
    wide: the channels between a block's two convolutions are its outputs, else its inputs (SN-GAN).
    relu_shortcut: the shortcuts of all blocks but the first see relu(x), too, as where MMGeneration
        activates in place.
    The other fields are those of BigGanGenerator.
    """

    width: Size = 64
    multipliers: tuple[Size, ...] = ()
    attention: tuple[int, ...] = ()
    attention_after: tuple[FewOrNone, ...] | None = None
    wide: bool = True
    relu_shortcut: bool = False
    bottom: Size | None = None
    num_last_blocks: FewOrNone | None = None
    spectral_norm: bool = True
    num_singular_values: Few = 1
    num_iterations: Few = 1
    init: Init = "orthogonal"
    spectral_norm_eps: Epsilon = 1e-8
    stored_vectors: tuple[str, ...] = ()

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return BigGanDiscriminatorNetwork(self, image_shape, num_classes)


# --- generator -------------------------------------------------------------


class BigGanGeneratorNetwork(nn.Module):
    """See BigGanGenerator. `y` is needed with classes and ignored without."""

    def __init__(
        self, config: BigGanGenerator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        resolution = image_shape[1]
        num_blocks = num_doublings(image_shape, BOTTOM)
        multipliers = multipliers_at(GENERATOR_TABLE, config.multipliers, resolution)
        widths = channels_from_top(config.width, multipliers, num_blocks + 1)[::-1]
        resolutions = [BOTTOM << (i + 1) for i in range(num_blocks)]
        check_attention(config.attention, resolutions)
        self.z_dim = config.z_dim
        self.num_classes = num_classes
        self.part_dim = part_of(config.z_dim, num_blocks + 1) if config.skip_z else 0
        shared = num_classes > 0 and config.shared_dim > 0
        self.shared = ClassTable(num_classes, config.shared_dim) if shared else None
        condition_dim = self.part_dim + (config.shared_dim if shared else 0)
        make = GeneratorLayers(config, condition_dim, num_classes)
        self.linear = make.linear(self.part_dim or config.z_dim, widths[0] * BOTTOM**2)
        self.blocks = nn.ModuleList(
            GeneratorBlock(inner, outer, make, size in config.attention)
            for (inner, outer), size in zip(itertools.pairwise(widths), resolutions, strict=True)
        )
        self.output_norm = make.output_norm(widths[-1])
        self.output = make.conv(widths[-1], image_shape[0], 3)
        initialize(self, config.init)
        for norm in self.modules() if not config.gain_around_one else ():
            if isinstance(norm, ConditionalNorm2d):
                nn.init.ones_(norm.gain.get_parameter("weight"))
        keep_vectors(self, config.stored_vectors)

    def forward(self, z: Float[Tensor, "n z"], y: Labels | None = None) -> Float[Tensor, "n c h w"]:
        check_latents(z, self.z_dim)
        first, conditions = self.split(z, y)
        h = self.linear(first)
        h = h.unflatten(1, (-1, BOTTOM, BOTTOM)).contiguous(memory_format=torch.channels_last)
        for block, condition in zip(self.blocks, conditions, strict=True):
            h = block(h, condition)
        h = self.output(F.relu_(self.output_norm(h)))
        return torch.tanh(h.to(z.dtype))

    def split(self, z: Tensor, y: Labels | None) -> tuple[Tensor, list[Tensor | None]]:
        """What the first layer takes, and each block's condition."""
        condition = None
        if self.num_classes:
            y = required(y, self.num_classes)
            condition = y if self.shared is None else self.shared(y)
        if not self.part_dim:
            return z, [condition] * len(self.blocks)
        first, *parts = z.split(self.part_dim, dim=1)
        if condition is None:
            return first, list(parts)
        return first, [torch.cat([condition, part], dim=1) for part in parts]


def part_of(z_dim: int, num_parts: int) -> int:
    """Entries of each of the equal parts of a latent vector.

    Raises:
        ConfigError: it cannot be cut so; names the nearest sizes that can.
    """
    if z_dim % num_parts:
        below = z_dim // num_parts * num_parts
        nearest = " or ".join(str(size) for size in (below, below + num_parts) if size)
        raise ConfigError(
            f"z_dim: {z_dim} cannot be cut into the {num_parts} equal parts of skip_z; "
            f"the nearest that can: {nearest}"
        )
    return z_dim // num_parts


class GeneratorBlock(nn.Module):
    """norm, relu, double, conv, norm, relu, conv, plus a 1x1 convolution of the doubled input."""

    def __init__(
        self, in_channels: int, out_channels: int, make: GeneratorLayers, attention: bool = False
    ):
        super().__init__()
        self.norm1 = make.norm(in_channels)
        self.conv1 = make.conv(in_channels, out_channels, 3, "up")
        self.norm2 = make.norm(out_channels)
        self.conv2 = make.conv(out_channels, out_channels, 3)
        self.shortcut = make.conv(in_channels, out_channels, 1)
        self.attention = make.attention(out_channels) if attention else None

    def forward(
        self, x: Float[Tensor, "n i h w"], condition: Shaped[Tensor, "n ..."] | None
    ) -> Float[Tensor, "n o 2*h 2*w"]:
        h = self.conv1(F.relu_(self.norm1(x, condition)))
        h = self.conv2(F.relu_(self.norm2(h, condition)))
        # A 1x1 convolution commutes with doubling, and is four times cheaper before it.
        h = h.add_(upsample(self.shortcut(x)))
        return h if self.attention is None else self.attention(h)


# --- discriminator ---------------------------------------------------------


def projected(
    h: Float[Tensor, "n c h w"], y: Labels | None, linear: nn.Module, embed: nn.Module | None
) -> Float[Tensor, " n"]:
    """linear(s) + <embed(y), s> of the features s, summed over relu'd pixels, in float32 at least.

    y is not None where there is an `embed`.
    """
    with full_precision(h.device):
        features = at_least_single(F.relu_(h)).sum((2, 3))
        logits = linear(features).squeeze(1)
        if embed is not None:
            logits = logits + (embed(y) * features).sum(1)
        return logits


class Projecting(nn.Module):
    """A discriminator that scores by `projected`; `y` is needed with classes, ignored without."""

    num_classes: int
    first: nn.Module
    blocks: nn.ModuleList
    linear: nn.Module
    embed: nn.Module | None

    def forward(self, x: Float[Tensor, "n c h w"], y: Labels | None = None) -> Scores:
        if self.embed is not None:
            y = required(y, self.num_classes)
        h = self.first(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            h = block(h)
        return Scores(projected(h, y, self.linear, self.embed))


class BigGanDiscriminatorNetwork(Projecting):
    """See BigGanDiscriminator."""

    def __init__(
        self, config: BigGanDiscriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        resolution = image_shape[1]
        bottom, num_last = bottom_of(config.bottom, config.num_last_blocks, resolution)
        num_halvings = num_doublings(image_shape, bottom)
        num_blocks = num_halvings + num_last
        multipliers = multipliers_at(DISCRIMINATOR_TABLE, config.multipliers, resolution)
        widths = channels_from_top(config.width, multipliers, num_blocks)
        sizes = [resolution >> min(i + 1, num_halvings) for i in range(num_blocks)]
        attention = attended(config, sizes)
        make = Layers(power_of(config))
        blocks = [
            DiscriminatorBlock(
                channels, i < num_halvings, make, config, attention=i in attention, first=i == 0
            )
            for i, channels in enumerate(itertools.pairwise([image_shape[0], *widths]))
        ]
        self.num_classes = num_classes
        self.first, self.blocks = blocks[0], nn.ModuleList(blocks[1:])
        self.freeze_order = ("first", *(f"blocks.{i}" for i in range(len(self.blocks))))
        self.linear = make.linear(widths[-1], 1)
        self.embed = make.table(num_classes, widths[-1]) if num_classes else None
        initialize(self, config.init)
        keep_vectors(self, config.stored_vectors)


def bottom_of(bottom: int | None, num_last_blocks: int | None, resolution: int) -> tuple[int, int]:
    """Pixels where a discriminator ends and blocks there: those given, else the paper's."""
    if bottom is None:
        bottom = 8 if resolution == 32 else 4
    if num_last_blocks is None:
        num_last_blocks = 2 if bottom == 8 else 1
    return bottom, num_last_blocks


class DiscriminatorBlock(nn.Module):
    """relu, conv, relu, conv (, halve); the shortcut is a 1x1 convolution where shapes change.

    No relu on images: the first block leaves its first one out.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        halve: bool,
        make: Layers,
        config: BigGanDiscriminator,
        attention: bool,
        first: bool = False,
    ):
        super().__init__()
        self.first, self.relu_shortcut = first, config.relu_shortcut
        in_channels, out_channels = channels
        resample: Resample = "down" if halve else "none"
        changes = halve or in_channels != out_channels
        inner = out_channels if config.wide else in_channels
        self.conv1 = make.conv(in_channels, inner, 3)
        self.conv2 = make.conv(inner, out_channels, 3, resample)
        self.shortcut = make.conv(in_channels, out_channels, 1, resample) if changes else None
        self.attention = make.attention(out_channels) if attention else None

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        seen = x if self.first else F.relu(x)
        h = self.conv2(F.relu_(self.conv1(seen)))
        x = seen if self.relu_shortcut else x
        h = h.add_(x if self.shortcut is None else self.shortcut(x))
        return h if self.attention is None else self.attention(h)
