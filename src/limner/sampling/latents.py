"""Latents that belong to their seed alone."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float32
from torch import Tensor

from limner.core.config import nearest
from limner.core.errors import LimnerError
from limner.core.streams import stream

TruncationMode = Literal["resample", "scale", "statistics", "w"]
HUB_BOUND = 2.0  # where the TF-Hub demo cuts the normal that it scales


def latents_from_seeds(
    seeds: Sequence[int],
    z_dim: int,
    truncation: float | None = None,
    mode: TruncationMode = "resample",
) -> Float32[Tensor, "n {z_dim}"]:
    """Standard normal latents on the CPU; row i depends on seeds[i] alone.

    So image 7 has the same latent bit for bit in any batch and on any device.

    Args:
        seeds: integers >= 0, in any order, repeats allowed.
        truncation: None, or a threshold > 0.
        mode: "resample" draws the values beyond +-truncation again until they are inside (Brock et
            al. 2018, section 3.1) and leaves the others as they were; "scale" multiplies all of z;
            "statistics" multiplies a normal cut at +-2 (drawn again beyond), as the TF-Hub modules
            want it, whose batch norm statistics are then to be those of the truncation; "w" leaves
            latents as they are, for it changes the styles that are made of them.

    Raises:
        LimnerError: a negative seed, or see `check_truncation`.
    """
    check_truncation(truncation, mode)
    rows = [_row(int(seed), z_dim, truncation, mode) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, z_dim)


def check_truncation(truncation: float | None, mode: TruncationMode) -> None:
    """Raise a LimnerError for an unknown mode, or a truncation that is not a finite number > 0; in
    the mode "w" any finite one will do: 0 gives the mean style, -1 the opposite one."""
    if mode not in get_args(TruncationMode):
        raise LimnerError(
            f"truncation mode '{mode}' is unknown{nearest(mode, get_args(TruncationMode))}"
        )
    if truncation is None or (math.isfinite(truncation) and (truncation > 0 or mode == "w")):
        return
    above = "" if mode == "w" else " > 0"
    raise LimnerError(f"truncation {truncation} is not a finite number{above}; give one, or none")


def _row(seed: int, z_dim: int, truncation: float | None, mode: TruncationMode) -> Tensor:
    if seed < 0:
        raise LimnerError(f"seed {seed} is negative; give an integer >= 0")
    generator = stream("latent", seed)
    # Double precision avoids torch's CPU-dependent vector path for float32 normals.
    z = torch.randn(z_dim, generator=generator, dtype=torch.float64)
    if truncation is None or mode == "w":
        return z.float()
    if mode == "scale":
        return (z * truncation).float()
    bound = HUB_BOUND if mode == "statistics" else truncation
    # Drawing until inside has exactly the law of the normal cut at +-bound; its inverse
    # distribution function gives one draw of that law directly, so that any bound > 0 ends at once.
    uniform = torch.rand(z_dim, generator=generator, dtype=torch.float64) * 2 - 1
    inside = math.sqrt(2) * torch.erfinv(uniform * math.erf(bound / math.sqrt(2)))
    z = torch.where(z.abs() > bound, inside, z).clamp(-bound, bound)
    return (z * truncation if mode == "statistics" else z).float()
