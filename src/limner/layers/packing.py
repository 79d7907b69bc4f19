"""Convolutions by weights that stay as they are, on a CPU.

Its kernel library (oneDNN) reads weights in an order of its own. torch sorts them at every call,
which for one image of a large network takes a sixth of the time; here they are sorted once. In
bfloat16 they are rounded once too.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from limner.core.devices import require_precision
from limner.core.memory import keep_freed_memory
from limner.layers import rounding, winograd
from limner.layers.convolution import CONVOLUTIONS, Shape, has_fewer_products, taken_apart

Precision = Literal["float32", "bfloat16"]

Places = tuple[Any, ...]
Sorted = dict[tuple[Any, ...], Any]
_KEPT: WeakKeyDictionary[nn.Module, Sorted] = WeakKeyDictionary()


@contextlib.contextmanager
def fast_forwards(network: nn.Module, device: torch.device, precision: Precision) -> Iterator[None]:
    """Forwards inside, without gradients, may take it that the network's tensors never change.

    precision: "bfloat16": products take and give rounded numbers (automatic mixed precision).

    Raises:
        ConfigError: the device cannot compute in it.
    """
    require_precision(precision, device)
    keep_freed_memory()
    with contextlib.ExitStack() as stack:
        if precision == "bfloat16":
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
            if device.type == "cpu" and not rounding.cpu_has_bfloat16():
                stack.enter_context(rounding.RoundedProducts(everywhere=True))
        if device.type == "cpu" and _sorts(precision):
            stack.enter_context(_SortedWeights(network))
        yield


def _sorts(precision: Precision) -> bool:
    """Whether the library is there, and takes rounded numbers on this processor."""
    if not torch.backends.mkldnn.is_available():
        return False
    return precision == "float32" or rounding.cpu_has_bfloat16()


class _SortedWeights(TorchFunctionMode):
    def __init__(self, network: nn.Module):
        super().__init__()
        self._sorted = _KEPT.setdefault(network, {})
        single = (p for p in network.parameters() if p.dtype == torch.float32)
        self._own = {parameter.data_ptr() for parameter in single}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        asked = taken_apart(func, args, kwargs) if func in CONVOLUTIONS else None
        if asked is not None:
            x, weight, *_ = asked
            if weight.data_ptr() in self._own and x.ndim == 4:
                return _convolved(self._sorted, *asked)
        return func(*args, **kwargs)


def _convolved(
    kept: Sorted, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape
) -> Tensor:
    """In channels_last, and in what is computed with here."""
    lower = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if lower else x.dtype
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    sort, convolve, places = _in_library(shape)
    key = weight.data_ptr(), weight.shape, weight.stride(), dtype, places
    if has_fewer_products(x, weight, shape, kept=True):
        if (*key, "products") not in kept:
            kept[*key, "products"] = winograd.products_of(weight)
        products = kept[*key, "products"]
        return winograd.convolved(x, products, bias, weight.shape[0], together=False)
    if key not in kept:
        kept[key] = sort(weight.to(dtype), *places, x.shape)
    bias = None if bias is None else bias.to(dtype)
    return convolve(x, kept[key], bias, *places, "none", [], "")


def _in_library(shape: Shape) -> tuple[Callable[..., Tensor], Callable[..., Tensor], Places]:
    """What sorts weights, what convolves with them, and the arguments of both."""
    library = torch.ops.mkldnn
    places = shape.stride, shape.dilation, shape.groups
    if shape.transposed:
        do = library._reorder_convolution_transpose_weight, library._convolution_transpose_pointwise
        return *do, (shape.padding, shape.output_padding, *places)
    do = library._reorder_convolution_weight, library._convolution_pointwise
    return *do, (shape.padding, *places)
