"""The Inception score (Salimans et al. 2016) from a classifier's probabilities."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from limner.core import distributed
from limner.core.errors import LimnerError
from limner.metrics.base import Figure, Metric, Side
from limner.metrics.frechet import checked_rows

NUM_SPLITS = 10
SHUFFLE_SEED = 2020  # torch-fidelity's
ROWS_PER_BLOCK = 4096


class SplitSums:
    """The sums of p and of p log p over each split, which are all that the score looks at.

    Which split a row belongs to is known from its place, so rows may come part by part, and
    memory is a row a split, however many come.
    """

    places = None

    def __init__(
        self,
        num: int,
        num_splits: int = NUM_SPLITS,
        shuffle_seed: int | None = SHUFFLE_SEED,
        drop_remainder: bool = False,
    ):
        """See `inception_score`."""
        if not 1 <= num_splits <= num:
            raise LimnerError(
                f"Inception score: {num_splits} splits of {num} images; give 1 to {num} splits, "
                "or more images"
            )
        num_used = num - num % num_splits if drop_remainder else num
        ends = [i * num_used // num_splits for i in range(num_splits + 1)]
        order = np.arange(num)
        if shuffle_seed is not None:
            order = np.random.RandomState(shuffle_seed).permutation(num)
        self.num_splits = num_splits
        self.split_of = torch.full((num,), -1)
        for split in range(num_splits):
            self.split_of[torch.from_numpy(order[ends[split] : ends[split + 1]])] = split
        self.nums = torch.zeros(num_splits, dtype=torch.float64)
        self.sums = torch.zeros(num_splits, 0, dtype=torch.float64)
        self.entropies = torch.zeros(num_splits, dtype=torch.float64)  # less their sign

    def add(self, rows: Float[Tensor, "n classes"], places: Int[Tensor, " n"]) -> None:
        """Probabilities of the images at `places`, else LimnerError."""
        rows = checked_rows(rows, 0).double()
        if bool((rows < 0).any()) or bool(((rows.sum(dim=1) - 1).abs() > 1e-3).any()):
            raise LimnerError("Inception score: rows must be probabilities that sum to 1")
        if self.sums.shape[1] == 0:
            self.sums = torch.zeros(self.num_splits, rows.shape[1], dtype=torch.float64)
        splits = self.split_of[places]
        for split in range(self.num_splits):
            of_split = rows[splits == split]
            self.nums[split] += len(of_split)
            self.sums[split] += of_split.sum(dim=0)
            # xlogy is 0 where the probability is: a class that underflowed counts for nothing
            self.entropies[split] += torch.xlogy(of_split, of_split).sum()

    def share(self) -> None:
        self.nums, self.sums, self.entropies = (
            distributed.summed(some) for some in (self.nums, self.sums, self.entropies)
        )

    def score(self) -> tuple[float, float]:
        """The mean and deviation over splits."""
        shares = self.sums / self.nums[:, None]
        of_shares = torch.xlogy(shares, shares).sum(dim=1)
        scores = (self.entropies / self.nums - of_shares).exp().numpy()
        return float(np.mean(scores)), float(np.std(scores))


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
    sums = SplitSums(len(probabilities), num_splits, shuffle_seed, drop_remainder)
    for places in torch.arange(len(probabilities)).split(ROWS_PER_BLOCK):
        sums.add(probabilities[places], places)
    return sums.score()


class LogitSums(SplitSums):
    """The same from logits in any precision; their probabilities are never all there at once."""

    def add(self, rows: Float[Tensor, "n classes"], places: Int[Tensor, " n"]) -> None:
        blocks = zip(rows.split(ROWS_PER_BLOCK), places.split(ROWS_PER_BLOCK), strict=True)
        for block, of_block in blocks:
            super().add(block.double().softmax(dim=1), of_block)


class InceptionScore(Metric):
    """The Inception score, of any classifier."""

    figures = ("is",)
    higher_is_better = True
    reads = "logits"
    alone = True
    named_by_features = True
    inception_name = "is"
    num_published = 50_000
    num_min = NUM_SPLITS

    def begin(self, side: Side) -> LogitSums:
        return LogitSums(side.num)

    def compare(self, fake: LogitSums, real: None) -> dict[str, Figure]:
        return {"is": Figure(*fake.score())}
