"""Self-attention: the formula, the fused kernel's gradients, and second derivatives."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from limner.layers import SelfAttention2d
from limner.layers.attention import fused_attention, plain_attention


def make(num_channels=16, gamma=0.7, **options):
    torch.manual_seed(0)
    layer = SelfAttention2d(num_channels, lambda i, o: nn.Conv2d(i, o, 1, bias=False)).to(**options)
    with torch.no_grad():
        layer.gamma.fill_(gamma)
    return layer


def by_hand(layer, x):
    """SAGAN's equations 1 to 3, pixel by pixel."""
    query, key, value = (part(x) for part in (layer.query, layer.key, layer.value))
    key, value = F.max_pool2d(key, 2), F.max_pool2d(value, 2)
    scores = torch.einsum("ncij,nckl->nijkl", query, key)
    weights = torch.softmax(scores.flatten(3), 3).view(scores.shape)
    return x + layer.gamma * layer.output(torch.einsum("nijkl,nckl->ncij", weights, value))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_is_the_papers_formula(layout):
    layer = make()
    x = torch.randn(2, 16, 6, 4).contiguous(memory_format=layout)
    torch.testing.assert_close(layer(x), by_hand(layer, x), rtol=1e-5, atol=1e-5)


def test_begins_as_the_identity():
    layer = SelfAttention2d(8, lambda i, o: nn.Conv2d(i, o, 1, bias=False))
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(layer(x), x)
    assert layer.gamma.shape == ()
    assert [layer.query.out_channels, layer.key.out_channels] == [1, 1]
    assert [layer.value.out_channels, layer.output.out_channels] == [4, 8]


def test_the_fused_kernel_is_exact():
    torch.manual_seed(0)
    query, key = 3 * torch.randn(2, 64, 8), 3 * torch.randn(2, 16, 8)
    value = torch.randn(2, 16, 32)
    got, expected = fused_attention(query, key, value), plain_attention(query, key, value)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_formula():
    layer, plain = make(), make()
    x = torch.randn(2, 16, 6, 6)
    layer(x).square().sum().backward()
    by_hand(plain, x).square().sum().backward()
    for got, expected in zip(layer.parameters(), plain.parameters(), strict=True):
        assert expected.grad.abs().max() > 0
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-4, atol=1e-4)


def test_second_derivatives_are_those_of_the_formula():
    """A gradient penalty: the kernel itself has none."""
    layer, plain = make(dtype=torch.float64), make(dtype=torch.float64)
    x = torch.randn(2, 16, 6, 6, dtype=torch.float64, requires_grad=True)
    for net, forward in ((layer, layer), (plain, lambda x: by_hand(plain, x))):
        (slope,) = torch.autograd.grad(forward(x).square().sum(), x, create_graph=True)
        slope.square().sum().backward(inputs=list(net.parameters()))
    for got, expected in zip(layer.parameters(), plain.parameters(), strict=True):
        assert expected.grad.abs().max() > 0
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-8, atol=1e-8)


def test_a_graph_may_be_differentiated_twice():
    layer = make()
    x = torch.randn(1, 16, 4, 4, requires_grad=True)
    out = layer(x).square().sum()
    (first,) = torch.autograd.grad(out, x, retain_graph=True)
    (second,) = torch.autograd.grad(out, x)
    assert torch.equal(first, second)


def test_without_gradients_nothing_is_kept():
    layer = make()
    x = torch.randn(1, 16, 4, 4)
    with torch.no_grad():
        out = layer(x)
    assert not out.requires_grad
    torch.testing.assert_close(out, layer(x).detach())
