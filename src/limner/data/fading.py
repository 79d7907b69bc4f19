"""Real images as a growing pair of networks is shown them: a level of detail, perhaps a fade."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from limner.core.images import to_uint8, to_unit_range


def shown_at(lod: float, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Real images in [-1, 1], of 8-bit values and with sides divisible by 2^ceil(lod), as they are
    shown at a level of detail, at full size; 0 shows them as they are. Down to the finer of the two
    levels by the mean of 2^k x 2^k pixels, rounded to 8 bits as the lower levels of a data set's
    TFRecords are; then towards the next level, by frac(lod), with the mean of 2 x 2; then every
    pixel repeated (`process_reals` and `TFRecordExporter` of
    tkarras/progressive_growing_of_gans)."""
    level = math.floor(lod)
    if level:
        means = F.avg_pool2d(to_uint8(images).float(), 2**level)
        # Sums of bytes are exact in float32, so halves are, and round as NumPy's rint does.
        images = to_unit_range(means.round().to(torch.uint8)).to(images.dtype)
    if lod > level:
        images = images.lerp(_repeated(F.avg_pool2d(images, 2), 2), lod - level)
    return _repeated(images, 2**level)


def _repeated(images: Tensor, factor: int) -> Tensor:
    if factor == 1:
        return images
    return F.interpolate(images, scale_factor=factor, mode="nearest")
