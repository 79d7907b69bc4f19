"""Convolutions whose second derivatives cost what first ones do."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from limner.layers.convolution import TwiceDifferentiableConv2d
from limner.models import R3ganDiscriminator

SHAPES = [
    {"kernel_size": 3, "padding": 1, "groups": 4, "bias": True},
    {"kernel_size": 1, "bias": False},
    {"kernel_size": 3, "stride": 2, "dilation": 2, "groups": 2, "bias": True},
]


def derivatives(conv, x):
    """Of values, of a penalty on the images' gradients, and of both kinds of asking for them."""
    y = conv(x)
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    penalty = gradient.square().sum()
    named = dict(conv.named_parameters())
    by_name = torch.autograd.grad(penalty, [x, *named.values()], retain_graph=True)
    conv.zero_grad()
    penalty.backward()
    return [y, gradient, *by_name, *(p.grad for p in named.values())]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_a_convolution(shape):
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 12, **shape).double()
    twice = TwiceDifferentiableConv2d(8, 12, **shape).double()
    twice.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 7, 6, dtype=torch.float64, requires_grad=True)
    found, expected = derivatives(twice, x), derivatives(plain, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


class Products(TorchDispatchMode):
    """Heights of the kernels that are convolved with, and how often a weight's gradient is made."""

    def __init__(self):
        super().__init__()
        self.kernels, self.weights = [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.kernels.append(args[1].shape[2])
        if func is torch.ops.aten.convolution_backward.default:
            self.weights += args[-1][1]
        return func(*args, **(kwargs or {}))


def test_penalties_of_r3gan_take_no_images_as_kernels_and_no_group_by_itself():
    d = R3ganDiscriminator(widths=(32,), group_widths=(4,)).build((3, 16, 16), 0)
    for parameter in d.parameters():
        nn.init.normal_(parameter, 0.0, 0.1)  # also the last ones of the blocks
    num = sum(isinstance(layer, nn.Conv2d) for layer in d.modules())
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(d(x).logits.sum(), x, create_graph=True)
    with Products() as products:
        gradient.square().sum().backward()
    assert set(products.kernels) == {1, 3, 4}
    assert len(products.kernels) <= num + 2  # and two filters
    assert products.weights <= 2 * num  # not those of the fixed filters
