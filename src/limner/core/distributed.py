"""One code path for one process and many: torch.distributed where torchrun started us."""

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from limner.core.errors import ConfigError


def start(device_type: str = "cpu") -> None:
    """Join the process group that torchrun's environment describes; nothing without it."""
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")


def stop() -> None:
    """Leave the process group, if we are in one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, 0 for a single one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier()


def local_device(device: str) -> torch.device:
    """The device of this process: "auto" takes cuda, then mps, then cpu.

    Raises:
        ConfigError: no such device on this machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else _mps_or_cpu()
    if device == "cuda":
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device '{device}' is unknown; give auto, cpu, cuda or mps") from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(chosen.type, True):
        raise ConfigError(f"device '{device}' is not available here; give auto or cpu")
    return chosen


def _mps_or_cpu() -> str:
    return "mps" if torch.backends.mps.is_available() else "cpu"


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every .grad by its mean over the processes, in one flat all-reduce a dtype."""
    if world_size() == 1:
        return
    with_grad = [p for p in parameters if p.requires_grad]
    for p in with_grad:  # a parameter that is idle on one rank may be active on another
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    for dtype in {p.dtype for p in with_grad}:
        grads = [p.grad for p in with_grad if p.dtype == dtype and p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in grads])
        dist.all_reduce(flat)
        flat /= world_size()
        pieces = flat.split([g.numel() for g in grads])
        torch._foreach_copy_(grads, [p.view_as(g) for p, g in zip(pieces, grads, strict=True)])


def average(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes."""
    if world_size() > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= world_size()
    return value


def any_rank(flag: bool) -> bool:
    """True on every process if it is true on one."""
    return bool(largest(int(flag)))


def largest(number: int) -> int:
    """The largest of the processes' numbers, on every process."""
    if world_size() == 1:
        return number
    value = torch.tensor(number)
    if dist.get_backend() == "nccl":
        value = value.cuda()
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value.item())
