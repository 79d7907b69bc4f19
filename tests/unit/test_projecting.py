"""The style that is nearest to a picture."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from limner.api.projecting import descend, project, rate_at
from limner.checkpoints import ModelConfig, ModelRecord, write_model
from limner.cli.main import main
from limner.core.errors import LimnerError
from limner.models import StyleGan2Generator
from limner.sampling import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small untrained StyleGAN2, and a picture that it makes."""
    place = tmp_path_factory.mktemp("projected")
    torch.manual_seed(0)
    config = StyleGan2Generator(z_dim=8, w_dim=8, num_mapping=2, channel_base=128, channel_max=8)
    state = config.build((3, 16, 16), 0).state_dict()
    write_model(
        place / "model", ModelRecord(ModelConfig(generator=config, image_shape=(3, 16, 16)), state)
    )
    pixels = load(place / "model", "cpu").sample(seeds=5)[0]
    Image.fromarray(pixels).save(place / "picture.png")
    return place


def test_it_comes_near_to_a_picture_of_its_own(folder):
    model = load(folder / "model", "cpu")
    before = {key: value.clone() for key, value in model.generator.state_dict().items()}
    found = project(model, folder / "picture.png", steps=60, num_styles=100)
    assert found.distances[-1] < found.distances[0] / 3
    assert found.styles.shape == (1, 6, 8)
    assert np.array_equal(model.sample(styles=found.styles)[0], found.image)
    assert all(
        torch.equal(value, before[key]) for key, value in model.generator.state_dict().items()
    )


def test_the_command(folder, tmp_path, capsys):
    out = tmp_path / "found.npz"
    words = ["project", str(folder / "model"), str(folder / "picture.png"), "--steps", "3"]
    assert main([*words, "--num-styles", "20", "--out", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["files"] == [str(out), str(out.with_suffix(".png"))]
    sample = ["sample", str(folder / "model"), "--styles", str(out), "--out", f"{tmp_path}/a.png"]
    assert main(sample) == 0
    assert main(["project", str(folder / "model"), f"{tmp_path}/none.png"]) == 1
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "text.png").write_text("x" * 200)
    assert main(["project", str(folder / "model"), f"{tmp_path}/text.png"]) == 1
    assert "not a picture" in capsys.readouterr().err


def test_the_rate_of_the_original():
    assert rate_at(0.0) == 0.0
    assert rate_at(0.025) == pytest.approx(0.5)
    assert rate_at(0.5) == 1.0
    assert rate_at(0.875) == pytest.approx(0.5)
    assert rate_at(1.0) == 0.0


def test_a_valley_is_found():
    target = torch.full((1, 1, 8, 8), 0.7)
    w, distances = descend(
        lambda w: w.view(1, 1, 1, 1).expand(1, 1, 8, 8), target, torch.zeros(1, 1), 0.1, 200
    )
    assert abs(float(w) - 0.7) < 0.01
    assert len(distances) == 200


def test_what_is_no_number_of_steps(folder):
    with pytest.raises(LimnerError, match="--steps 0"):
        project(folder / "model", folder / "picture.png", steps=0)
