"""The Inception score (Salimans et al. 2016) from a classifier's probabilities."""

import itertools

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.frechet import checked

NUM_SPLITS = 10
SHUFFLE_SEED = 2020  # torch-fidelity's


def inception_score(
    probabilities: Float[Tensor, "n classes"],
    num_splits: int = NUM_SPLITS,
    shuffle_seed: int | None = SHUFFLE_SEED,
    drop_remainder: bool = False,
) -> tuple[float, float]:
    """exp of the mean divergence KL(p(y|x) || p(y)), its mean and deviation over splits.

    Args:
        probabilities: rows that sum to 1.
        num_splits: parts, each with a p(y) of its own.
        shuffle_seed: of numpy's frozen legacy stream, as torch-fidelity shuffles; None takes the
            rows in their order, which must then not be class by class.
        drop_remainder: parts of n // num_splits rows, the rest left out, as BigGAN-PyTorch does;
            else parts end at i * n // num_splits, as in torch-fidelity, and no row is left out.

    Raises:
        LimnerError: fewer rows than splits, no split, rows that are no probabilities.
    """
    rows = checked(probabilities, num_min=1)
    num = len(rows)
    if not 1 <= num_splits <= num:
        raise LimnerError(
            f"Inception score: {num_splits} splits of {num} images; give 1 to {num} splits, "
            "or more images"
        )
    if bool((rows < 0).any()) or bool(((rows.sum(dim=1) - 1).abs() > 1e-3).any()):
        raise LimnerError("Inception score: rows must be probabilities that sum to 1")
    if shuffle_seed is not None:
        order = np.random.RandomState(shuffle_seed).permutation(num)
        rows = rows[torch.from_numpy(order)]
    size = num // num_splits
    ends = [i * size if drop_remainder else i * num // num_splits for i in range(num_splits + 1)]
    scores = [_score(rows[first:last]) for first, last in itertools.pairwise(ends)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(rows: Tensor) -> float:
    share = rows.mean(dim=0)
    # xlogy is 0 where the probability is: a class that underflowed counts for nothing
    divergence = torch.xlogy(rows, rows).sum(dim=1) - torch.xlogy(rows, share).sum(dim=1)
    return float(divergence.mean().exp())
