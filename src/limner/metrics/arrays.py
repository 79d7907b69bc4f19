"""Images in memory where prepared data are expected."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class ImageSet(Protocol):
    """What classifiers and extractors read of prepared data; `PreparedData` is one."""

    @property
    def num_classes(self) -> int:
        """Classes, or columns of labels that are rows of numbers; 0 without either."""
        ...

    @property
    def sha256(self) -> str:
        """Identity of all of it."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        ...

    @property
    def images(self) -> Any:
        """uint8 [N, H, W, C], at least to be indexed by int64 [n]."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """int64 [N], or rows of numbers [N, num_classes], which scores leave alone."""
        ...

    def __len__(self) -> int: ...


def num_single_classes(data: ImageSet) -> int:
    """Classes of which each image has one; 0 where labels are rows of numbers."""
    return data.num_classes if data.labels.ndim == 1 else 0


@dataclass(frozen=True)
class ArrayData:
    """An ImageSet in memory, with classes or none."""

    images: np.ndarray
    labels: np.ndarray
    num_classes: int
    sha256: str

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, height, width, channels = self.images.shape
        return channels, height, width
