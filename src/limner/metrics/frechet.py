"""The Frechet distance between two sets of features, each taken as a Gaussian (Heusel 2017)."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from limner.core import distributed
from limner.core.errors import LimnerError
from limner.metrics.base import NEARER, Figure, Gaussian, Metric, Real, Rows, Side

ROWS_PER_BLOCK = 4096
ROWS_OF_PRODUCT = 256
MIN_IMAGES_A_FEATURE = 2


class RunningMoments:
    """Mean and scatter of rows that come part by part, merged in double precision.

    Merging by the difference of the means (Chan, Golub and LeVeque 1979) loses no digits to rows
    far from zero, as sums of squares would. Memory is one matrix, however many rows come.
    """

    def __init__(self, width: int = 0) -> None:
        self.num = 0
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.scatter = torch.zeros(width, width, dtype=torch.float64)

    def add(self, features: Float[Tensor, "n d"]) -> None:
        """Raises LimnerError for another width than before, or values that are not finite."""
        for block in features.split(ROWS_PER_BLOCK) if len(features) else ():
            rows = checked(block, 1)
            mean = rows.mean(dim=0)
            centred = rows - mean
            self.merge(len(rows), mean, centred.T @ centred)

    def merge(self, num: int, mean: Float64[Tensor, " d"], scatter: Float64[Tensor, "d d"]) -> None:
        """Rows that were summed up elsewhere: their number, mean, and sum of outer products."""
        if num == 0:
            return
        if self.num == 0:
            self.num, self.mean, self.scatter = num, mean.clone(), scatter.clone()
            return
        if mean.shape != self.mean.shape:
            raise LimnerError(f"features have different widths: {len(self.mean)} and {len(mean)}")
        total, between = self.num + num, mean - self.mean
        self.scatter += scatter
        self.scatter.addr_(between, between, alpha=self.num * num / total)
        self.mean += between * (num / total)
        self.num = total

    def share(self) -> None:
        """Take in the rows of the other processes, in the order of their numbers."""
        if distributed.world_size() == 1:
            return
        own = torch.tensor([self.num], dtype=torch.float64)
        packed = torch.cat([own, self.mean, self.scatter.flatten()])
        self.num, width = 0, len(self.mean)
        for number in range(distributed.world_size()):
            theirs = packed if number == distributed.rank() else torch.zeros_like(packed)
            num, mean, scatter = distributed.summed(theirs).split([1, width, width * width])
            self.merge(int(num), mean, scatter.view(width, width))

    def gaussian(self) -> Gaussian:
        """Mean and unbiased covariance; raises LimnerError for fewer than two rows."""
        if self.num < 2:
            raise LimnerError(f"{self.num} images are too few for this score; give 2")
        return Gaussian(self.mean.clone(), self.scatter / (self.num - 1))


def moments(features: Float[Tensor, "n d"]) -> Gaussian:
    """Mean and unbiased covariance; see `RunningMoments` for errors."""
    running = RunningMoments()
    running.add(features)
    return running.gaussian()


def checked(features: Float[Tensor, "n d"], num_min: int = 2) -> Float64[Tensor, "n d"]:
    """Features on the CPU in double precision, detached.

    Raises:
        LimnerError: not two-dimensional, fewer than `num_min` rows, or values that are not finite.
    """
    return checked_rows(features, num_min).double()


def checked_rows(features: Float[Tensor, "n d"], num_min: int = 2) -> Float[Tensor, "n d"]:
    """The same in the precision that they have, for sides too large to double."""
    features = features.detach().cpu()
    if features.ndim != 2:
        raise LimnerError(f"features must be [N, D], got {tuple(features.shape)}")
    if len(features) < num_min:
        raise LimnerError(f"{len(features)} images are too few for this score; give {num_min}")
    if not bool(torch.isfinite(features).all()):
        raise LimnerError("features hold values that are not finite; check the images")
    return features


def frechet_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> float:
    """|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of two sets of features.

    The trace of the root is the sum of the singular values of F_a F_b^T for any factors with
    F^T F = S. With full rank these are the roots of the eigenvalues of L^T S_b L, L the Cholesky
    factor of S_a; otherwise (fewer images than dimensions, or dead features) the triangular
    factors of the centred features serve, which need no ridge and lose no digits to a square.

    Raises:
        LimnerError: see `checked`, or features of different widths.
    """
    a, b = checked_rows(a), checked_rows(b)
    if a.shape[1] != b.shape[1]:
        raise LimnerError(f"features have different widths: {a.shape[1]} and {b.shape[1]}")
    mean_a, cov_a = moments(a)
    mean_b, cov_b = moments(b)
    root = _trace_by_cholesky(cov_a, cov_b) if min(len(a), len(b)) > a.shape[1] else None
    if root is None:
        root = _trace_by_factors(_factor(a, mean_a), _factor(b, mean_b))
    return _assembled(mean_a, cov_a, mean_b, cov_b, root)


def frechet_from_moments(
    mean_a: Float64[Tensor, " d"],
    cov_a: Float64[Tensor, "d d"],
    mean_b: Float64[Tensor, " d"],
    cov_b: Float64[Tensor, "d d"],
) -> float:
    """The same from means and covariances, as statistics files hold them.

    Features that never vary on a side drop out. Of covariances that lack rank otherwise only the
    symmetric root is left, which is good to about 1e-8 of the traces.
    """
    root = _trace_by_cholesky(cov_a, cov_b)
    if root is None:
        root = _trace_by_factors(_symmetric_root(cov_a), _symmetric_root(cov_b))
    return _assembled(mean_a, cov_a, mean_b, cov_b, root)


def _assembled(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor, root: Tensor) -> float:
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2.0 * root
    return max(float(distance), 0.0)  # a distance of equals is zero up to rounding of either sign


def _trace_by_cholesky(cov_a: Tensor, cov_b: Tensor) -> Tensor | None:
    # what is constant on one side adds nothing to the trace of the root, and would fail here
    alive = (cov_a.diagonal() > 0) & (cov_b.diagonal() > 0)
    if not bool(alive.all()):
        cov_a, cov_b = cov_a[alive][:, alive], cov_b[alive][:, alive]
    lower, failed = torch.linalg.cholesky_ex(cov_a)
    if bool(failed):
        return None
    return torch.linalg.eigvalsh(_lower_half(lower, cov_b)).clamp_min(0.0).sqrt().sum()


def _lower_half(lower: Tensor, symmetric: Tensor) -> Tensor:
    """L^T S L [D, D] on and below the diagonal (LAPACK reads no more), a quarter of the operations.

    In blocks: block (i, j) is L[i:, i]^T (S L)[i:, j], of which L is zero above its diagonal.
    """
    blocks = [slice(at, at + ROWS_OF_PRODUCT) for at in range(0, len(lower), ROWS_OF_PRODUCT)]
    product = torch.zeros_like(lower)
    for block in blocks:
        below = slice(block.start, None)
        product[below, block] = symmetric[below, below] @ lower[below, block]
    result = torch.zeros_like(lower)
    for block in blocks:
        below, left = slice(block.start, None), slice(block.stop)
        result[block, left] = lower[below, block].T @ product[below, left]
    return result


def _trace_by_factors(factor_a: Tensor, factor_b: Tensor) -> Tensor:
    return torch.linalg.svdvals(factor_a @ factor_b.T).sum()


def _factor(features: Tensor, mean: Tensor) -> Tensor:
    """A matrix F [<= D, D] with F^T F = the unbiased covariance."""
    centred = (features.double() - mean) / (len(features) - 1) ** 0.5
    if len(centred) <= centred.shape[1]:
        return centred
    return torch.linalg.qr(centred, mode="r").R


def _symmetric_root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(cov)
    return values.clamp_min(0.0).sqrt()[:, None] * vectors.T


class Distribution:
    """The accumulator of mean and covariance. Of fewer than `MIN_IMAGES_A_FEATURE` images on either
    side it keeps the rows: these make a covariance that lacks rank, whose root needs rows."""

    places = None

    def __init__(self, side: Side):
        self.side = side
        self.kept: RunningMoments | Rows | None = None

    def add(self, rows: Tensor, places: Tensor) -> None:
        if self.kept is None:
            num = min(self.side.num, self.side.num_other)
            is_enough = rows.ndim == 2 and num >= MIN_IMAGES_A_FEATURE * rows.shape[1]
            self.kept = RunningMoments(rows.shape[1]) if is_enough else Rows(self.side)
        if isinstance(self.kept, Rows):
            self.kept.add(rows, places)
        else:
            self.kept.add(rows)

    def share(self) -> None:
        assert self.kept is not None
        self.kept.share()

    def gaussian(self) -> Gaussian:
        assert self.kept is not None
        return moments(self.kept.rows) if isinstance(self.kept, Rows) else self.kept.gaussian()


class Fid(Metric):
    """The Frechet distance; FID with the weights that it is defined with."""

    figures = ("fd",)
    higher_is_better = False
    named_by_features = True
    inception_name = "fid"
    takes_moments = True
    num_published = 10_000
    num_min = 2
    under_floor = NEARER
    advice = "give --num 10000, or prefer kid, whose mean does not depend on the number"

    def begin(self, side: Side) -> Distribution:
        return Distribution(side)

    def of_real(self, real: Real) -> Real:
        return real

    def compare(self, fake: Distribution, real: Real) -> dict[str, Figure]:
        if isinstance(fake.kept, Rows) and real.has_rows:
            return {"fd": Figure(frechet_distance(fake.kept.rows, real.rows()))}
        own = fake.gaussian()
        return {"fd": Figure(frechet_from_moments(*own, *real.gaussian(len(own.mean))))}
