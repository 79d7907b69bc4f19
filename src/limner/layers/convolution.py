"""Convolutions whose second derivatives are convolutions of the same sizes.

A convolution y = x * w is linear in both, so d<u, dy/dx>/dw is an ordinary weight gradient: that of
u * w under y's gradient. torch instead convolves with a kernel as large as the image, a shape that
kernel libraries are not made for: 1.3 times slower in float32, 7 times in bfloat16 (measured
on AVX2, torch 2.14), and the likely cause of wrong gradients on CPUs with AMX, see docs/log.md.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from limner.layers import winograd


class Shape(NamedTuple):
    """Arguments of aten::convolution behind input, weight and bias."""

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int


PLAIN = (1, 1), (1, 1), (1, 1), False, 1  # a 3x3 convolution that keeps the resolution
# torch's own -> its arguments by place, of which any may be given by keyword.
CONVOLUTIONS: dict[Callable[..., Tensor], tuple[str, ...]] = {
    F.conv2d: ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    F.conv_transpose2d: (
        *("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}


def taken_apart(
    convolve: Callable[..., Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Tensor, Tensor, Tensor | None, Shape] | None:
    """Input, weight, bias and the rest of a call of one of `CONVOLUTIONS`; None where its padding
    is a word."""
    given = dict(zip(CONVOLUTIONS[convolve], args, strict=False)) | dict(kwargs)
    if isinstance(given.get("padding"), str):
        return None
    shape = Shape(
        _pair(given.get("stride", 1)),
        _pair(given.get("padding", 0)),
        _pair(given.get("dilation", 1)),
        convolve is F.conv_transpose2d,
        _pair(given.get("output_padding", 0)),
        given.get("groups", 1),
    )
    return given["input"], given["weight"], given.get("bias"), shape


def twice_differentiable(x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
    """aten::convolution of tensors of one dtype.

    Input and weight come out of some function (a cast): whether a leaf's gradient is asked for
    cannot be told under `autograd.grad`.
    """
    return _Convolution.apply(x, weight, bias, shape)


def conv2d(
    x: Float[Tensor, "n i h w"],
    weight: Float[Tensor, "o i_group k_h k_w"],
    bias: Float[Tensor, " o"] | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Float[Tensor, "n o new_h new_w"]:
    """F.conv2d where second derivatives are taken in every step. torch computes those of a grouped
    one group by group, and for weights too that get no gradient (fixed filters)."""
    if torch.is_inference_mode_enabled():
        return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
    device, dtype = x.device.type, x.dtype
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        if device == "cpu":  # engine/precision.py says how products are rounded there
            return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        dtype = torch.get_autocast_dtype(device)
    # Views, for a leaf's gradient cannot be told to be asked for.
    x, weight = (value.to(dtype).view_as(value) for value in (x, weight))
    bias = None if bias is None else bias.to(dtype).view_as(bias)
    shape = Shape(stride, padding, dilation, False, (0, 0), groups)
    return twice_differentiable(x, weight, bias, shape)


class TwiceDifferentiableConv2d(nn.Conv2d):
    """nn.Conv2d by `conv2d`."""

    def forward(self, input: Float[Tensor, "n i h w"]) -> Float[Tensor, "n o new_h new_w"]:
        assert not isinstance(self.padding, str)
        shape = self.stride, self.padding, self.dilation, self.groups
        return conv2d(input, self.weight, self.bias, *shape)


def has_fewer_products(x: Tensor, weight: Tensor, shape: Shape, kept: bool = False) -> bool:
    """Whether `winograd` does this convolution, and faster; see `winograd.suits`."""
    plain = (*map(tuple, shape[:3]), *shape[3:4], shape.groups) == PLAIN
    return plain and winograd.suits(x, weight, kept)


def _by_fewer_products(
    gradient: Tensor, x: Tensor, weight: Tensor, asked: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    of_x, of_weight = None, None
    if asked[0]:  # a convolution too, by the kernels turned by 180 degrees
        products = winograd.products_of(weight.flip((2, 3)).transpose(0, 1))
        of_x = winograd.convolved(gradient, products, None, weight.shape[1])
    if asked[1]:
        of_weight = winograd.weight_gradient(gradient, x)
    return of_x, of_weight


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        if has_fewer_products(x, weight, shape):
            products = winograd.products_of(weight)
            return winograd.convolved(x, products, bias, weight.shape[0])
        return torch.ops.aten.convolution(x, weight, bias, *shape)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        # Where the pass at work goes on to; `needs_input_grad` tells where it may.
        asked = [
            node is not None and torch._C._will_engine_execute_node(node)
            for node, _ in ctx.next_functions
        ]
        of_x, of_weight = _Gradients.apply(gradient, *ctx.saved_tensors, ctx.shape, asked[:2])
        return of_x, of_weight, gradient.sum((0, 2, 3)) if any(asked[2:]) else None, None


class _Gradients(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, shape: Shape, asked: list[bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.save_for_backward(gradient, x, weight)
        ctx.set_materialize_grads(False)
        ctx.shape = shape
        if has_fewer_products(x, weight, shape):
            return _by_fewer_products(gradient, x, weight, asked)
        return torch.ops.aten.convolution_backward(
            gradient, x, weight, None, *shape, [*asked, False]
        )[:2]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        by_x, by_weight = grad_outputs
        gradient, x, weight = ctx.saved_tensors
        terms, of_x, of_weight = [], None, None
        if by_x is not None:
            terms.append(twice_differentiable(by_x, weight, None, ctx.shape))
            if ctx.needs_input_grad[2]:
                _, of_weight = _Gradients.apply(gradient, by_x, weight, ctx.shape, [False, True])
        if by_weight is not None:
            terms.append(twice_differentiable(x, by_weight, None, ctx.shape))
            of_x, _ = _Gradients.apply(gradient, x, by_weight, ctx.shape, [True, False])
        return sum(terms[1:], *terms[:1]) if terms else None, of_x, of_weight, None, None
