"""Kernel distance (Binkowski 2018): the unbiased squared maximum mean discrepancy over subsets."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.base import NEARER, Figure, Metric, Rows, Side
from limner.metrics.frechet import checked_rows

NUM_ROWS_OF_ONE_MATRIX = 4096  # a matrix takes 134 MB
NUM_SUBSETS, SUBSET_SIZE = 100, 1000  # the paper's and torch-fidelity's

Kernel = Callable[[Float[Tensor, "n d"], Float[Tensor, "m d"]], Float[Tensor, "n m"]]
Subsets = list[tuple[Tensor, Tensor]]  # int64 [n] of either side


def polynomial_kernel(degree: int = 3, gamma: float | None = None, offset: float = 1.0) -> Kernel:
    """k(x, y) = (gamma x.y + offset)^degree of rows; gamma None means 1/d."""

    def kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        scale = 1.0 / x.shape[1] if gamma is None else gamma
        return (x @ y.T).mul_(scale).add_(offset).pow_(degree)

    return kernel


def gaussian_kernel(sigma: float) -> Kernel:
    """k(x, y) = exp(-|x - y|^2 / (2 sigma^2)) of rows."""

    def kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
        squares = x.square().sum(1)[:, None] + y.square().sum(1)[None, :] - 2.0 * (x @ y.T)
        return squares.clamp_min_(0.0).mul_(-0.5 / sigma**2).exp_()

    return kernel


def squared_discrepancy(x: Float[Tensor, "n d"], y: Float[Tensor, "n d"], kernel: Kernel) -> float:
    """The unbiased squared maximum mean discrepancy of equally many rows.

    The cross term leaves its diagonal in, as Binkowski's and torch-fidelity's code does.
    """
    num = len(x)
    within = 0.0
    for rows in (x, y):
        matrix = kernel(rows, rows)
        within += float(matrix.sum() - matrix.diagonal().sum()) / (num * (num - 1))
    return within - 2.0 * float(kernel(x, y).mean())


def kernel_subsets(
    num_a: int,
    num_b: int,
    num_subsets: int = NUM_SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> Subsets:
    """The places of both sides' subsets, which the numbers and the seed alone decide.

    They are those of torch-fidelity's same seed (numpy's frozen legacy stream).
    """
    size = min(subset_size, num_a, num_b)
    random = np.random.RandomState(seed)

    def drawn(num: int) -> Tensor:
        return torch.from_numpy(random.choice(num, size, replace=False))

    return [(drawn(num_a), drawn(num_b)) for _ in range(num_subsets)]


def rows_of_subsets(num_a: int, num_b: int, seed: int = 0) -> Int[Tensor, " k"]:
    """The places of a, in rising order, that any subset has: the other rows are not looked at."""
    wanted = torch.zeros(num_a, dtype=torch.bool)
    for of_a, _ in kernel_subsets(num_a, num_b, NUM_SUBSETS, SUBSET_SIZE, seed):
        wanted[of_a] = True
    return wanted.nonzero()[:, 0]


def kernel_distance(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    num_subsets: int = NUM_SUBSETS,
    subset_size: int = SUBSET_SIZE,
    kernel: Kernel | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and standard deviation of the discrepancy over random subsets, see `kernel_subsets`.

    Args:
        subset_size: rows in a subset; no more than min(n, m) are taken.
        kernel: None is the polynomial of degree 3 of the paper.

    Raises:
        LimnerError: see `checked`; different widths; no subset asked for.
    """
    if num_subsets < 1 or subset_size < 2:
        raise LimnerError("kernel distance: give at least 1 subset of at least 2 images")
    a, b = checked_rows(a), checked_rows(b)
    return distance_of_subsets(
        a, b, kernel_subsets(len(a), len(b), num_subsets, subset_size, seed), kernel
    )


def distance_of_subsets(
    a: Float[Tensor, "n d"], b: Float[Tensor, "m d"], subsets: Subsets, kernel: Kernel | None = None
) -> tuple[float, float]:
    """The same for the rows of given subsets."""
    a, b = checked_rows(a), checked_rows(b)
    if a.shape[1] != b.shape[1]:
        raise LimnerError(f"features have different widths: {a.shape[1]} and {b.shape[1]}")
    kernel = polynomial_kernel() if kernel is None else kernel
    if max(len(a), len(b)) <= NUM_ROWS_OF_ONE_MATRIX:
        values = _discrepancies(a.double(), b.double(), subsets, kernel)
    else:
        values = [
            squared_discrepancy(a[of_a].double(), b[of_b].double(), kernel)
            for of_a, of_b in subsets
        ]
    return float(np.mean(values)), float(np.std(values))


def _discrepancies(a: Tensor, b: Tensor, subsets: Subsets, kernel: Kernel) -> np.ndarray:
    """All subsets' values from one kernel matrix a pair of sides, some 30 times as fast.

    A subset's sum over K is u^T K v, u and v being 1 at its rows and 0 elsewhere.
    """
    of_a = torch.zeros(len(subsets), len(a), dtype=a.dtype)
    of_b = torch.zeros(len(subsets), len(b), dtype=b.dtype)
    for i, (rows_a, rows_b) in enumerate(subsets):
        of_a[i, rows_a], of_b[i, rows_b] = 1.0, 1.0
    num = len(subsets[0][0])
    values = torch.zeros(len(subsets), dtype=a.dtype)
    for rows, chosen in ((a, of_a), (b, of_b)):
        matrix = kernel(rows, rows)
        matrix.fill_diagonal_(0.0)
        values += (chosen @ matrix * chosen).sum(dim=1) / (num * (num - 1))
    values -= 2.0 * (of_a @ kernel(a, b) * of_b).sum(dim=1) / num**2
    return values.numpy()


class Kid(Metric):
    """The kernel distance; KID with Inception's weights. It keeps the rows that subsets have."""

    figures = ("kd",)
    higher_is_better = False
    named_by_features = True
    inception_name = "kid"
    num_min = 2
    under_floor = NEARER

    def begin(self, side: Side) -> Rows:
        if side.is_real:
            return Rows(side)
        places = rows_of_subsets(side.num, side.num_other, side.seed)
        return Rows(side, None if len(places) == side.num else places)

    def compare(self, fake: Rows, real: Rows) -> dict[str, Figure]:
        numbers = fake.side.num, real.side.num, NUM_SUBSETS, SUBSET_SIZE
        ranks = real.side.ranks
        row_of = torch.arange(real.side.num) if ranks is None else ranks.argsort()
        drawn = kernel_subsets(*numbers, fake.side.seed)
        subsets = [(fake.rows_at(of_fake), row_of[of_real]) for of_fake, of_real in drawn]
        return {"kd": Figure(*distance_of_subsets(fake.rows, real.rows, subsets))}
