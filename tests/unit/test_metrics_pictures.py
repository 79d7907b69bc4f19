"""Sliced Wasserstein distance and MS-SSIM against the public formulas in plain loops."""

import importlib

import numpy as np
import pytest
import torch

from limner.core.errors import LimnerError
from limner.metrics import mean_ms_ssim, ms_ssim, sliced_wasserstein
from limner.metrics.sliced_wasserstein import (
    doubled,
    halved,
    laplacian_level,
    level_sizes,
    normalized,
    projected_distance,
)
from slow_scores import slow_distance, slow_ms_ssim


def pictures(num, channels=3, height=32, width=32, seed=0, smooth=True):
    """Random pictures with structure at every scale."""
    rng = np.random.default_rng(seed)
    images = rng.normal(128, 40, (num, channels, height, width))
    if smooth:
        coarse = rng.normal(0, 50, (num, channels, height // 4, width // 4))
        images += coarse.repeat(4, axis=2).repeat(4, axis=3)
    return torch.from_numpy(images.round().clip(0, 255).astype(np.uint8))


# --- the distance ---------------------------------------------------------------


def test_the_distance_is_that_of_the_public_formula():
    a, b = pictures(2, seed=1), pictures(2, seed=2, smooth=False)
    found = sliced_wasserstein(a, b, seed=5)
    expected = slow_distance(a.numpy(), b.numpy(), seed=5)
    assert list(found) == ["32", "16", "avg"]
    for name, (value, deviation) in found.items():
        assert value == pytest.approx(expected[name], rel=1e-4), name
        assert 0 < deviation < 0.2 * value
    assert found["avg"][0] > 50  # far apart, so that equality says something


def test_equal_sets_are_near_and_different_ones_far_at_the_level_that_differs():
    a, b = pictures(96, seed=1), pictures(96, seed=2)
    near = sliced_wasserstein(a, b)
    fine = b + 0
    fine[..., ::2, :] = (fine[..., ::2, :].int() + 40).clamp(0, 255).to(torch.uint8)
    far = sliced_wasserstein(a, fine)
    assert far["32"][0] > 2 * near["32"][0]
    assert far["16"][0] < 1.5 * near["16"][0]


def test_the_pyramid_adds_up_to_the_picture_again():
    images = pictures(2, height=40, width=72).float()
    sizes = level_sizes(40, 72)
    assert sizes == [(40, 72), (20, 36)]
    assert level_sizes(1024, 1024)[-1] == (16, 16)
    assert len(level_sizes(1024, 1024)) == 7
    assert level_sizes(31, 33) == [(31, 33), (16, 17)]
    levels = [laplacian_level(images, level) for level in range(2)]
    assert [tuple(level.shape[2:]) for level in levels] == sizes
    assert torch.allclose(levels[1], halved(images))
    again = levels[0] + doubled(levels[1], 40, 72)
    assert torch.allclose(again, images, atol=1e-3)
    assert levels[0].std() < 0.8 * images.std()  # what is left is detail


def test_channels_are_normalized_by_themselves():
    patches = torch.randn(50, 3, 49) * torch.tensor([1.0, 5.0, 9.0])[:, None] + 7
    rows = normalized(patches).view(50, 3, 49)
    assert torch.allclose(rows.mean(dim=(0, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(rows.std(dim=(0, 2), correction=0), torch.ones(3), atol=1e-5)
    assert torch.isfinite(normalized(torch.full((4, 3, 49), 2.0))).all()


def test_directions_in_parts_give_the_same(monkeypatch):
    a, b = torch.randn(40, 9), torch.randn(40, 9) + 1
    directions = torch.nn.functional.normalize(torch.randn(9, 16), dim=0)
    whole = projected_distance(a, b, directions)
    module = importlib.import_module("limner.metrics.sliced_wasserstein")
    monkeypatch.setattr(module, "PROJECTIONS_PER_BATCH", 100)
    assert projected_distance(a, b, directions) == pytest.approx(whole, rel=1e-6)


def test_gray_pictures_count_as_three_equal_channels():
    a, b = pictures(8, channels=1, seed=1), pictures(8, channels=1, seed=3)
    as_color = sliced_wasserstein(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1))
    assert sliced_wasserstein(a, b) == as_color


@pytest.mark.usefixtures("unchecked")
def test_pictures_that_cannot_be_compared_are_refused():
    a = pictures(4)
    for b in (pictures(3), pictures(4, height=16)):
        with pytest.raises(LimnerError, match="equally many"):
            sliced_wasserstein(a, b)
    small = pictures(4, height=12, width=12)
    with pytest.raises(LimnerError, match="at least 16 pixels"):
        sliced_wasserstein(small, small)


# --- MS-SSIM -------------------------------------------------------------------


@pytest.mark.parametrize(("side", "num_levels"), [(64, 5), (32, 5), (16, 5), (8, 4)])
def test_the_similarity_is_that_of_the_public_formula(side, num_levels):
    first = pictures(2, height=side, width=side, seed=1)
    noise = torch.randint(-30, 31, first.shape, generator=torch.Generator().manual_seed(0))
    second = (first.int() + noise).clamp(0, 255).to(torch.uint8)
    found = ms_ssim(first, second)
    for i in range(2):
        expected = slow_ms_ssim(first[i].numpy(), second[i].numpy(), num_levels)
        assert 0.3 < expected < 0.999
        assert float(found[i]) == pytest.approx(expected, rel=1e-9)


def test_equal_pictures_are_one_and_opposite_ones_nothing():
    images = pictures(3)
    assert ms_ssim(images, images).tolist() == pytest.approx([1.0] * 3)
    assert ms_ssim(images, 255 - images).tolist() == [0.0] * 3  # clipped, not NaN


def test_pairs_are_neighbours_and_the_odd_last_one_is_left_out(monkeypatch):
    images = torch.cat([pictures(2, seed=k)[:1].repeat(2, 1, 1, 1) for k in range(3)])
    assert mean_ms_ssim(images) == pytest.approx(1.0)
    shifted = images.roll(1, 0)
    low = mean_ms_ssim(shifted)
    assert low < 0.5
    assert mean_ms_ssim(torch.cat([shifted, images[:1]])) == low
    monkeypatch.setattr(importlib.import_module("limner.metrics.ms_ssim"), "PIXELS_PER_BATCH", 1)
    assert mean_ms_ssim(shifted) == pytest.approx(low, rel=1e-12)
    with pytest.raises(LimnerError, match="at least 2"):
        mean_ms_ssim(images[:1])


@pytest.mark.usefixtures("unchecked")
def test_pairs_of_two_sizes_are_refused():
    with pytest.raises(LimnerError, match="pairs of one size"):
        ms_ssim(pictures(2), pictures(2, height=16))
