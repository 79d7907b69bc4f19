"""Images of a plan piece by piece, for who shows them as they come."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from limner.core.errors import LimnerError
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
    """The plan's images, a forward pass each. Where memory runs out the rest is drawn in passes of
    half as many; floats agree within 1e-5 between batch sizes.

    Raises:
        LimnerError: not even one image fits into memory.
    """
    done = 0
    while done < len(plan):
        try:
            for outputs in model.batches(_rest(plan, done), batch_size):
                images = to_uint8(outputs).permute(0, 2, 3, 1).cpu().numpy()
                yield Piece(np.ascontiguousarray(images), done, batch_size)
                done += len(images)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise LimnerError("out of memory: not even one image fits") from None
            batch_size //= 2


def _rest(plan: SamplePlan, begin: int) -> SamplePlan:
    """The plan from an image on; each keeps the noise of its seed or place."""
    seeds = list(range(len(plan))) if plan.seeds is None else plan.seeds
    y = None if plan.y is None else plan.y[begin:]
    return dataclasses.replace(plan, z=plan.z[begin:], y=y, seeds=seeds[begin:])


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Of a device, or of the CPU, for which torch has no class of its own."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)
