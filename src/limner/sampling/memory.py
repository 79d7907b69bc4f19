"""What follows where memory runs out."""

import warnings

import torch

from limner.core.errors import LimnerError


def halved(batch_size: int, error: RuntimeError | MemoryError) -> int:
    """The batch size to go on with, and a warning that says it.

    Raises:
        LimnerError: not even one image fits. What was raised, if it is of another kind.
    """
    kinds = (torch.OutOfMemoryError, MemoryError)
    # The CPU's allocator has no class of its own.
    if not isinstance(error, kinds) and "can't allocate memory" not in str(error):
        raise error
    if batch_size == 1:
        raise LimnerError("out of memory: not even one image fits") from None
    warnings.warn(f"memory ran out: at most {batch_size // 2} a batch from now on", stacklevel=2)
    return batch_size // 2
