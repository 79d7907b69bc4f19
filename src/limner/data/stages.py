"""Which square of a stored picture a batch shows: a stage on uint8, before anything else.

An offset is a function of (seed, epoch, picture) alone, so that batches depend neither on workers
nor on processes, and a resumed run shows the same squares.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limner.data.config import DataConfig
from limner.data.kept import centre_square
from limner.data.prepared import PreparedData

DRAW_BITS = 32
# The increment and the multipliers of SplitMix64 (Steele, Lea, Flood 2014), a generator that can be
# entered anywhere: value k of a stream is a function of the start and of k.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


@dataclass(frozen=True)
class Crop:
    """How a square is taken.

    Attributes:
        random: a square anywhere along the long edge, each place equally often (landscape left to
            right, portrait top to bottom); else the centred part.
        pad: zeros around, in pixels, before a square is taken anywhere; CIFAR's 4.
    """

    random: bool = False
    pad: int = 0

    @classmethod
    def of(cls, config: DataConfig) -> "Crop":
        """What a configuration asks for."""
        return cls(random=config.crop == "random", pad=config.pad)

    @property
    def moves(self) -> bool:
        """Whether offsets are drawn at all."""
        return self.random or self.pad > 0

    def into(self, target: np.ndarray, picture: np.ndarray, draws: tuple[int, int]) -> None:
        """Write a part of a picture [H, W, C] into a target of the shown size, at offsets by two
        draws below 2^32, the vertical one first."""
        height, width = target.shape[:2]
        if not self.random and height == width:
            picture = centre_square(picture)
        top = self._offset(draws[0], picture.shape[0], height)
        left = self._offset(draws[1], picture.shape[1], width)
        part = picture[max(top, 0) : top + height, max(left, 0) : left + width]
        if part.shape == target.shape:
            target[...] = part
            return
        target[...] = 0
        down, right = max(-top, 0), max(-left, 0)
        target[down : down + part.shape[0], right : right + part.shape[1]] = part

    def _offset(self, draw: int, length: int, size: int) -> int:
        num_offsets = length - size + 2 * self.pad + 1
        return (draw * num_offsets >> DRAW_BITS) - self.pad


def offset_draws(
    seed: int, epochs: NDArray[np.int64], index: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Uniform integers below 2^32 as int64 [n, 2], for pictures [n] in epochs [n].

    Value 2 i + axis of the stream that seed and epoch begin; nothing else decides it.
    """
    digest = hashlib.sha256(f"{seed}/crop".encode()).digest()
    start = np.frombuffer(digest[:8], "<u8")[0]
    streams = _mixed(start + (epochs.astype(np.uint64) + np.uint64(1)) * _STEP)
    places = 2 * index.astype(np.uint64)[:, None] + np.arange(1, 3, dtype=np.uint64)
    values = _mixed(streams[:, None] + places * _STEP)
    return (values >> np.uint64(64 - DRAW_BITS)).astype(np.int64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function, element by element; the arithmetic is modulo 2^64."""
    first, second = _MULTIPLIERS
    values = (values ^ (values >> np.uint64(30))) * first
    values = (values ^ (values >> np.uint64(27))) * second
    return values ^ (values >> np.uint64(31))


def gather(data: PreparedData, crop: Crop, places: np.ndarray, images: np.ndarray) -> None:
    """Copy the squares of a batch into an array [n, R, R, C]. Places are int64 [n, 3]: a picture's
    row in the data, and its two draws."""
    if isinstance(data.images, np.ndarray) and not crop.moves:
        # mode="clip" writes straight into `out`; "raise" would go through a copy. The rows are
        # below len(data) by construction.
        rows = data.images.view(np.ndarray)
        np.take(rows, places[:, 0], axis=0, out=images, mode="clip")
        return
    for target, (row, down, right) in zip(images, places.tolist(), strict=True):
        crop.into(target, data.picture(row), (down, right))
