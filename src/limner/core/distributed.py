"""One code path for one process and many: torch.distributed where torchrun started us."""

import contextlib
import datetime
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from limner.core.errors import ConfigError, LimnerError
from limner.core.leaving import Interrupted

# The others wait while the first process prepares data or evaluates; a dead one is noticed anyway.
PATIENCE = datetime.timedelta(hours=24)
# In steps all come to a sum within the time of one step, a save, a sheet of samples and a report;
# whoever does not has stopped.
TIMEOUT = 1800.0  # seconds

TIMED_OUT = "timed out"  # in the words of gloo

_steps: Any = None  # a ProcessGroup: all processes, with the shorter patience


def start(device_type: str = "cpu", timeout: float = TIMEOUT) -> None:
    """Join the process group that torchrun's environment describes; nothing without it.

    Args:
        timeout: seconds after which a process that does not come to a sum of a step counts as
            stopped. Where one process works and the others wait for it, they have PATIENCE.
    """
    global _steps
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    backend = "nccl" if device_type == "cuda" else "gloo"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        dist.init_process_group(backend, timeout=PATIENCE)
    else:
        store, number, count = next(dist.rendezvous("env://", timeout=PATIENCE))
        store = dist.PrefixStore(_agreed_name(store, number, count), store)
        named = {"store": store, "rank": number, "world_size": count}
        dist.init_process_group(backend, timeout=PATIENCE, **named)
    _steps = dist.new_group(timeout=datetime.timedelta(seconds=timeout), backend=backend)


def _agreed_name(store: dist.Store, number: int, count: int) -> str:
    """A name that all living processes have just agreed on and no dead one has ever used.

    torchrun keeps one store over its restarts, so the addresses of the killed processes are still
    in it (pytorch/pytorch#135712), and its count of restarts differs between nodes. Here everyone
    says hello under a word of its own, and only the first process's answer to that word counts.
    It waits in Python, so that a signal ends it at once.
    """
    if number:
        word = uuid.uuid4().hex
        store.set(f"hello/{number}", word)
        _until(lambda: store.check([f"answer/{word}"]))
        name = store.get(f"answer/{word}").decode()
        store.set(f"thanks/{name}/{number}", "")
        return name
    name = uuid.uuid4().hex
    for other in range(1, count):
        _until(lambda other=other: _answered(store, other, name))
    return name


def _answered(store: dist.Store, other: int, name: str) -> bool:
    """Answer a process's latest word, living or not; True once the living one has thanked."""
    if store.check([f"hello/{other}"]):
        store.set(f"answer/{store.get(f'hello/{other}').decode()}", name)
    return store.check([f"thanks/{name}/{other}"])


def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def stop() -> None:
    """Leave the process group, if we are in one."""
    global _steps
    _steps = None
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, 0 for a single one."""
    return dist.get_rank() if _in_group() else 0


def world_size() -> int:
    """The number of processes, 1 without a process group."""
    return dist.get_world_size() if _in_group() else 1


_working_alone = False
_meets_others = False  # at the end of what it does alone


def _in_group() -> bool:
    return dist.is_initialized() and not _working_alone


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Inside, this process counts as the only one: what it computes (a network in training mode
    whose statistics are those of all processes) waits for no other."""
    global _working_alone
    before, _working_alone = _working_alone, True
    try:
        yield
    finally:
        _working_alone = before


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Every process does its share of a work that can be done again: inside it counts as the only
    one, and at the end all meet.

    Raises:
        Interrupted: the work of this process, or of another one, was interrupted (by a signal that
            not all of them got). All leave the work then, and go on together.
    """
    global _meets_others
    before, interrupted = _meets_others, False
    try:
        _meets_others = True
        with alone():
            yield
    except Interrupted:
        interrupted = True
    finally:
        _meets_others = before
    if largest(int(interrupted), patiently=True):
        raise Interrupted


def is_awaited() -> bool:
    """Whether others meet this process at the end of its work, so that it may not just leave."""
    in_company = dist.is_initialized() and dist.get_world_size() > 1
    return in_company and (_meets_others or not _working_alone)


@contextlib.contextmanager
def state_of_first(module: torch.nn.Module) -> Iterator[None]:
    """A module has the parameters and buffers of process 0 inside, and its own again afterwards.

    Without statistics over all processes each has its own of those; the first one's are the model.
    """
    if world_size() == 1:
        yield
        return
    tensors = [tensor.detach() for tensor in (*module.parameters(), *module.buffers())]
    own = [tensor.clone() for tensor in tensors]
    for tensor in tensors:
        sent = tensor.clone(memory_format=torch.contiguous_format)
        with _together():
            dist.broadcast(sent, 0)
        tensor.copy_(sent)
    try:
        yield
    finally:
        for tensor, value in zip(tensors, own, strict=True):
            tensor.copy_(value)


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        with _together():
            dist.barrier()


def first_process(work: Callable[[], object]) -> None:
    """Do something on process 0 alone; the others wait, and stop too if it is refused there, with a
    LimnerError that refers to the one that `work` raised, of the same kind if that is
    ConfigError."""
    problem: LimnerError | None = None
    if rank() == 0:
        try:
            work()
        except LimnerError as error:
            problem = error
    code = 2 if isinstance(problem, ConfigError) else int(problem is not None)
    if code := largest(code, patiently=True):
        kind = ConfigError if code == 2 else LimnerError
        raise problem or kind("stopped with process 0, whose line says why")


def local_device(device: str) -> torch.device:
    """The device of this process: "auto" takes cuda, then mps, then cpu; ConfigError where this
    machine has no such device."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next((kind for kind, is_there in available.items() if is_there), "cpu")
    if device == "cuda":
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device '{device}' is unknown; give auto, cpu, cuda or mps") from None
    if not available.get(chosen.type, True):
        raise ConfigError(f"device '{device}' is not available here; give auto or cpu")
    return chosen


def all_reduce(
    value: Tensor,
    operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM,
    patiently: bool = False,
) -> None:
    """Replace a tensor by its sum (or another reduction) over the processes; LimnerError where
    another process has ended, or does not come in time, for this one cannot go on without it.

    Args:
        patiently: another process may be at work for hours before it comes.
    """
    with _together():
        dist.all_reduce(value, operation, group=None if patiently else _steps)


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """A backend reports a lost process as a RuntimeError with its own words."""
    try:
        yield
    except RuntimeError as error:
        words = " ".join(str(error).split()).partition(". ")[0]
        lost = "waited in vain for another, which has stopped or hangs"
        lost = lost if TIMED_OUT in words.lower() else "lost the others"
        raise LimnerError(
            f"process {rank()} {lost} ({words}); the same command goes on from the "
            "newest checkpoint"
        ) from None


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over the processes, as a new tensor."""
    value = value.clone(memory_format=torch.contiguous_format)
    if world_size() > 1:
        all_reduce(value)
    return value


def summed(value: Tensor) -> Tensor:
    """The sum of a tensor on the CPU over the processes, on the CPU, whatever the backend."""
    if world_size() == 1:
        return value
    return total(value.cuda() if dist.get_backend() == "nccl" else value).cpu()


def gather(own: Tensor) -> Tensor:
    """A tensor of each process -> all of them, stacked [world_size, ...]; the shapes are equal."""
    rows = own.new_zeros((world_size(), *own.shape))
    rows[rank()] = own
    if world_size() > 1:
        all_reduce(rows)  # which every backend has; sums with zeros are exact
    return rows


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
    all_reduce(flat)
    flat /= world_size()
    *pieces, active = flat.split([*(g.numel() for g in grads), len(grads)])
    torch._foreach_copy_(grads, [p.view_as(g) for p, g in zip(pieces, grads, strict=True)])
    if any(p.grad is None for p in parameters):
        for p, grad, share in zip(parameters, grads, active.tolist(), strict=True):
            p.grad = grad if share else None


def average(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes."""
    if world_size() > 1:
        value = total(value) / world_size()
    return value


def any_rank(flag: bool) -> bool:
    """True on every process if it is true on one."""
    return bool(largest(int(flag)))


def largest(number: int, patiently: bool = False) -> int:
    """The largest of the processes' numbers, on every process; `patiently` as for `all_reduce`."""
    if world_size() == 1:
        return number
    value = torch.tensor(number)
    if dist.get_backend() == "nccl":
        value = value.cuda()
    all_reduce(value, dist.ReduceOp.MAX, patiently)
    return int(value.item())
