"""The ADA pipe beyond the original's pixels: closed gates, chances, derivatives, what it refuses."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from given_draws import GivenDraws
from limner.core.config import decode, encode, override
from limner.core.errors import ConfigError
from limner.core.schedules import Cosine
from limner.engine.augment import AdaPipe, Multipliers
from limner.engine.augment.gates import Gates
from limner.engine.augment.geometry import inverse_maps, margins, warped
from limner.engine.augment.transforms import SETS, Strengths
from limner.engine.augment.wavelets import SYM2, SYM6, filter_bank
from limner.engine.noise import Noise
from limner.objectives import Memory
from toys import toy_config

ALL = SETS["bgcfnc"]


def images(n: int = 3, c: int = 3, h: int = 24, w: int = 32, seed: int = 0) -> Tensor:
    numbers = torch.rand((n, c, h, w), generator=torch.Generator().manual_seed(seed))
    return 2.0 * numbers.double() - 1.0


def shown(x: Tensor, memory: Memory | None = None, nimg: int = 0, **fields) -> Tensor:
    draws = GivenDraws(dtype=x.dtype)
    return AdaPipe(**fields)(x, draws, nimg, Memory() if memory is None else memory)


class Closed(GivenDraws):
    """No gate opens, whatever the values are."""

    def uniform(self, purpose, shape):
        drawn = super().uniform(purpose, shape)
        return torch.full_like(drawn, 1 - 2**-24) if purpose.endswith(" gate") else drawn


@pytest.mark.parametrize(("h", "w"), [(24, 32), (64, 64), (23, 37)])
@pytest.mark.parametrize("c", [1, 3])
def test_closed_gates_give_the_images(c, h, w):
    x, pipe = images(2, c, h, w), AdaPipe(p=0.5, transforms="bgcfnc")
    exact = pipe(x, Closed(dtype=torch.float64), 0, Memory())
    assert (exact - x).abs().max() <= 1e-7  # the taps have that many digits
    # Places between -1 and 1 are rounded: in single precision the gap grows with the side.
    gap = (pipe(x.float(), Closed(), 0, Memory()) - x).abs().max()
    assert gap <= max(1e-5, 2e-5 * max(h, w) / 64)


def test_without_a_chance_nothing_is_touched_or_drawn():
    x = images()
    assert shown(x, p=0.0, transforms="bgcfnc") is x
    assert not torch.equal(shown(x, p=1e-9, transforms="bg"), x)  # up to rounding it is


def test_p_is_a_number_a_schedule_or_in_memory():
    x, half = images(), {"transforms": "color"}
    fixed = shown(x, p=0.5, **half)
    cosine = Cosine(start=0.0, end=1.0, until_nimg=100)
    torch.testing.assert_close(shown(x, p=cosine, nimg=50, **half), fixed)
    memory = Memory(p=torch.tensor(0.5, dtype=torch.float64))
    torch.testing.assert_close(shown(x, memory, p=0.1, **half), fixed)
    torch.testing.assert_close(shown(x, p=3.0, **half), shown(x, p=1.0, **half))


def test_chances_are_those_of_the_paper():
    """Table of the specification, J3: what happens on average at p."""
    n, p = 4000, 0.4
    close = pytest.approx

    def maps(**multipliers: float) -> Tensor:
        draws = Noise(1, dtype=torch.float64).draw(0, 0)
        found = inverse_maps(Gates(draws, n, p), Multipliers(**multipliers), Strengths(), 32, 32)
        assert found is not None
        return found

    def share(found: Tensor) -> float:
        return (found - torch.eye(3).to(found)).abs().amax((1, 2)).gt(1e-6).double().mean().item()

    assert share(maps(xflip=1)) == close(p / 2, abs=0.03)
    assert share(maps(rotate90=1)) == close(p * 3 / 4, abs=0.03)
    assert share(maps(scale=1)) == close(p, abs=0.03)
    assert share(maps(scale=0.5)) == close(p / 2, abs=0.03)
    assert share(maps(rotate=1)) == close(p, abs=0.03)
    assert share(maps(scale=1, rotate=1, aniso=1, xfrac=1)) == close(1 - (1 - p) ** 4, abs=0.03)
    moved = maps(xint=1)[:, :2, 2]
    assert torch.equal(moved, moved.round())
    assert moved.abs().max() == 4  # an eighth of 32
    logs = maps(scale=1)[:, 0, 0].log2()
    assert logs[logs != 0].std() == close(0.2, rel=0.1)


@pytest.mark.parametrize("transforms", [pytest.param("bg", marks=pytest.mark.full), "bgc"])
def test_gradients_of_both_orders_pass(transforms):
    x = images(2, 3, 3, 4).requires_grad_()

    def augmented(x: Tensor) -> Tensor:
        return shown(x, p=0.9, transforms=transforms).square()

    assert gradcheck(augmented, x)
    assert gradgradcheck(augmented, x)


def test_margins_reach_as_far_as_a_reflection():
    far = torch.eye(3)[None] * torch.tensor([9.0, 9.0, 1.0])[:, None]
    assert margins(far, 5, 8) == [7, 4, 7, 4]
    assert margins(torch.eye(3)[None], 64, 64) == [6] * 4
    assert warped(images(1, 1, 5, 8), far.double()).shape == (1, 1, 5, 8)


def test_a_turn_by_a_quarter_is_one():
    """Of smooth images: sym6 is nearly symmetric."""
    waves = torch.cos(0.3 * torch.arange(24.0, dtype=torch.float64) + torch.tensor([[0.0], [1.0]]))
    x = (waves[0][:, None] * waves[1][None, :])[None, None]
    draws = GivenDraws({"rotate90 value": 0.25, "rotate90 gate": 0.0}, torch.float64)
    got = AdaPipe(p=1.0, transforms=Multipliers(rotate90=1))(x, draws, 0, Memory())
    inner = (..., slice(6, 18), slice(6, 18))
    assert (got - x.rot90(1, (2, 3)))[inner].abs().max() < 0.05
    assert (got - x.rot90(-1, (2, 3)))[inner].abs().max() > 0.3


@pytest.mark.parametrize("transforms", [name for name in SETS if name not in ("bgcf", "bgcfn")])
def test_two_processes_show_what_one_shows(transforms):
    """Beyond the edges images are mirrored as far as one of the process's own needs it; filters
    see little of what lies further."""
    x = images(8)
    pipe = AdaPipe(p=0.6, transforms=transforms)
    one = pipe(x, Noise(3, dtype=x.dtype).draw(0, 0), 0, Memory())
    two = [
        pipe(x[4 * r : 4 * r + 4], Noise(3, r, 2, dtype=x.dtype).draw(0, 0), 0, Memory())
        for r in range(2)
    ]
    moves = any(getattr(SETS[transforms], name) for name in ("xint", "scale"))
    torch.testing.assert_close(torch.cat(two), one, rtol=0, atol=1e-4 if moves else 1e-12)
    assert (one - x).abs().max() > 0.1


def test_wavelets_are_those_they_are_called():
    for taps, vanishing in ((SYM2, 2), (SYM6, 6)):
        low = torch.tensor(taps, dtype=torch.float64)
        for shift in range(0, len(taps), 2):  # orthonormal to its own even shifts
            product = float(low[shift:] @ low[: len(low) - shift])
            assert product == pytest.approx(float(shift == 0), abs=1e-7)
        signs = (-1.0) ** torch.arange(len(low))
        for power in range(vanishing):  # the high-pass filter sees no polynomial
            moment = float((signs * low * torch.arange(len(low)) ** power).sum())
            assert moment == pytest.approx(0.0, abs=1e-6 * len(low) ** power)
    bank = filter_bank()
    identity = torch.zeros(43, dtype=torch.float64)
    identity[21] = 1
    torch.testing.assert_close(bank.sum(0), identity, rtol=0, atol=1e-11)
    torch.testing.assert_close(bank.sum(1), torch.eye(4)[0].double(), rtol=0, atol=1e-11)


def test_multipliers_of_ones_own_and_sets_by_name_come_back():
    config = toy_config()
    given = '{"type":"AdaPipe","p":0.2,"transforms":{"xflip":1,"brightness":0.5}}'
    (pipe,) = override(config, [f"augments.+={given}"]).augments
    assert pipe == AdaPipe(p=0.2, transforms=Multipliers(xflip=1.0, brightness=0.5))
    assert decode(AdaPipe, encode(pipe)) == pipe
    assert override(config.replace(augments=(pipe,)), ["augments.0.transforms=bgcf"]).augments == (
        AdaPipe(p=0.2, transforms="bgcf"),
    )
    with pytest.raises(ConfigError, match=r"augments\.0\.transforms: .bcg. is none of blit"):
        override(config.replace(augments=(pipe,)), ["augments.0.transforms=bcg"])


def test_r3gan_has_half_the_colors_and_all_else_but_filters_and_noise():
    own = SETS["r3gan"]
    assert {own.xflip, own.rotate90, own.xint, own.scale, own.rotate, own.aniso, own.xfrac} == {1}
    assert {own.brightness, own.contrast, own.lumaflip, own.hue, own.saturation} == {0.5}
    assert (own.imgfilter, own.noise, own.cutout) == (0, 0, 1)
    assert Multipliers(**dict.fromkeys(Multipliers.__struct_fields__, 1.0)) == ALL


@pytest.mark.parametrize(
    ("shape", "transforms", "message"),
    [
        ((1, 2, 32, 32), "bgc", "1 or 3 channels, and the pictures have 2; give transforms=bg"),
        ((1, 4, 32, 32), "color", "the pictures have 4"),
        ((1, 3, 32, 16), "bgcf", "larger than 21 pixels, and these have 16; give transforms=bgc"),
        ((1, 3, 21, 32), "filter", "these have 21"),
    ],
)
def test_what_it_cannot_change_is_refused(shape, transforms, message):
    for p in (0.0, 0.5):  # also before p has grown
        with pytest.raises(ConfigError, match=message):
            shown(torch.zeros(shape), p=p, transforms=transforms)


def test_two_channels_may_be_moved():
    x = images(2, 2)
    assert (shown(x, p=1.0, transforms="bg") - x).abs().max() > 0.1
    assert math.isfinite(float(shown(x, p=1.0, transforms="bg").sum()))
