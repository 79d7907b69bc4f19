"""Checks and initializations that the architectures share."""

import math
from typing import Annotated, Literal

import torch
from msgspec import Meta
from torch import Tensor, nn

from limner.core.errors import ConfigError, LimnerError
from limner.core.undrawn import is_undrawn


def num_doublings(image_shape: tuple[int, int, int], start: int) -> int:
    """How often `start` pixels are doubled to reach the image: 32 from 4 is 3, at least 1.

    Raises:
        ConfigError: the image is not square, or its side is no doubling of `start`.
    """
    channels, height, width = image_shape
    if channels < 1:
        raise ConfigError(f"image shape {list(image_shape)}: needs at least one channel")
    doublings = (height // start).bit_length() - 1
    if height != width or doublings < 1 or start << doublings != height:
        sizes = ", ".join(str(start << i) for i in range(1, 7))
        other = "" if height == width else "; PgganGenerator and PgganDiscriminator make others"
        raise ConfigError(
            f"image shape {list(image_shape)}: this architecture makes square images of "
            f"{sizes} ... pixels; set data.resolution to one of them{other}"
        )
    return doublings


# Beyond these sizes of layers and numbers of them a config is damaged or means harm.
Size = Annotated[int, Meta(ge=1, le=2**16)]
SizeOrNone = Annotated[int, Meta(ge=0, le=2**16)]  # 0: without
Few = Annotated[int, Meta(ge=1, le=64)]
FewOrNone = Annotated[int, Meta(ge=0, le=64)]
Epsilon = Annotated[float, Meta(gt=0, lt=1)]


def check_latents(z: Tensor, z_dim: int) -> None:
    """Raises LimnerError unless z is [N, z_dim]."""
    if z.ndim != 2 or z.shape[1] != z_dim:
        raise LimnerError(f"latents must be [N, {z_dim}] for this generator, got {list(z.shape)}")


Init = Literal["orthogonal", "normal", "xavier", "none"]


def initialize(module: nn.Module, kind: Init) -> None:
    """Weights of convolutions, linear layers and embeddings; biases 0.

    "orthogonal", "normal": N(0, 0.02), "xavier": uniform (Glorot & Bengio 2010), or "none", which
    leaves weights and biases as torch draws them.
    """
    if kind == "none" or is_undrawn():
        return
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear, nn.Embedding)):
                if kind == "orthogonal":
                    nn.init.orthogonal_(layer.weight)
                elif kind == "normal":
                    nn.init.normal_(layer.weight, 0.0, 0.02)
                else:
                    nn.init.xavier_uniform_(layer.weight)
                bias = getattr(layer, "bias", None)
                if bias is not None:
                    nn.init.zeros_(bias)


def initialize_he(module: nn.Module, gain: float) -> None:
    """Convolutions N(0, gain / sqrt(fan)) (He et al. 2015), fan by the weight's first axis as mmcv
    counts: outputs, of transposed ones inputs; their biases 0."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[:, 0].numel()))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
