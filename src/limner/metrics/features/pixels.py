"""The pixels themselves: the cheapest features, and the poorest."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SIZE = 32  # beyond it the covariance of the rows would take gigabytes


class Pixels:
    """The extractor `pixels`: values 0..1 in a row, of at most 32 x 32 pixels.

    They see brightness, color and rough shape, and are blind to noise.
    """

    name = "pixels"
    weights_sha256: str | None = None
    resize = "area-32"

    def __init__(self, _: Any = None):
        pass

    def features(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to float32 [N, D]; more than 32 pixels a side are averaged."""
        height, width = images.shape[-2:]
        size = (min(height, SIZE), min(width, SIZE))
        parts = [F.interpolate(x.float(), size, mode="area") for x in images.split(256)]
        return torch.cat(parts).flatten(1) / 255
