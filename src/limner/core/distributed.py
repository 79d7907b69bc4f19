"""One code path for one process and many: torch.distributed where torchrun started us."""

import datetime
import os
from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from limner.core.errors import ConfigError, LimnerError

# The others wait while the first process prepares data or evaluates; a dead one is noticed anyway.
PATIENCE = datetime.timedelta(hours=2)


def start(device_type: str = "cpu") -> None:
    """Join the process group that torchrun's environment describes; nothing without it."""
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=PATIENCE)


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


def first_process(work: Callable[[], object]) -> None:
    """Do something on process 0 alone; the others wait, and stop too if it is refused there.

    Raises:
        LimnerError: what `work` raised; on the other processes a line that refers to it.
    """
    problem: LimnerError | None = None
    if rank() == 0:
        try:
            work()
        except LimnerError as error:
            problem = error
    if any_rank(problem is not None):
        raise problem or LimnerError("stopped with process 0, whose line says why")


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
    """Replace every .grad by its mean over the processes, in one flat all-reduce a dtype.

    A parameter without gradient on every process keeps none, so that the optimizer passes it over
    as it does in a single process.
    """
    if world_size() == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    for dtype in dict.fromkeys(p.dtype for p in trained):
        _average_gradients([p for p in trained if p.dtype == dtype])


def _average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    active = torch.tensor([float(p.grad is not None) for p in parameters]).to(grads[0])
    flat = torch.cat([*(g.reshape(-1) for g in grads), active])
    dist.all_reduce(flat)
    flat /= world_size()
    *pieces, active = flat.split([*(g.numel() for g in grads), len(grads)])
    torch._foreach_copy_(grads, [p.view_as(g) for p, g in zip(pieces, grads, strict=True)])
    if any(p.grad is None for p in parameters):
        for p, grad, share in zip(parameters, grads, active.tolist(), strict=True):
            p.grad = grad if share else None


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
