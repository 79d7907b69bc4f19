"""Mixed styles, and images that move and turn by a generator's input."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from limner.api.mixing import mixed_images, save_mix
from limner.checkpoints import ModelConfig, ModelRecord, write_model
from limner.cli.main import main
from limner.core.errors import LimnerError
from limner.metrics.equivariance import shifted_by_pixels
from limner.models import StyleGan3Generator
from limner.sampling import Model, load
from styled import styled_model


@pytest.fixture
def moving(tmp_path):
    """A folder with an untrained StyleGAN3 of 32 px."""
    torch.manual_seed(0)
    config = StyleGan3Generator(
        z_dim=6, w_dim=8, channel_base=512, channel_max=16, num_layers=6, magnitude_decay=0.0
    )
    g = config.build((3, 32, 32), 0)
    with torch.no_grad():
        g.train()(torch.randn(4, 6))
    record = ModelRecord(ModelConfig(generator=config, image_shape=(3, 32, 32)), g.state_dict())
    write_model(tmp_path / "model", record)
    return tmp_path / "model"


def test_a_sheet_of_mixed_styles(tmp_path):
    model = styled_model(num_classes=2)
    out = tmp_path / "mix.png"
    assert save_mix(model, out, rows="0-1", columns="2-4", layers="0-2") == (2, 3)
    assert Image.open(out).text["layers"] == "0-2"
    everything = mixed_images(model, "0-1", "2-4", "0-2")
    assert everything.shape == (3, 4, 8, 8, 3)
    assert (everything[0, 0] == 255).all()
    assert np.array_equal(everything[1:, 0], model.sample(seeds="0-1", classes=0))
    for row in everything[1:]:  # all layers are the column's
        assert np.array_equal(row[1:], everything[0, 1:])
    one = mixed_images(model, "0-1", "2-4", "1")
    first, second = (model.styles(model.plan(seeds=s, classes=0)) for s in (0, 2))
    first[:, 1] = second[:, 1]
    assert np.array_equal(one[1, 1], model.sample(styles=first)[0])
    assert not np.array_equal(one[1, 1], everything[1, 1])


def test_styles_are_truncated():
    images = mixed_images(styled_model(), "0-1", "2", "0", truncation=0.0)
    assert all(np.array_equal(each, images[1, 0]) for each in images[1:].reshape(-1, 8, 8, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": "0-3"}, "--layers 0-3: this model has 3 layers of styles, 0 to 2"),
        ({"layers": "x"}, "--layers x: give layers from 0 on"),
        ({"rows": "0-99", "columns": "0-99"}, "take fewer seeds"),
        ({"classes": "all"}, "give one class"),
        ({"out": "a.gif"}, "--out a.gif"),
    ],
)
def test_what_cannot_be_mixed(change, message, tmp_path):
    given = {"out": tmp_path / "a.png", "layers": "0", **change}
    with pytest.raises(LimnerError, match=message):
        save_mix(styled_model(num_classes=2), **given)


def test_the_command(moving, tmp_path, capsys):
    out = tmp_path / "mix.png"
    words = ["mix", str(moving), "--rows", "0", "--columns", "1-2", "--layers", "0-3", "--json"]
    assert main([*words, "--out", str(out)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["rows"], facts["columns"]) == (1, 2)
    assert out.exists()


def test_images_move_and_turn_in_their_input(moving):
    model = load(moving, "cpu")
    before = torch.from_numpy(model.sample(num=2, as_float=True))
    model.move(0.25, -0.125)
    moved = torch.from_numpy(model.sample(num=2, as_float=True))
    expected, mask = shifted_by_pixels(before, 8, -4)
    mask = mask * shifted_by_pixels(torch.ones_like(before), 8, -4)[0][:1, :1]
    inner = mask.clone()
    inner[..., :12, :], inner[..., 24:, :], inner[..., :12], inner[..., 26:] = 0, 0, 0, 0
    error = ((moved - expected) * inner).square().sum() / (inner.sum() * 6)
    still = ((before - expected) * inner).square().sum() / (inner.sum() * 6)
    assert error < still / 20
    model.move(degrees=90.0)
    turned = torch.from_numpy(model.sample(num=2, as_float=True))
    assert not torch.allclose(turned, before)
    model.move()
    assert np.array_equal(model.sample(num=2, as_float=True), before.numpy())


def test_moves_from_the_command_line(moving, tmp_path, capsys):
    for name, words in (("a", []), ("b", ["--move", "0.1,0"]), ("c", ["--turn", "45"])):
        assert (
            main(["sample", str(moving), "--num", "1", "--out", f"{tmp_path}/{name}.png", *words])
            == 0
        )
    pictures = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "abc"]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])
    assert main(["sample", str(moving), "--move", "0.1", "--out", f"{tmp_path}/d.png"]) == 1
    assert "shares of the side" in capsys.readouterr().err


def test_others_do_not_move():
    model: Model = styled_model()
    with pytest.raises(LimnerError, match="only images of a StyleGAN3"):
        model.move(0.1)
