"""Which picture comes when: a pure function of the seed and the position.

Position p lies in epoch p // N at place p % N; an epoch is a permutation of all N pictures that
depends on the seed and the epoch alone. So any position can be entered without what came before.
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
