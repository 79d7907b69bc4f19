"""Kernel distance (Binkowski 2018): the unbiased squared maximum mean discrepancy over subsets."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.frechet import checked_rows

NUM_ROWS_OF_ONE_MATRIX = 4096  # a matrix takes 134 MB

Kernel = Callable[[Float[Tensor, "n d"], Float[Tensor, "m d"]], Float[Tensor, "n m"]]


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


def kernel_distance(
    a: Float[Tensor, "n d"],
    b: Float[Tensor, "m d"],
    num_subsets: int = 100,
    subset_size: int = 1000,
    kernel: Kernel | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and standard deviation of the discrepancy over random subsets of both sides.

    Args:
        subset_size: rows in a subset; no more than min(n, m) are taken.
        kernel: None is the polynomial of degree 3 of the paper.
        seed: of numpy's frozen legacy stream: the subsets are those of torch-fidelity's same seed.

    Raises:
        LimnerError: see `checked`; different widths; no subset asked for.
    """
    a, b = checked_rows(a), checked_rows(b)
    if a.shape[1] != b.shape[1]:
        raise LimnerError(f"features have different widths: {a.shape[1]} and {b.shape[1]}")
    if num_subsets < 1 or subset_size < 2:
        raise LimnerError("kernel distance: give at least 1 subset of at least 2 images")
    kernel = polynomial_kernel() if kernel is None else kernel
    size = min(subset_size, len(a), len(b))
    random = np.random.RandomState(seed)
    subsets = [
        tuple(torch.from_numpy(random.choice(len(x), size, replace=False)) for x in (a, b))
        for _ in range(num_subsets)
    ]
    if max(len(a), len(b)) <= NUM_ROWS_OF_ONE_MATRIX:
        values = _discrepancies(a.double(), b.double(), subsets, kernel)
    else:
        values = [
            squared_discrepancy(a[of_a].double(), b[of_b].double(), kernel)
            for of_a, of_b in subsets
        ]
    return float(np.mean(values)), float(np.std(values))


def _discrepancies(a: Tensor, b: Tensor, subsets: list, kernel: Kernel) -> np.ndarray:
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
