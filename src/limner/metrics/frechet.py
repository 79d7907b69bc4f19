"""The Frechet distance between two sets of features, each taken as a Gaussian (Heusel 2017)."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from limner.core.errors import LimnerError


def moments(
    features: Float[Tensor, "n d"],
) -> tuple[Float64[Tensor, " d"], Float64[Tensor, "d d"]]:
    """Mean and unbiased covariance.

    Raises:
        LimnerError: fewer than two rows, or values that are not finite.
    """
    features = checked(features)
    mean = features.mean(dim=0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def checked(features: Float[Tensor, "n d"], num_min: int = 2) -> Float64[Tensor, "n d"]:
    """Features on the CPU in double precision, detached.

    Raises:
        LimnerError: not two-dimensional, fewer than `num_min` rows, or values that are not finite.
    """
    features = features.detach().to("cpu", torch.float64)
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
    a, b = checked(a), checked(b)
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

    Of covariances without full rank only the symmetric root is left, which is good to about 1e-8
    of the traces.
    """
    root = _trace_by_cholesky(cov_a, cov_b)
    if root is None:
        root = _trace_by_factors(_symmetric_root(cov_a), _symmetric_root(cov_b))
    return _assembled(mean_a, cov_a, mean_b, cov_b, root)


def _assembled(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor, root: Tensor) -> float:
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2.0 * root
    return max(float(distance), 0.0)  # a distance of equals is zero up to rounding of either sign


def _trace_by_cholesky(cov_a: Tensor, cov_b: Tensor) -> Tensor | None:
    lower, failed = torch.linalg.cholesky_ex(cov_a)
    if bool(failed):
        return None
    return torch.linalg.eigvalsh(lower.T @ cov_b @ lower).clamp_min(0.0).sqrt().sum()


def _trace_by_factors(factor_a: Tensor, factor_b: Tensor) -> Tensor:
    return torch.linalg.svdvals(factor_a @ factor_b.T).sum()


def _factor(features: Tensor, mean: Tensor) -> Tensor:
    """A matrix F [<= D, D] with F^T F = the unbiased covariance."""
    centred = (features - mean) / (len(features) - 1) ** 0.5
    if len(centred) <= centred.shape[1]:
        return centred
    return torch.linalg.qr(centred, mode="r").R


def _symmetric_root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(cov)
    return values.clamp_min(0.0).sqrt()[:, None] * vectors.T
