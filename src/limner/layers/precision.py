"""What must be computed in single precision, whatever the autocast around it."""

import contextlib

import torch
from torch import Tensor


def full_precision(device: torch.device) -> contextlib.AbstractContextManager[object, bool | None]:
    """Switches automatic mixed precision off, where the device has it."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def at_least_single(x: Tensor) -> Tensor:
    """float32 for half precision, else x."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
