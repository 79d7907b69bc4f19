"""Memorization: the real images nearest to generated ones, for eyes to compare."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.frechet import checked
from limner.metrics.neighbours import ROWS_PER_BLOCK, euclidean


def nearest_rows(
    queries: Float[Tensor, "q d"], rows: Float[Tensor, "n d"], k: int
) -> tuple[Float64[Tensor, "q k"], Int64[Tensor, "q k"]]:
    """Euclidean distances to the k nearest rows, nearest first, and their places.

    Raises:
        LimnerError: fewer rows than k, different widths, or values that are not finite.
    """
    queries, rows = checked(queries, 1), checked(rows, 1)
    if queries.shape[1] != rows.shape[1] or not 1 <= k <= len(rows):
        raise LimnerError(
            f"nearest images: {k} of {tuple(rows.shape)} for {tuple(queries.shape)}; give features "
            "of one width and 1 or more neighbours, no more than there are images"
        )
    blocks = (euclidean(block, rows) for block in queries.split(ROWS_PER_BLOCK))
    near = [distances.topk(k, dim=1, largest=False) for distances in blocks]
    return torch.cat([n.values for n in near]), torch.cat([n.indices for n in near])
