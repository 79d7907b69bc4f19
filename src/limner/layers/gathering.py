"""What the processes know together, differentiable any number of times."""

from typing import Any

import torch
from torch import Tensor

from limner.core import distributed


def gathered(own: Tensor) -> Tensor:
    """A vector of each process -> all of them as rows [world_size, n], on every process.

    The gradient of a process's vector sums what the losses of all processes say of it, as the
    averaging of their gradients expects. All must call it, and its gradients, in the same order.
    """
    return _Gathered.apply(own)  # pyright: ignore[reportReturnType]


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return distributed.gather(own)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _OwnSum.apply(grads[0])


class _OwnSum(torch.autograd.Function):
    """A matrix of each process -> the own row of their sum: the adjoint of _Gathered."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return distributed.total(rows)[distributed.rank()].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _Gathered.apply(grads[0])
