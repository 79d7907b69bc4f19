"""One strided convolution equals resampling and convolution one after the other."""

import pytest
import torch
import torch.nn.functional as F

from limner.layers import ResampleConv2d, SNConv2d, downsample, upsample


def plain(layer, weight, x):
    if layer.resample == "up":
        x = upsample(x)
    x = F.conv2d(x, weight, layer.bias, padding=weight.shape[-1] // 2)
    return downsample(x) if layer.resample == "down" else x


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("resample", ["none", "up", "down"])
@pytest.mark.parametrize("bias", [True, False])
def test_equal_to_the_two_steps(size, resample, bias):
    torch.manual_seed(0)
    layer = ResampleConv2d(3, 5, size, bias=bias, resample=resample)
    x = torch.randn(2, 3, 8, 6, requires_grad=True)
    got, expected = layer(x), plain(layer, layer.weight, x)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    seed = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(got, [x, layer.weight], seed),
        torch.autograd.grad(expected, [x, layer.weight], seed),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("resample", ["up", "down"])
def test_spectral_norm_is_that_of_the_small_kernel(resample):
    torch.manual_seed(0)
    layer = SNConv2d(3, 5, 3, resample=resample)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        for _ in range(300):
            layer(x)
    weight = layer.weight / torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
    torch.testing.assert_close(layer(x), plain(layer, weight, x), rtol=1e-4, atol=1e-5)


def test_channels_last_weights_and_images():
    torch.manual_seed(0)
    layer = SNConv2d(3, 5, 3, resample="up").eval()
    x = torch.randn(2, 3, 4, 4)
    expected = layer(x)
    layer = layer.to(memory_format=torch.channels_last)
    got = layer(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
