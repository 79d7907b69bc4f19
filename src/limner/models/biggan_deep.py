"""BigGAN-deep (Brock et al. 2019, appendix B), as BigGAN-PyTorch has it.

Bottleneck blocks (1x1, 3x3, 3x3, 1x1 convolutions, a quarter of the channels inside), `depth` of
them at every resolution. Shortcuts have no convolution that changes what passes: the generator's
drop channels, the discriminator's add new ones. The whole latent vector goes to every layer.
"""

import itertools

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.protocols import Labels, NetworkConfig
from limner.layers import ClassTable, NormKind, downsample, keep_vectors, required, upsample
from limner.models.biggan import Projecting, bottom_of
from limner.models.building import (
    BOTTOM,
    DISCRIMINATOR_TABLE,
    GENERATOR_TABLE,
    GeneratorLayers,
    Layers,
    attended,
    channels_from_top,
    check_attention,
    check_grows,
    multipliers_at,
    power_of,
)
from limner.models.common import (
    Epsilon,
    Few,
    FewOrNone,
    Init,
    Size,
    check_latents,
    initialize,
    num_doublings,
)

REDUCTION = 4  # channels of a block over those inside it


class BigGanDeepGenerator(Config, NetworkConfig, frozen=True):
    """width * multipliers[0] channels at full resolution, [1] at half, ...; the last one repeats.

    depth: blocks at every resolution; the last of them doubles it.
    shared_dim: entries of the class vector that all layers share.
    attention: resolutions (pixels) at whose last block self-attention stands.
    The other fields are those of BigGanGenerator.
    """

    width: Size = 128
    z_dim: Size = 128
    shared_dim: Size = 128
    depth: Few = 2
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

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return BigGanDeepGeneratorNetwork(self, image_shape, num_classes)


class BigGanDeepDiscriminator(Config, NetworkConfig, frozen=True):
    """width * multipliers[0] channels at full resolution, [1] at half, ...; the last one repeats.

    depth: blocks at every resolution but the image's; the first of them halves.
    bottom, num_last_blocks: as BigGanDiscriminator's, but it is stages of `depth` blocks that end
    there. None: 4 pixels and no further stage, but 8 and 1 for 32-pixel images.
    attention_after: stages, counted from the image, which is 0, in the place of `attention`.
    The other fields are those of BigGanDiscriminator.
    """

    width: Size = 128
    depth: Few = 2
    multipliers: tuple[Size, ...] = ()
    attention: tuple[int, ...] = ()
    attention_after: tuple[FewOrNone, ...] | None = None
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
        return BigGanDeepDiscriminatorNetwork(self, image_shape, num_classes)


# --- generator -------------------------------------------------------------


class BigGanDeepGeneratorNetwork(nn.Module):
    """See BigGanDeepGenerator. `y` is needed with classes and ignored without."""

    conditioned = ("linear",)  # takes the class vector too, where there is one

    def __init__(
        self, config: BigGanDeepGenerator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        num_stages = num_doublings(image_shape, BOTTOM)
        multipliers = multipliers_at(GENERATOR_TABLE, config.multipliers, image_shape[1])
        widths = channels_from_top(config.width, multipliers, num_stages + 1)
        check_grows(widths)
        widths.reverse()
        resolutions = [BOTTOM << (i + 1) for i in range(num_stages)]
        check_attention(config.attention, resolutions)
        self.z_dim = config.z_dim
        self.num_classes = num_classes
        self.shared = ClassTable(num_classes, config.shared_dim) if num_classes else None
        condition_dim = config.z_dim + (config.shared_dim if num_classes else 0)
        make = GeneratorLayers(config, condition_dim, num_classes)
        self.linear = make.linear(condition_dim, widths[0] * BOTTOM**2)
        self.blocks = nn.ModuleList()
        for (inner, outer), size in zip(itertools.pairwise(widths), resolutions, strict=True):
            for _ in range(config.depth - 1):
                self.blocks.append(DeepGeneratorBlock((inner, inner), make))
            attention = size in config.attention
            self.blocks.append(DeepGeneratorBlock((inner, outer), make, True, attention))
        self.output_norm = make.output_norm(widths[-1])
        self.output = make.conv(widths[-1], image_shape[0], 3)
        initialize(self, config.init)
        keep_vectors(self, config.stored_vectors)

    def forward(self, z: Float[Tensor, "n z"], y: Labels | None = None) -> Float[Tensor, "n c h w"]:
        check_latents(z, self.z_dim)
        condition = z
        if self.shared is not None:
            condition = torch.cat([self.shared(required(y, self.num_classes)), z], dim=1)
        h = self.linear(condition)
        h = h.unflatten(1, (-1, BOTTOM, BOTTOM)).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            h = block(h, condition)
        h = self.output(F.relu_(self.output_norm(h)))
        return torch.tanh(h.to(z.dtype))


class DeepGeneratorBlock(nn.Module):
    """Four times norm, relu, convolution; doubling before the second. The input is added.

    Of more input channels than outputs the first are added.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        make: GeneratorLayers,
        double: bool = False,
        attention: bool = False,
    ):
        super().__init__()
        in_channels, self.out_channels = channels
        inner = inner_channels(in_channels)
        self.doubles = double
        self.norm1 = make.norm(in_channels)
        self.conv1 = make.conv(in_channels, inner, 1)
        self.norm2 = make.norm(inner)
        self.conv2 = make.conv(inner, inner, 3, "up" if double else "none")
        self.norm3 = make.norm(inner)
        self.conv3 = make.conv(inner, inner, 3)
        self.norm4 = make.norm(inner)
        self.conv4 = make.conv(inner, self.out_channels, 1)
        self.attention = make.attention(self.out_channels) if attention else None

    def forward(
        self, x: Float[Tensor, "n i h w"], condition: Shaped[Tensor, "n ..."]
    ) -> Float[Tensor, "n o new_h new_w"]:
        h = self.conv1(F.relu_(self.norm1(x, condition)))
        h = self.conv2(F.relu_(self.norm2(h, condition)))
        h = self.conv3(F.relu_(self.norm3(h, condition)))
        h = self.conv4(F.relu_(self.norm4(h, condition)))
        kept = x[:, : self.out_channels]
        h = h.add_(upsample(kept) if self.doubles else kept)
        return h if self.attention is None else self.attention(h)


def inner_channels(num_channels: int) -> int:
    """Of a bottleneck: a quarter, at least one."""
    return max(num_channels // REDUCTION, 1)


# --- discriminator ---------------------------------------------------------


class BigGanDeepDiscriminatorNetwork(Projecting):
    """See BigGanDeepDiscriminator."""

    def __init__(
        self, config: BigGanDeepDiscriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        resolution = image_shape[1]
        bottom, num_last = bottom_of(config.bottom, config.num_last_blocks, resolution)
        if config.num_last_blocks is None:
            num_last -= 1  # the paper's is one less than BigGAN's
        num_halvings = num_doublings(image_shape, bottom)
        num_stages = num_halvings + num_last
        multipliers = multipliers_at(DISCRIMINATOR_TABLE, config.multipliers, resolution)
        widths = channels_from_top(config.width, multipliers, num_stages + 1)
        check_grows(widths)
        sizes = [resolution >> min(i + 1, num_halvings) for i in range(num_stages)]
        attention = attended(config, sizes)
        make = Layers(power_of(config))
        self.num_classes = num_classes
        self.first = make.conv(image_shape[0], widths[0], 3)
        self.blocks = nn.ModuleList()
        for i, (inner, outer) in enumerate(itertools.pairwise(widths)):
            for j in range(config.depth):
                channels = (inner if j == 0 else outer, outer)
                halve = j == 0 and i < num_halvings
                attends = j == config.depth - 1 and i in attention
                block = DeepDiscriminatorBlock(channels, make, halve, attends, config.relu_shortcut)
                self.blocks.append(block)
        self.freeze_order = ("first", *(f"blocks.{i}" for i in range(len(self.blocks))))
        self.linear = make.linear(widths[-1], 1)
        self.embed = make.table(num_classes, widths[-1]) if num_classes else None
        initialize(self, config.init)
        keep_vectors(self, config.stored_vectors)


class DeepDiscriminatorBlock(nn.Module):
    """Four times relu, convolution; halving before the last. The input is added.

    New channels of the shortcut come from a 1x1 convolution of the (halved) input.
    """

    def __init__(
        self,
        channels: tuple[int, int],
        make: Layers,
        halve: bool,
        attention: bool,
        relu_shortcut: bool,
    ):
        super().__init__()
        in_channels, out_channels = channels
        inner = inner_channels(out_channels)
        self.halve, self.relu_shortcut = halve, relu_shortcut
        self.conv1 = make.conv(in_channels, inner, 1)
        self.conv2 = make.conv(inner, inner, 3)
        self.conv3 = make.conv(inner, inner, 3)
        self.conv4 = make.conv(inner, out_channels, 1, "down" if halve else "none")
        new = out_channels - in_channels
        self.shortcut = make.conv(in_channels, new, 1) if new else None
        self.attention = make.attention(out_channels) if attention else None

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        seen = F.relu(x)
        h = self.conv1(seen)
        h = self.conv2(F.relu_(h))
        h = self.conv3(F.relu_(h))
        h = self.conv4(F.relu_(h))
        x = seen if self.relu_shortcut else x
        kept = downsample(x) if self.halve else x
        if self.shortcut is not None:
            kept = torch.cat([kept, self.shortcut(kept)], dim=1)
        h = h.add_(kept)
        return h if self.attention is None else self.attention(h)
