"""Images of a plan piece by piece, for who shows them as they come."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from limner.core.images import to_uint8
from limner.sampling import Model, SamplePlan


@dataclasses.dataclass(frozen=True)
class Piece:
    """Images of one forward pass.

    Attributes:
        images: uint8 [n, H, W, C].
        begin: the place of the first in the plan.
        batch_size: images a pass; smaller than asked for where memory ran out.
    """

    images: np.ndarray
    begin: int
    batch_size: int


def pieces(model: Model, plan: SamplePlan, batch_size: int = 64) -> Iterator[Piece]:
    """The plan's images, a forward pass each, see `Model.batches`."""
    done = 0
    for outputs in model.batches(plan, batch_size):
        if done + len(outputs) < len(plan):
            batch_size = len(outputs)
        images = to_uint8(outputs).permute(0, 2, 3, 1).cpu().numpy()
        yield Piece(np.ascontiguousarray(images), done, batch_size)
        done += len(images)
