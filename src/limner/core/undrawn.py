"""Networks without the random weights that they begin with, for those that are filled next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_UNDRAWN = ContextVar("undrawn", default=False)
DRAWS = {
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_uniform_,
}
EMPTY = {torch.randn: torch.empty, torch.rand: torch.empty}


@contextmanager
def undrawn() -> Iterator[None]:
    """Inside, in this thread, tensors hold any numbers where random ones would be drawn: drawing
    is most of what it costs to build a large network."""
    token = _UNDRAWN.set(True)
    try:
        with _Mode():
            yield
    finally:
        _UNDRAWN.reset(token)


@contextmanager
def without_memory() -> Iterator[None]:
    """Inside, networks are built on the device "meta": names and shapes alone."""
    with undrawn(), torch.device("meta"):
        yield


def is_undrawn() -> bool:
    """Whether initial weights are not wanted."""
    return _UNDRAWN.get()


class _Mode(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return EMPTY.get(func, func)(*args, **kwargs)
