"""The discriminator of Projected GAN (Sauer et al. 2021): it judges features, not pixels.

Features of a network that knows photographs, at four resolutions; they are mixed across channels
and from deep to shallow by random weights that never learn, so that none can be overlooked; a small
discriminator stands on each. It takes hinge losses, which are means over all logits, and the
paper's augment before it (color, translation, cutout of 0.2); no gradient penalty.

The generator learns what these features see. Scores by the same features flatter it: judge by
others.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from msgspec import Meta
from torch import Tensor, nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.files import sha256_of
from limner.core.protocols import Labels, NetworkConfig, Scores
from limner.layers import ClassTable, PowerIteration, SNStridedConv2d, required
from limner.models.common import Size, num_doublings
from limner.models.effnet import EfficientNetLite0, read_effnet, require_weights

TAPS = {2: 24, 4: 40, 10: 112, 15: 320}  # blocks of the backbone after which it is read; channels
STRIDE = 32  # pixels of an image that one of its last features stands for
NOMINAL = 128  # pixels of the shallowest mixed features of a 256-pixel image
BOTTOM = 8  # nominal pixels where a head's convolutions end
SLOPE = 0.2
CLASS_DIM, NUM_CLASS_MAPS = 128, 64
POWER = PowerIteration(eps=1e-12)
WEIGHTS = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class ProjectedDiscriminator(Config, NetworkConfig, frozen=True):
    """Logits [N, K] of K places at four scales; 64 for images of 224 pixels.

    backbone: the fixed network, with the weights of a package (the extra `metrics`).
    weights_sha256: of its file; a run goes on with no other.
    input_size: smaller images are enlarged to so many pixels (bilinear); larger ones stay. The
        paper has 224, what the backbone was trained at. 128 departs from it for a third of the
        time, and gives 4 logits.
    width: channels of the shallowest mixed features, doubled from scale to scale.
    num_heads: how many scales are judged, from the shallowest.
    head_channels: at most so many in a head; below 512 they are narrower than the paper's.
    separable: depthwise convolutions in the heads, a third of their time on a CPU (the paper's
        heads for StyleGAN2).
    """

    backbone: Literal["effnet-lite0"] = "effnet-lite0"
    weights_sha256: str = WEIGHTS
    input_size: Annotated[int, Meta(ge=128, le=2048)] = 224
    width: Size = 64
    num_heads: Annotated[int, Meta(ge=1, le=4)] = 4
    head_channels: Size = 512
    separable: bool = False

    def __post_init__(self) -> None:
        if self.input_size % STRIDE:
            raise ConfigError(f"input_size: {self.input_size} must be a multiple of {STRIDE}")

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """forward(x [N, 1 or 3, H, W], y) -> Scores(logits [N, K]).

        Raises:
            MissingExtra: the package with the backbone's weights is not installed.
            ConfigError: two channels, a shape that is no doubling of 4 pixels, other weights.
        """
        return ProjectedDiscriminatorNetwork(self, image_shape, num_classes)


class ProjectedDiscriminatorNetwork(nn.Module):
    """See ProjectedDiscriminator. `y` is needed with classes and ignored without."""

    frozen_parts = ("backbone",)

    def __init__(
        self, config: ProjectedDiscriminator, image_shape: tuple[int, int, int], num_classes: int
    ):
        super().__init__()
        num_doublings(image_shape, 4)
        if image_shape[0] not in (1, 3):
            raise ConfigError(
                f"image shape {list(image_shape)}: the features of {config.backbone} are of gray "
                "or color pictures; set data.channels to 1 or 3, or take another discriminator"
            )
        self.size, self.num_classes = max(image_shape[1], config.input_size), num_classes
        self.backbone = Backbone(config)
        self.mixing = Mixing(tuple(TAPS.values()), config.width)
        self.heads = nn.ModuleList(
            Head(channels, NOMINAL >> i, config, num_classes)
            for i, channels in enumerate(self.mixing.out_channels[: config.num_heads])
        )

    def forward(self, x: Float[Tensor, "n c h w"], y: Labels | None = None) -> Scores:
        labels = required(y, self.num_classes) if self.num_classes else None
        mixed = self.mixing(self.backbone(enlarged(x, self.size)))
        logits = [head(h, labels) for head, h in zip(self.heads, mixed, strict=False)]
        return Scores(torch.cat(logits, dim=1))


def enlarged(x: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "n 3 size size"]:
    """Gray thrice, and `size` pixels on a side."""
    x = x.expand(-1, 3, -1, -1)
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)


class Backbone(nn.Module):
    """EfficientNet-lite0 up to its head. Nothing of it moves: the norms are folded into its
    weights, and those are buffers outside of the state dict, for their file has them."""

    def __init__(self, config: ProjectedDiscriminator):
        super().__init__()
        network = _fixed(config)
        self.stem, self.blocks = network.stem, network.blocks
        for module in self.modules():
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                if tensor is not None:
                    delattr(module, name)
                    module.register_buffer(name, tensor.detach(), persistent=False)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> list[Tensor]:
        """Features [n, 24, h/4, w/4], [n, 40, h/8, w/8], [n, 112, h/16, w/16], [n, 320, h/32,
        w/32] of images in [-1, 1]."""
        h = self.stem(x.contiguous(memory_format=torch.channels_last))
        features = []
        for i, block in enumerate(self.blocks):
            h = block(h)
            if i in TAPS:
                features.append(h)
        return features


def _fixed(config: ProjectedDiscriminator) -> EfficientNetLite0:
    if torch.get_default_device().type == "meta":  # for shapes alone
        return EfficientNetLite0()
    path = require_weights("the discriminator of projected features")
    found = sha256_of(path)
    if found != config.weights_sha256:
        raise ConfigError(
            f"weights_sha256: {path} has {found}, not {config.weights_sha256}; install the version "
            "of the package that this run began with, or set weights_sha256 for a new run"
        )
    return read_effnet(path)


class FixedConv(nn.Module):
    """A 1x1 convolution whose weights stay as torch's own layer draws them."""

    weight: Tensor
    bias: Tensor

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        bound = in_channels**-0.5
        for name, shape in (("weight", (out_channels, in_channels, 1, 1)), ("bias", out_channels)):
            self.register_buffer(name, torch.empty(shape).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h w"]:
        return F.conv2d(x, self.weight, self.bias)


class Mixing(nn.Module):
    """Features mixed across channels, then across scales: from deep to shallow each is added to
    the one above, doubled (bilinear) and mixed again (section 3.2 of the paper)."""

    def __init__(self, in_channels: Sequence[int], width: int):
        super().__init__()
        wide = [width << i for i in range(len(in_channels))]
        self.out_channels = [width, *wide[:-1]]
        self.channel_convs = nn.ModuleList(map(FixedConv, in_channels, wide))
        self.scale_convs = nn.ModuleList(map(FixedConv, wide, self.out_channels))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """From shallow to deep, as the features come; each of doubled resolution."""
        mixed: list[Tensor] = []
        for across_channels, across_scales, x in zip(
            reversed(self.channel_convs),
            reversed(self.scale_convs),
            reversed(features),
            strict=True,
        ):
            h = across_channels(x)
            if mixed:
                h = h + mixed[-1]
            # The paper doubles first; the two commute, and so the mixing costs a quarter.
            h = across_scales(h)
            mixed.append(F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True))
        return mixed[::-1]


class Head(nn.Module):
    """Halvings down to 8 nominal pixels, then a logit for each 4x4 of them.

    With classes there are 64 maps, weighted by a vector of the class and summed.
    """

    conditioned = ("output", "embed", "project")

    def __init__(
        self, in_channels: int, size: int, config: ProjectedDiscriminator, num_classes: int
    ):
        super().__init__()
        sizes = itertools.takewhile(lambda s: s >= BOTTOM, (size >> i for i in itertools.count(1)))
        widths = [in_channels, *(min(4096 // s, config.head_channels) for s in sizes)]
        self.blocks = nn.ModuleList(
            DownBlock(i, o, config.separable) for i, o in itertools.pairwise(widths)
        )
        num_maps = NUM_CLASS_MAPS if num_classes else 1
        self.output = SNStridedConv2d(widths[-1], num_maps, 4, POWER, bias=False)
        self.embed = ClassTable(num_classes, CLASS_DIM) if num_classes else None
        self.project = nn.Linear(CLASS_DIM, num_maps) if num_classes else None

    def forward(self, h: Float[Tensor, "n i h w"], y: Labels | None) -> Float[Tensor, "n k"]:
        for block in self.blocks:
            h = block(h)
        maps = self.output(h).flatten(2)
        if self.embed is None or self.project is None or y is None:
            return maps.squeeze(1)
        weights = F.leaky_relu(self.project(self.embed(y)), SLOPE)
        return (maps * weights[:, :, None]).sum(1) * NUM_CLASS_MAPS**-0.5


class DownBlock(nn.Module):
    """Half the resolution: a 4x4 convolution of stride 2, or a separable 3x3 one and pooling."""

    def __init__(self, in_channels: int, out_channels: int, separable: bool):
        super().__init__()
        if separable:
            depthwise = {"padding": 1, "groups": in_channels, "bias": False}
            self.conv = nn.Sequential(
                SNStridedConv2d(in_channels, in_channels, 3, POWER, **depthwise),
                SNStridedConv2d(in_channels, out_channels, 1, POWER, bias=False),
            )
        else:
            self.conv = SNStridedConv2d(in_channels, out_channels, 4, POWER, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.separable = separable

    def forward(self, x: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o h//2 w//2"]:
        h = F.leaky_relu(self.norm(self.conv(x)), SLOPE, inplace=True)
        return F.avg_pool2d(h, 2) if self.separable else h
