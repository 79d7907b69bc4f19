"""Memorization: the real images nearest to generated ones, and how many of these are copies."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.base import Figure, Metric, Rows
from limner.metrics.frechet import checked
from limner.metrics.neighbours import NUM_IN_FEATURES_MAX, ROWS_PER_BLOCK, euclidean

NEAR = 0.5  # of the usual distance


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


def share_of_copies(
    real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], near: float = NEAR
) -> float:
    """The share of fake rows x that lie as near to their nearest real row r as no other real does:

    |x - r| <= near * |r - r'|, where r' is the real row nearest to r. With near = 1 it is one minus
    the authenticity of Alaa et al. 2022; a half leaves out what merely lies in the middle of many
    reals, at 0.7 of their distances to each other.

    Raises:
        LimnerError: fewer than two real rows, or see `nearest_rows`.
    """
    distances, places = nearest_rows(fake, real, 1)
    found, which = places[:, 0].unique(return_inverse=True)
    usual = nearest_rows(real[found], real, 2)[0][:, 1]
    return int((distances[:, 0] <= near * usual[which]).sum()) / len(fake)


class Copies(Metric):
    """See `share_of_copies`."""

    figures = ("copies",)
    higher_is_better = False
    num_max = NUM_IN_FEATURES_MAX
    num_min = 2

    def compare(self, fake: Rows, real: Rows) -> dict[str, Figure]:
        return {"copies": Figure(share_of_copies(real.rows, fake.rows))}
