"""Which picture comes when: a pure function of the seed and the position.

Position p lies in epoch p // N at place p % N; an epoch is a permutation of all N pictures that
depends on the seed and the epoch alone. So any position can be entered without what came before.

Of shards the permutation is one of windows: the shards are permuted, and the pictures of each
`window` of them that follow one another. A position then needs the shards of its window and no
other, and entering it costs the permutation of the shards and that of one window.
"""

from functools import lru_cache

import numpy as np
import torch

from limner.core.streams import stream


def indices(seed: int, start: int, count: int, num_images: int) -> np.ndarray:
    """The pictures at the positions start (0 or more) ... start + count - 1, as int64 [count]; they
    may cross the edges of epochs."""
    assert min(start, count) >= 0
    assert num_images > 0
    pieces: list[np.ndarray] = []
    while count > 0:
        epoch, place = divmod(start, num_images)
        piece = _permutation(seed, epoch, num_images)[place : place + count]
        pieces.append(piece)
        start, count = start + len(piece), count - len(piece)
    # concatenate copies, so that nobody holds a view of the remembered permutation
    return np.concatenate(pieces) if pieces else np.empty(0, np.int64)


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, num_images: int) -> np.ndarray:
    order = torch.randperm(num_images, generator=stream(seed, "order", epoch)).numpy()
    order.flags.writeable = False
    return order


class WindowOrder:
    """The order of pictures in shards.

    Args:
        firsts: int64 [shards + 1], the number of each shard's first picture, and behind the last.
        window: shards whose pictures are mixed.
    """

    def __init__(self, seed: int, firsts: np.ndarray, window: int):
        assert window > 0
        self.seed, self.window = seed, window
        self.num_images = int(firsts[-1])
        self._firsts = firsts
        self._epochs = lru_cache(maxsize=2)(self._epoch)
        self._windows = lru_cache(maxsize=3)(self._rows)

    def indices(self, start: int, count: int) -> np.ndarray:
        """As the function of that name."""
        assert min(start, count) >= 0
        pieces: list[np.ndarray] = []
        while count > 0:
            epoch, number, place = self._entered(start)
            piece = self._windows(epoch, number)[place : place + count]
            pieces.append(piece)
            start, count = start + len(piece), count - len(piece)
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)

    def windows(self, start: int, count: int) -> list[tuple[int, int]]:
        """(epoch, window) of all positions start ... start + count - 1, and of the window behind
        them, in order."""
        found = list[tuple[int, int]]()
        end = start + count
        while not found or start < end:
            epoch, number, place = self._entered(start)
            found.append((epoch, number))
            start += len(self._windows(epoch, number)) - place
        epoch, number, _ = self._entered(start)
        return [*found, (epoch, number)]

    def shards(self, epoch: int, number: int) -> list[int]:
        """The shards of a window."""
        order, _ = self._epochs(epoch)
        return order[number * self.window : (number + 1) * self.window].tolist()

    def _entered(self, position: int) -> tuple[int, int, int]:
        """Epoch, window and place in it of a position."""
        epoch, place = divmod(position, self.num_images)
        _, starts = self._epochs(epoch)
        number = int(np.searchsorted(starts, place, "right")) - 1
        return epoch, number, place - int(starts[number])

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards in their order, and where each window's pictures begin in the epoch."""
        num = len(self._firsts) - 1
        order = torch.randperm(num, generator=stream(self.seed, "shards", epoch)).numpy()
        ends = np.cumsum(np.diff(self._firsts)[order])
        return order, np.concatenate([[0], ends[self.window - 1 :: self.window]])[
            : -(-num // self.window)
        ]

    def _rows(self, epoch: int, number: int) -> np.ndarray:
        shards = self.shards(epoch, number)
        rows = np.concatenate([np.arange(*self._firsts[i : i + 2]) for i in shards])
        mixed = stream(self.seed, "window", epoch, number)
        return rows[torch.randperm(len(rows), generator=mixed).numpy()]
