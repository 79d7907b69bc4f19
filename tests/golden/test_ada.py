"""The ADA pipe against the original's own pixels, each draw at a percentile."""

import json

import pytest
import torch
from ada_draws import RecordedDraws, recorded_calls
from safetensors.torch import load_file

from given_draws import GivenDraws
from limner.engine.augment import AdaPipe, Multipliers
from limner.engine.augment.geometry import _taps
from limner.engine.augment.transforms import SETS
from limner.engine.augment.wavelets import filter_bank
from limner.objectives import Memory

TOLERANCE = 2e-4
SINGLE = (
    *("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac"),
    *("brightness", "contrast", "lumaflip", "hue", "saturation", "imgfilter", "noise", "cutout"),
)
NAMED = ("blit", "geom", "color", "bg", "bgc", "bgcf", "bgcfnc")
CASES = [f"{name}_p{q}" for name in (*SINGLE, *NAMED, "gray_bgc") for q in (0.3, 0.8)]


@pytest.fixture(scope="module")
def fixture(golden):
    path = golden("stylegan2/sg2_ada.safetensors")
    return json.loads(path.with_suffix(".json").read_text())["cases"], load_file(path)


class AtPercentile(GivenDraws):
    """The original's debug_percentile: every gate open, every value the one at a percentile,
    without the factor sqrt 2 that normal ones lack there."""

    def __init__(self, q, noise):
        super().__init__()
        self.q, self.noise_image = q, noise

    def uniform(self, purpose, shape):
        q = 0.0 if purpose.endswith(" gate") else self.q
        return torch.full(shape, 0.5 if purpose == "postrot value" else q)

    def normal(self, purpose, shape):
        if purpose == "noise image":
            return self.noise_image
        q = torch.tensor(self.q if purpose == "noise value" else 2 * self.q - 1)
        return torch.erfinv(q).expand(shape)


def shown(fixture, case, images):
    cases, tensors = fixture
    name, _, q = case.removeprefix("gray_").rpartition("_p")
    kwargs = cases[f"{name}_p{q}"]["kwargs"]
    pipe = AdaPipe(p=1.0, transforms=Multipliers(**kwargs))
    if name in SETS:
        assert SETS[name] == pipe.transforms or name in SINGLE
    return pipe(images, AtPercentile(float(q), tensors.get(f"in/noise/{case}")), 0, Memory())


@pytest.mark.parametrize("case", CASES)
def test_pixels(fixture, case):
    images = fixture[1]["in/images_gray" if "gray" in case else "in/images"]
    gap = (shown(fixture, case, images) - fixture[1][f"out/{case}"]).abs().max()
    assert gap <= TOLERANCE


@pytest.mark.parametrize("case", ["bgc_p0.3", "bgc_p0.8"])
def test_gradients(fixture, case):
    images = fixture[1]["in/images"].clone().requires_grad_()
    (grad,) = torch.autograd.grad(shown(fixture, case, images), images, fixture[1][f"in/dy/{case}"])
    assert (grad - fixture[1][f"grad/{case}/images"]).abs().max() <= TOLERANCE


def test_filters(fixture):
    tensors = fixture[1]
    torch.testing.assert_close(filter_bank().float(), tensors["out/pipe_buffers/Hz_fbank"])
    torch.testing.assert_close(_taps()[0, 0].float(), tensors["out/pipe_buffers/Hz_geom"])


def test_every_case_of_the_file_is_here(fixture):
    outputs = {k.removeprefix("out/") for k in fixture[1] if k.startswith("out/")}
    assert outputs - {k for k in outputs if k.startswith("pipe_buffers")} == set(CASES)


@pytest.mark.parametrize(
    ("name", "transforms", "phases"),
    [
        ("stylegan2/sg2_16_train_ada", "bgc", {"Gmain": 1, "Dmain": 2, "Dreg": 1}),
        ("r3gan/r3gan16_train_aug", "r3gan", {"D": 2, "G": 2}),
    ],
)
def test_recorded_draws_are_those_that_a_call_asks_for(golden, name, transforms, phases):
    """Every draw of a round in its number and shape, none left; pixels by the whole step's test."""
    path = golden(f"{name}.safetensors")
    tensors = load_file(path)
    kwargs = json.loads(path.with_suffix(".json").read_text())["config"]["augment_kwargs"]
    assert SETS[transforms] == Multipliers(**kwargs)
    real = tensors[next(key for key in sorted(tensors) if key.endswith("real"))][:4]
    for phase, num_calls in phases.items():
        for number in (0, 1):
            calls = recorded_calls(tensors, f"in/step1/{phase}/r{number}")
            assert len(calls) == num_calls
            for call in calls:
                draws = RecordedDraws(call)
                shown = AdaPipe(p=0.6, transforms=transforms)(real, draws, 0, Memory())
                assert not draws.left
                assert not torch.equal(shown, real)
