"""DiffAugment: its operations one pixel at a time, their gradients, their numbers."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from given_draws import GivenDraws
from limner.core.errors import ConfigError
from limner.engine.augment import DiffAugment
from limner.engine.noise import Noise
from limner.objectives import Memory

POLICY = "color,translation,cutout"
LAST = 1.0 - 2.0**-24  # the largest number that is drawn


def images(n: int = 3, c: int = 3, h: int = 11, w: int = 8) -> Tensor:
    numbers = torch.rand((n, c, h, w), generator=torch.Generator().manual_seed(1))
    return 2.0 * numbers.double() - 1.0


def shown(policy: str, x: Tensor, values: dict[str, float] | None = None, **fields) -> Tensor:
    draws = GivenDraws(values, x.dtype)
    return DiffAugment(policy=policy, **fields)(x, draws, 0, Memory())


def test_color_is_its_formula_for_each_image():
    x, draws = images(), GivenDraws(dtype=torch.float64)
    got = DiffAugment(policy="color")(x, draws, 0, Memory())
    rows = [draws.asked[name].flatten() for name in ("brightness", "saturation", "contrast")]
    assert len(torch.cat(rows).unique()) == 9  # each image and change has a number of its own
    for n in range(len(x)):
        b, s, c = (float(row[n]) for row in rows)
        bright = x[n] + b - 0.5
        grey = bright.sum(0) / 3
        saturated = (bright - grey) * (2 * s) + grey
        mean = saturated.mean()
        torch.testing.assert_close(got[n], (saturated - mean) * (c + 0.5) + mean)


@pytest.mark.parametrize(("u", "down"), [(0.0, -1), (0.33, -1), (0.34, 0), (0.67, 1), (LAST, 1)])
def test_translation_moves_by_whole_pixels_and_zeros_enter(u, down):
    x = images()  # 11 rows move by up to int(11 / 8 + 1/2) = 1, 8 columns by up to 1
    values = {"translation rows": u, "translation columns": 0.0}
    got = shown("translation", x, values)
    for i in range(11):
        for j in range(8):
            inside = 0 <= i + down < 11 and j >= 1
            expected = x[:, :, i + down, j - 1] if inside else torch.zeros(3, 3)
            torch.testing.assert_close(got[:, :, i, j], expected.to(x), rtol=0, atol=0)


@pytest.mark.parametrize("size", [8, 16, 32, 100])
def test_translation_reaches_an_eighth_either_way_and_each_as_often(size):
    furthest = int(size / 8 + 0.5)
    x = torch.arange(1.0, size + 1).expand(1, 1, size, size)
    shares = (torch.arange(2 * furthest + 1) + 0.5) / (2 * furthest + 1)
    moved = [shown("translation", x, {"translation columns": float(u)}) for u in shares]
    shifts = [int(m[0, 0, size // 2, size // 2]) - size // 2 - 1 for m in moved]
    assert shifts == list(range(-furthest, furthest + 1))


@pytest.mark.parametrize(
    ("size", "share", "centres"), [(8, 0.5, 9), (10, 0.5, 10), (7, 0.5, 8), (8, 0.2, 9)]
)
def test_cutout_at_every_centre(size, share, centres):
    x, length = torch.ones(1, 1, size, size), int(size * share + 0.5)
    assert centres == size + 1 - length % 2
    for centre in range(centres):
        u = (centre + 0.5) / centres
        got = shown("cutout", x, {"cutout rows": u, "cutout columns": 0.5}, cutout=share)
        hole = [centre - length // 2 <= i < centre - length // 2 + length for i in range(size)]
        assert (got[0, 0] == 0).any(1).tolist() == hole
        assert (got == 0).sum() == sum(hole) * length


def test_groups_run_in_their_order():
    x, values = images(1), {"cutout rows": 0.5, "cutout columns": 0.5, "brightness": 1.0}
    first, last = shown("color,cutout", x, values), shown("cutout,color", x, values)
    hole = shown("cutout", torch.ones_like(x), values) == 0
    assert (first[hole] == 0).all()
    assert not (last[hole] == 0).any()


def test_gradients_of_both_orders_pass():
    x = images(2, 2, 4, 5).requires_grad_()

    def augmented(x: Tensor) -> Tensor:
        return shown(POLICY, x)

    assert gradcheck(augmented, x)
    assert gradgradcheck(augmented, x)


@pytest.mark.parametrize("policy", POLICY.split(","))
def test_two_processes_show_what_one_shows(policy):
    x, part = images(8), DiffAugment(policy=policy)
    one = part(x, Noise(3, dtype=x.dtype).draw(0, 0), 0, Memory())
    two = [
        part(x[4 * rank : 4 * rank + 4], Noise(3, rank, 2, dtype=x.dtype).draw(0, 0), 0, Memory())
        for rank in range(2)
    ]
    torch.testing.assert_close(torch.cat(two), one, rtol=1e-12, atol=1e-12)
    assert not torch.equal(one, x)


def test_an_unknown_group_is_named():
    with pytest.raises(ConfigError, match="policy: 'colour' is none of color, translation, cutout"):
        DiffAugment(policy="colour,cutout")
