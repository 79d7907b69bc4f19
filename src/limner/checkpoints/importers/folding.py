"""What the importers of published BigGAN generators share: W / sigma, and orders.

The published generators are for sampling: their spectral norm is fixed, so the normalized weights
are stored, and limner's network has none. Each system estimates sigma in its own way.
"""

import torch
from torch import Tensor

from limner.core.errors import CheckpointError

MODULE_EPS = 1e-4
NUM_ITERATIONS = 200  # where no vectors are stored; the published weights have settled long before


def folded_by_module(weight: Tensor, u: Tensor) -> Tensor:
    """weight [outputs, ...] / sigma as the TF-Hub modules compute it: one iteration from the stored
    u, of so many entries in any shape, vectors normalized by v / (|v| + 1e-4). CheckpointError
    where u is of another size."""
    matrix = weight.flatten(1)
    u = _vector(u, len(matrix), "u")
    v = _normalized(matrix.mT @ u)
    u = _normalized(matrix @ v)
    return weight / (u @ (matrix @ v))


def folded_by_stored(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """weight / (u W v), the vectors as they are: torch.nn.utils.spectral_norm in evaluation.
    CheckpointError where u or v is of another size."""
    matrix = weight.flatten(1)
    u, v = _vector(u, matrix.shape[0], "u"), _vector(v, matrix.shape[1], "v")
    return weight / (u @ (matrix @ v))


def folded_by_iterating(weight: Tensor) -> Tensor:
    """weight / its largest singular value, by power iteration from the same start every time."""
    matrix = weight.flatten(1)
    u = torch.ones(len(matrix), dtype=weight.dtype, device=weight.device)
    v = u.new_zeros(matrix.shape[1])
    for _ in range(NUM_ITERATIONS):
        v = torch.nn.functional.normalize(matrix.mT @ u, dim=0)
        u = torch.nn.functional.normalize(matrix @ v, dim=0)
    return weight / (u @ (matrix @ v))


def _normalized(vector: Tensor) -> Tensor:
    return vector / (vector.norm() + MODULE_EPS)


def _vector(vector: Tensor, size: int, name: str) -> Tensor:
    if vector.numel() != size:
        raise CheckpointError(f"its vector {name} has {vector.numel()} entries, not {size}")
    return vector.reshape(-1)


def condition_first(weight: Tensor, num_z: int) -> Tensor:
    """Columns [z, y] as limner has them, [y, z]."""
    return torch.cat([weight[:, num_z:], weight[:, :num_z]], dim=1)


def channels_first(rows: Tensor, num_channels: int, side: int = 4) -> Tensor:
    """Rows of a linear layer in the order height, width, channel as channel, height, width."""
    if len(rows) != side * side * num_channels:
        raise CheckpointError(
            f"the first layer has {len(rows)} outputs, not {side} x {side} x {num_channels}"
        )
    grid = rows.unflatten(0, (side, side, num_channels))
    return grid.movedim(2, 0).flatten(0, 2)


def multiples(widths: list[int]) -> tuple[int, tuple[int, ...]]:
    """The width of the network and the channels as multiples of it, full resolution first;
    CheckpointError where they are no multiples of the smallest."""
    width = min(widths)
    if width < 1 or any(size % width for size in widths):
        raise CheckpointError(f"channels {widths} are no multiples of one width")
    return width, tuple(size // width for size in widths)
