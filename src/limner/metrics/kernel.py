"""Kernel distance (Binkowski 2018): the unbiased squared maximum mean discrepancy over subsets."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.frechet import checked

Kernel = Callable[[Tensor, Tensor], Tensor]


def polynomial_kernel(degree: int = 3, gamma: float | None = None, offset: float = 1.0) -> Kernel:
    """k(x, y) = (gamma x.y + offset)^degree of rows [N, D], [M, D]; gamma None means 1/D."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        scale = 1.0 / x.shape[1] if gamma is None else gamma
        return (x @ y.T).mul_(scale).add_(offset).pow_(degree)

    return kernel


def gaussian_kernel(sigma: float) -> Kernel:
    """k(x, y) = exp(-|x - y|^2 / (2 sigma^2)) of rows [N, D], [M, D]."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        squares = x.square().sum(1)[:, None] + y.square().sum(1)[None, :] - 2.0 * (x @ y.T)
        return squares.clamp_min_(0.0).mul_(-0.5 / sigma**2).exp_()

    return kernel


def squared_discrepancy(x: Tensor, y: Tensor, kernel: Kernel) -> float:
    """The unbiased squared maximum mean discrepancy of equally many rows x, y [m, D].

    The cross term leaves its diagonal in, as Binkowski's and torch-fidelity's code does.
    """
    num = len(x)
    within = 0.0
    for rows in (x, y):
        matrix = kernel(rows, rows)
        within += float(matrix.sum() - matrix.diagonal().sum()) / (num * (num - 1))
    return within - 2.0 * float(kernel(x, y).mean())


def kernel_distance(
    a: Tensor,
    b: Tensor,
    num_subsets: int = 100,
    subset_size: int = 1000,
    kernel: Kernel | None = None,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and standard deviation of the discrepancy over random subsets of both sides.

    Args:
        a: features [N, D]; b: features [M, D].
        subset_size: rows in a subset; no more than min(N, M) are taken.
        kernel: None is the polynomial of degree 3 of the paper.
        seed: of numpy's frozen legacy stream: the subsets are those of torch-fidelity's same seed.

    Raises:
        LimnerError: see `checked`; different widths; no subset asked for.
    """
    a, b = checked(a), checked(b)
    if a.shape[1] != b.shape[1]:
        raise LimnerError(f"features have different widths: {a.shape[1]} and {b.shape[1]}")
    if num_subsets < 1 or subset_size < 2:
        raise LimnerError("kernel distance: give at least 1 subset of at least 2 images")
    kernel = polynomial_kernel() if kernel is None else kernel
    size = min(subset_size, len(a), len(b))
    random = np.random.RandomState(seed)
    values = []
    for _ in range(num_subsets):
        x = a[torch.from_numpy(random.choice(len(a), size, replace=False))]
        y = b[torch.from_numpy(random.choice(len(b), size, replace=False))]
        values.append(squared_discrepancy(x, y, kernel))
    return float(np.mean(values)), float(np.std(values))
