"""Pictures of different sizes in one flat array, and their centred squares as if they were one."""

from collections.abc import Iterator, Sequence

import numpy as np

from limner.data.pictures import centred


def centre_square(picture: np.ndarray) -> np.ndarray:
    """The largest centred square of a picture [H, W, C], as a view."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = centred(height, side), centred(width, side)
    return picture[top : top + side, left : left + side]


class KeptPictures:
    """The pictures of a set that keeps their aspects; indexed, it gives centred squares.

    It answers to what is asked of an array uint8 [N, R, R, C] in the other rooms: `shape`, `dtype`,
    `len`, iteration, and indexing by an integer, a slice or a list of rows.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, values: np.ndarray, sizes: np.ndarray, resolution: int, channels: int):
        """Lay out `values` uint8 [sum of H W C], picture after picture, each as [H, W, C], by their
        `sizes` int64 [N, 2], height and width; the short side is the resolution."""
        self.shape = (len(sizes), resolution, resolution, channels)
        self._values, self._sizes = values, sizes
        self._ends = np.cumsum(sizes[:, 0] * sizes[:, 1] * channels)

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __getitem__(
        self, rows: int | np.integer | slice | Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """The square [R, R, C] of one row, or [n, R, R, C] of several."""
        if isinstance(rows, (int, np.integer)):
            return centre_square(self.picture(int(rows)))
        chosen = np.arange(len(self))[rows]
        squares = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for target, row in zip(squares, chosen.tolist(), strict=True):
            target[...] = centre_square(self.picture(row))
        return squares

    def picture(self, row: int) -> np.ndarray:
        """The whole picture uint8 [H, W, C]."""
        row = range(len(self))[row]  # negative rows, and IndexError beyond the last
        height, width = self._sizes[row].tolist()
        end, channels = int(self._ends[row]), self.shape[3]
        return self._values[end - height * width * channels : end].reshape(height, width, channels)
