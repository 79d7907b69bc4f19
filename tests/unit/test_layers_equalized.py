"""Layers of progressive growing: equalized learning rate, pixel norm, minibatch deviation."""

import math

import pytest
import torch
import torch.nn.functional as F

from limner.layers import (
    EqualizedConv2d,
    EqualizedLinear,
    downsample,
    minibatch_deviation,
    pixel_norm,
    upsample,
)
from limner.layers.minibatch_deviation import group_size_of


@pytest.mark.parametrize(
    ("layer", "gain", "fan_in"),
    [
        (lambda **more: EqualizedLinear(300, 200, **more), math.sqrt(2), 300),
        (lambda **more: EqualizedLinear(300, 50, 0.5, grid=(2, 2), **more), 0.5, 300),
        (lambda **more: EqualizedConv2d(30, 200, 3, **more), math.sqrt(2), 270),
        (lambda **more: EqualizedConv2d(300, 200, 1, 1.0, **more), 1.0, 300),
    ],
)
def test_weights_are_unit_normal_and_scaled_as_they_are_used(layer, gain, fan_in):
    torch.manual_seed(0)
    equal, plain = layer(), layer(equalized=False)
    deviation = gain / math.sqrt(fan_in)
    assert equal.scale == pytest.approx(deviation)
    assert plain.scale == 1.0
    assert equal.weight.std().item() == pytest.approx(1.0, rel=0.01)
    assert plain.weight.std().item() == pytest.approx(deviation, rel=0.01)
    assert not equal.bias.any()
    with torch.no_grad():
        equal.bias.normal_()
        plain.weight.copy_(equal.weight * deviation)
        plain.bias.copy_(equal.bias)
    x = (
        torch.randn(3, fan_in)
        if equal.weight.ndim == 2
        else torch.randn(3, len(equal.weight[0]), 4, 4)
    )
    torch.testing.assert_close(equal(x), plain(x))


def test_values():
    linear, conv = EqualizedLinear(8, 5, 0.5), EqualizedConv2d(2, 3, 3)
    with torch.no_grad():
        linear.bias.normal_(), conv.bias.normal_()
    x, maps = torch.randn(4, 8), torch.randn(4, 2, 6, 4)
    torch.testing.assert_close(linear(x), x @ linear.weight.T * 0.5 / 8**0.5 + linear.bias)
    expected = F.conv2d(maps, conv.weight / 3, conv.bias, padding=1)  # sqrt(2) / sqrt(2 * 9)
    torch.testing.assert_close(conv(maps), expected)


def test_grid_has_one_bias_a_map():
    layer = EqualizedLinear(7, 3, grid=(2, 5))
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    x = torch.randn(4, 7)
    flat = F.linear(x, layer.weight * layer.scale)
    expected = flat.view(4, 3, 2, 5) + torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    torch.testing.assert_close(layer(x), expected)


def test_fused_forms_are_what_they_replace():
    x = torch.randn(2, 3, 4, 6)
    for resample, before, after in (("up", upsample, None), ("down", None, downsample)):
        fused, plain = EqualizedConv2d(3, 5, 3, resample=resample), EqualizedConv2d(3, 5, 3)
        with torch.no_grad():
            fused.bias.normal_()
        plain.load_state_dict(fused.state_dict())
        y = plain(before(x) if before else x)
        torch.testing.assert_close(fused(x), after(y) if after else y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 4, 2)])
def test_pixel_norm(shape):
    x = 5 * torch.randn(shape)
    y = pixel_norm(x)
    torch.testing.assert_close(y.square().mean(1), torch.ones(shape[0], *shape[2:]))
    torch.testing.assert_close(y, x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt())
    assert not pixel_norm(torch.zeros(shape)).any()
    small = torch.full(shape, 1e-2)
    torch.testing.assert_close(pixel_norm(small, 1e-4), small / math.sqrt(2e-4))


def test_pixel_norm_rounds_only_its_result():
    x = torch.randn(4, 16, 3, 3).bfloat16()
    expected = pixel_norm(x.float())
    y = pixel_norm(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=2**-7, atol=0)


@pytest.mark.parametrize(
    ("batch", "largest", "size"),
    [(8, 4, 4), (3, 4, 3), (16, 16, 16), (14, 16, 14), (6, 4, 3), (7, 4, 7), (25, 4, 5), (1, 4, 1)],
)
def test_group_sizes(batch, largest, size):
    """The original's where it can run, else a size that leaves no image alone."""
    assert group_size_of(batch, largest) == size


@pytest.mark.parametrize(("batch", "largest"), [(8, 4), (3, 4), (16, 16), (6, 4), (1, 4)])
def test_minibatch_deviation(batch, largest):
    x = torch.randn(batch, 5, 2, 3, dtype=torch.float64)
    num_groups = batch // group_size_of(batch, largest)
    y = minibatch_deviation(x, largest)
    assert torch.equal(y[:, :5], x)
    for n in range(batch):
        members = x[n % num_groups :: num_groups]
        expected = (members.var(0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[n, 5], expected.expand(2, 3))


def test_minibatch_deviation_in_half_precision_is_computed_in_single():
    x = 1000 + torch.randn(4, 64, 4, 4)
    x = x.bfloat16()
    y = minibatch_deviation(x)
    assert y.dtype == torch.bfloat16
    expected = minibatch_deviation(x.float())[:, -1]
    torch.testing.assert_close(y[:, -1].float(), expected, rtol=2**-8, atol=0)
