"""Truncation in w and noise, by the way that every command goes, against the original's images."""

import pytest
import torch
from test_stylegan2 import FIXTURES, fixture_of

from golden_files import near
from limner.checkpoints import ModelConfig
from limner.sampling import Model
from limner.sampling.looks import truncated


@pytest.fixture(scope="module", params=FIXTURES)
def fixture(golden, request):
    return fixture_of(golden, request.param)


@pytest.fixture
def model(fixture):
    generator = fixture.fresh("G").eval().requires_grad_(False)
    given = fixture.record["G"]
    side, classes = given["img_resolution"], given["c_dim"]
    config = ModelConfig(
        generator=fixture.configs["G"],
        image_shape=(given["img_channels"], side, side),
        num_classes=classes,
    )
    return Model(config, generator)


def test_images_of_latents_with_and_without_truncation(fixture, model):
    latents = {"z": fixture["in/z"], "y": fixture.labels}

    def sampled(**look):
        return torch.from_numpy(model.sample(**latents, **look, as_float=True))

    near(sampled(), fixture["out/image_const"])
    near(sampled(noise="none"), fixture["out/image_none"])
    if "out/image_psi0.7_const" in fixture.tensors:  # not in the small set
        near(sampled(truncation=0.7), fixture["out/image_psi0.7_const"])
    some = model.sample(styles=fixture["out/ws_psi0.7_cut4"], as_float=True)
    near(sampled(truncation=0.7, truncation_cutoff=4), torch.from_numpy(some))


def test_truncated_styles(fixture, model):
    styles = torch.from_numpy(model.styles(model.plan(z=fixture["in/z"], y=fixture.labels)))
    mean = model.generator.mean_style
    near(truncated(styles, mean, 0.7)[:, 0], fixture["out/ws_psi0.7"])
    near(truncated(styles, mean, 0.7, 4), fixture["out/ws_psi0.7_cut4"])
