"""Products of bfloat16 numbers on a CPU, whether it has units for them or none."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from limner.layers.convolution import CONVOLUTIONS, Shape, taken_apart, twice_differentiable

PRODUCTS = {
    *CONVOLUTIONS,
    F.linear,
    torch.matmul,
    torch.bmm,
    torch.mm,
    Tensor.matmul,
    Tensor.__matmul__,
    Tensor.bmm,
    Tensor.mm,
}
FEW_CHANNELS = 4


class RoundedProducts(TorchFunctionMode):
    """Takes products of bfloat16 numbers in float32 arithmetic, where that is the faster way.

    The product of two bfloat16 numbers is exact in float32, and bfloat16 units add up in float32
    too, so inputs rounded before and results rounded after a float32 kernel are the same
    computation up to the order of sums; their gradients are rounded by the casts. Without units
    of its own a CPU takes 2.8 (digits) to 5.6 times (biggan-cifar10, width 32) as long for a step
    in torch's bfloat16 as in float32, and 1.1 to 1.2 times so (measured on AVX2, torch 2.14).
    With them, convolutions of 1 to 4 channels, of which StyleGAN2 has many (filters, colors), are
    slower in bfloat16 than in float32 (a step 1.2 times; oneDNN 3.12 on Zen 4), so these alone are
    replaced.

    Args:
        everywhere: all products, and not only those convolutions.
    """

    def __init__(self, everywhere: bool):
        super().__init__()
        self._everywhere = everywhere

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in PRODUCTS or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)
        if func in CONVOLUTIONS:
            asked = taken_apart(func, args, kwargs)
            if asked is not None:
                return self._convolved(*asked)
        if not self._everywhere:
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            product = func(*map(_rounded, args), **{k: _rounded(v) for k, v in kwargs.items()})
        return product.to(torch.bfloat16)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
        exact = self._everywhere or _is_slow(weight)
        dtype = torch.float32 if exact else torch.bfloat16
        x, w, b = (_rounded(value, dtype) for value in (x, weight, bias))
        with torch.autocast("cpu", enabled=False):
            return twice_differentiable(x, w, b, shape).to(torch.bfloat16)


def _is_slow(weight: Tensor) -> bool:
    return min(weight.shape[:2]) <= FEW_CHANNELS


def _rounded(value: Any, dtype: torch.dtype = torch.float32) -> Any:
    """A floating-point tensor as numbers that bfloat16 has too; anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(torch.bfloat16).to(dtype)
    return value


def cpu_has_bfloat16() -> bool:
    """Whether it has units for products of bfloat16 numbers."""
    return torch.cpu._is_avx512_bf16_supported()
