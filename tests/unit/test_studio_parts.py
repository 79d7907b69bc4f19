"""What the studio is made of, without its page: pieces of a plan, recipes read back, the shelf."""

import numpy as np
import pytest
from PIL import Image
from toy_sampling import toy_model

from limner.api.drawing import pieces
from limner.api.recipes import read_recipe
from limner.api.samples import SampleOptions, plan_of, save_samples
from limner.api.shelf import Shelf
from limner.checkpoints import ModelRecord, RunDirectory, write_model
from limner.core.errors import CheckpointError, LimnerError
from styled import styled_model


def drawn(model, options: SampleOptions) -> np.ndarray:
    return model.draw(plan_of(model, options), options.batch_size)


def test_pieces_are_the_plan_in_its_order():
    model = toy_model(num_classes=3)
    plan = model.plan(num=7)
    found = list(pieces(model, plan, 3))
    assert [(piece.begin, len(piece.images)) for piece in found] == [(0, 3), (3, 3), (6, 1)]
    whole = np.concatenate([piece.images for piece in found])
    assert np.array_equal(whole, model.draw(plan, 3))


MIXED = np.tile(np.array([1 / 3, 0, 2 / 3], np.float32), (3, 1))
ASKED = [
    SampleOptions(seed=7),
    SampleOptions(num=5, seed=3),
    SampleOptions(seeds="4,9,1"),
    SampleOptions(seeds="0-2", classes="2,0"),
    SampleOptions(num=2, classes=[1], truncation=0.123456789),
    SampleOptions(num=3, truncation=0.5, truncation_mode="scale"),
    SampleOptions(num=3, seed=2, y=MIXED),
    SampleOptions(seed=2, y=MIXED[:1]),
    SampleOptions(grid="4x2", seed=5, classes="1"),
]


@pytest.mark.parametrize("suffix", [".png", ".webp"])
@pytest.mark.parametrize("options", ASKED, ids=range(len(ASKED)))
def test_a_picture_tells_what_makes_it_again(options, suffix, tmp_path):
    model, out = toy_model(num_classes=3), tmp_path / f"a{suffix}"
    save_samples(model, out, options)
    recipe = read_recipe(out)
    assert recipe.model_sha256 == model.sha256
    assert np.array_equal(drawn(model, recipe.options), drawn(model, options))


def test_a_picture_tells_its_styles_and_noise(tmp_path):
    model = styled_model(num_classes=2)
    options = SampleOptions(num=3, truncation=-0.7, truncation_cutoff=2, noise="random")
    save_samples(model, tmp_path / "a.png", options)
    again = read_recipe(tmp_path / "a.png").options
    assert np.array_equal(drawn(model, again), drawn(model, options))


def test_pictures_without_a_recipe_are_told(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, words in (("plain.png", "does not say"), ("text.png", "no picture")):
        with pytest.raises(LimnerError, match=words):
            read_recipe(tmp_path / name)


def test_the_shelf_finds_folders_of_models_and_loads_anew(tmp_path):
    model = toy_model(num_classes=2)
    for name in ("one", "two"):
        folder = tmp_path / "all" / name
        write_model(folder, ModelRecord(model.config, model.generator.state_dict()))
    shelf = Shelf([str(tmp_path / "all")], "cpu")
    names = shelf.models()
    assert names == [str(tmp_path / "all" / name) for name in ("one", "two")]
    assert shelf.runs() == {}
    begun = RunDirectory(tmp_path / "all" / "run")
    begun.create()
    begun.config.write_text("{}")
    assert list(shelf.runs()) == [str(begun.path)]
    assert str(begun.path) not in shelf.models()
    first = shelf.model(names[0])
    assert shelf.model(names[0]) is first
    write_model(tmp_path / "all" / "three", ModelRecord(model.config, model.generator.state_dict()))
    assert len(shelf.models()) == 3
    with pytest.raises(LimnerError, match="no model 'four'"):
        shelf.model("four")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="neither a model"):
        Shelf([str(tmp_path / "empty")])


def test_real_pictures_are_those_named_else_those_of_the_run(tmp_path):
    model = toy_model(num_classes=2)
    name = str(
        write_model(tmp_path / "one", ModelRecord(model.config, model.generator.state_dict()))
    )
    (tmp_path / "real").mkdir()
    for value in (10, 200):
        Image.new("RGB", (16, 12), (value,) * 3).save(tmp_path / "real" / f"{value}.png")
    found = Shelf([name], "cpu", tmp_path / "real").pictures(name)
    assert found.images[:, 0, 0, 0].tolist() == [10, 200]
    assert found.image_shape == model.image_shape
    with pytest.raises(LimnerError, match="start the studio with --data DIR"):
        Shelf([name], "cpu").pictures(name)
    with pytest.raises(LimnerError, match="nowhere"):
        Shelf([name], "cpu", tmp_path / "nowhere")
