"""The pixels themselves: the cheapest features, and the poorest."""

from typing import Any

from torch import Tensor

from limner.metrics.features.base import averaged_down

SIZE = 32  # beyond it the covariance of the rows would take gigabytes


class Pixels:
    """The extractor `pixels`: values 0..1 in a row; more than 32 pixels a side are averaged.

    They see brightness, color and rough shape, and are blind to noise.
    """

    name = "pixels"
    weights_sha256: str | None = None
    resize = "area-32"

    def __init__(self, _: Any = None):
        pass

    def features(self, images: Tensor) -> Tensor:
        return averaged_down(images, SIZE).flatten(1) / 255
