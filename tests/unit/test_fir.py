"""Cheap forms of resampling and its convolutions, against zeros inserted and filters applied."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from limner.layers import (
    BINOMIAL,
    demodulation,
    filtered_convolve,
    fir_filter,
    modulated_convolve,
    resample,
    squares_of,
    upfirdn,
)

LONG = (1, 2, -3, 4, 5, 6, 2, 1, 0.5)  # nine taps: applied along both axes in turn
LOPSIDED = (1, 2, 4)


def definition(x, kernel, up, down, padding, gain, flip):
    """Zeros after each pixel, zeros around, a true convolution, every `down`-th pixel."""
    n, c, h, w = x.shape
    wide = x.new_zeros(n, c, h * up[1], w * up[0])
    wide[:, :, :: up[1], :: up[0]] = x
    if kernel.ndim == 1:
        kernel = torch.outer(kernel, kernel)
    kernel = kernel if flip else kernel.flip((0, 1))
    wide = F.pad(wide, padding).flatten(0, 1)[:, None]
    out = F.conv2d(wide, kernel.to(x)[None, None] * gain)
    return out.view(n, c, *out.shape[2:])[:, :, :: down[1], :: down[0]]


def convolution(x, weight, direction, kernel):
    """Zero insertion, filter, convolution and decimation, in this order."""
    edge, taps = weight.shape[-1] // 2, len(kernel)
    if direction == "none":
        return F.conv2d(x, weight, padding=edge)
    if direction == "up":
        first, second = edge + (taps + 1) // 2, edge + (taps - 2) // 2
        wide = definition(x, kernel, (2, 2), (1, 1), (first, second) * 2, 4.0, False)
        return F.conv2d(wide, weight.flip(2, 3))
    first, second = edge + (taps - 1) // 2, edge + (taps - 2) // 2
    y = F.conv2d(F.pad(x, (first, second) * 2), weight)
    return definition(y, kernel, (1, 1), (2, 2), (0, 0, 0, 0), 1.0, False)


@pytest.mark.parametrize("taps", [BINOMIAL, LOPSIDED, LONG, (1,)], ids=str)
@pytest.mark.parametrize("up", [1, 2, 3, (1, 2), (3, 1)], ids=str)
@pytest.mark.parametrize("down", [1, 2, (2, 1)], ids=str)
def test_upfirdn_is_its_definition(taps, up, down):
    torch.manual_seed(0)
    x, kernel = torch.randn(2, 3, 7, 9).double(), fir_filter(taps).double()
    ups, downs = (v if isinstance(v, tuple) else (v, v) for v in (up, down))
    for padding, flip in itertools.product([(4, 3, 2, 5), (9, 0, -1, 8), (-1, -2, 0, 0)], (0, 1)):
        width, height = 9 * ups[0] + sum(padding[:2]), 7 * ups[1] + sum(padding[2:])
        if min(width, height) < len(kernel):
            continue
        expected = definition(x, kernel, ups, downs, padding, 1.5, flip)
        got = upfirdn(x, kernel, up, down, padding, 1.5, bool(flip))
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("taps", [BINOMIAL, (1, 2, 1), LONG], ids=str)
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("direction", ["none", "up", "down"])
def test_convolutions_are_their_definition(taps, size, direction):
    torch.manual_seed(0)
    kernel = fir_filter(taps).double()
    x, weight = torch.randn(2, 3, 10, 8).double(), torch.randn(4, 3, size, size).double()
    bias = torch.randn(4).double()
    expected = convolution(x, weight, direction, kernel) + bias[:, None, None]
    got = filtered_convolve(x, weight, bias, direction, kernel)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    side = {"none": 1, "up": 2, "down": 0.5}[direction]
    assert got.shape[2:] == (10 * side, 8 * side)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("direction", ["none", "up", "down"])
def test_convolutions_twice_differentiable(size, direction):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 5, 5).double().requires_grad_()
    weight = torch.randn(2, 2, size, size).double().requires_grad_()
    kernel = fir_filter(BINOMIAL).double()
    if direction == "down":  # an even side
        x = torch.randn(1, 2, 6, 6).double().requires_grad_()

    def run(x, weight):
        return filtered_convolve(x, weight, None, direction, kernel)

    assert gradcheck(run, (x, weight))
    assert gradgradcheck(run, (x, weight))


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_resampling_twice_differentiable(up, down):
    x = torch.randn(1, 2, 5, 5).double().requires_grad_()
    kernel = fir_filter(BINOMIAL).double()
    assert gradgradcheck(lambda x: resample(x, kernel, up, down).square(), (x,))


def test_resampling_keeps_brightness_and_place():
    kernel = fir_filter(BINOMIAL).double()
    ramp = torch.arange(16.0).double().expand(1, 1, 16, 16)
    double, half = resample(ramp, kernel, up=2), resample(ramp, kernel, down=2)
    inner = torch.arange(32.0).double() / 2 - 0.25
    torch.testing.assert_close(double[0, 0, 8, 4:-4], inner[4:-4])
    torch.testing.assert_close(half[0, 0, 4, 1:-1], torch.arange(8.0).double()[1:-1] * 2 + 0.5)


@pytest.mark.parametrize("direction", ["none", "up", "down"])
def test_modulation_is_a_convolution_of_each_images_own_weights(direction):
    torch.manual_seed(0)
    x, styles = torch.randn(3, 4, 6, 6).double(), torch.randn(3, 4).double()
    weight, kernel = torch.randn(5, 4, 3, 3).double(), fir_filter(BINOMIAL).double()
    got = modulated_convolve(x, weight, styles, kernel, direction)
    got = got * demodulation(squares_of(weight), styles)[:, :, None, None]
    for i in range(3):
        own = weight * styles[i][None, :, None, None]
        own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = convolution(x[i : i + 1], own, direction, kernel)
        torch.testing.assert_close(got[i : i + 1], expected)
