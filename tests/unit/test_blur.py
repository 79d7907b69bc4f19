"""The blur that fades: its taps, its reach, its end."""

import pytest
import torch

from limner.core.schedules import Linear
from limner.engine.augment import Blur
from limner.engine.noise import Noise
from limner.objectives import Memory


def blurred(images, sigma, nimg=0):
    return Blur(sigma=sigma)(images, Noise(0).draw(0, 0), nimg, Memory())


def test_a_point_becomes_a_bell():
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1.0
    got = blurred(point, 1.2)[0, 0]
    taps = torch.tensor([2.0 ** -((k / 1.2) ** 2) for k in range(-3, 4)])
    row = torch.nn.functional.pad(taps / taps.sum(), (1, 1))
    torch.testing.assert_close(got, torch.outer(row, row))


def test_zeros_come_in_from_outside():
    bright = blurred(torch.ones(1, 2, 8, 8), 1.0)
    assert bright.shape == (1, 2, 8, 8)
    torch.testing.assert_close(bright[0, 0, 4, 4], torch.tensor(1.0))
    assert bright[0, 0, 0, 0] < 0.7


@pytest.mark.parametrize(("nimg", "same"), [(0, False), (96, False), (97, True), (500, True)])
def test_it_ends_where_it_reaches_no_pixel(nimg, same):
    images = torch.rand(2, 3, 16, 16)
    fading = Linear(10.0, 0.0, until_nimg=100)  # 0.4 at 96, 0.3 at 97
    assert torch.equal(blurred(images, fading, nimg), images) == same
