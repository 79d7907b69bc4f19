"""Cards of model folders, and the model that comes with the package."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from limner.api.cards import MARK, write_card
from limner.api.shelf import Shelf
from limner.checkpoints import ModelConfig, ModelRecord, RunDirectory, read_model, write_model
from limner.checkpoints.model_place import BUILTIN, model_place
from limner.core.errors import LimnerError
from limner.core.files import sha256_of
from limner.models import DcganGenerator

DEMO = BUILTIN / "digits-demo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = DcganGenerator(width=4, z_dim=8, max_channels=8)
    config = ModelConfig(
        generator=network,
        image_shape=(3, 16, 16),
        origin={"kind": "run", "name": "toy", "step": 20, "nimg": 1280},
    )
    torch.manual_seed(0)
    record = ModelRecord(config, network.build((3, 16, 16), 0).state_dict())
    return write_model(tmp_path / "model", record)


def scored_run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "shapes")
    run.create()
    known = {"name": "pictures/shapes", "num_images": 60, "sha256": "ab"}
    run.data.write_text(json.dumps(known))
    for step, value in ((10, 9.0), (20, 2.5)):
        result = {"metric": "fid", "name": "fd-pixels", "value": value, "floor": 1.25}
        line = {"step": step, "nimg": step, "results": [{**result, "std": None, "num": 50}]}
        with open(run.scores, "a") as file:
            file.write(json.dumps(line) + "\n")
    return run


def test_a_card_says_what_the_model_is_and_its_scores_beside_floors(folder, tmp_path):
    text = write_card(folder, scored_run(tmp_path), licence="cc0-1.0").read_text()
    assert text.startswith("---\nlicense: cc0-1.0\nlibrary_name: limner\n")
    assert "# shapes\n" in text
    assert "16x16 with 3 channels: DcganGenerator, no classes" in text
    assert "60 pictures, `shapes` (" in text  # not the folder that they lay in
    assert "pictures/shapes" not in text
    assert "| fd-pixels | 2.5 | 1.25 |  | 50 |" in text  # of step 20, which the weights are of
    assert sha256_of(folder / "model.safetensors") in text
    assert (folder / "sheet.png").stat().st_size > 500


def test_a_card_is_written_again_until_its_user_takes_it_over(folder, tmp_path):
    card = write_card(folder, licence="mit")
    assert "None were measured" in card.read_text()
    write_card(folder, scored_run(tmp_path))
    assert "| fd-pixels | 2.5 |" in card.read_text()
    assert "license: mit\n" in card.read_text()
    write_card(folder, name="hf:ann/shapes")  # pushed: the scores stay
    assert "| fd-pixels | 2.5 |" in card.read_text()
    assert "limner sample hf:ann/shapes --num 16" in card.read_text()
    assert 'limner.load("hf:ann/shapes").sample' in card.read_text()
    sheet = (folder / "sheet.png").read_bytes()
    record = read_model(folder)
    record.generator = {name: value + 1 for name, value in record.generator.items()}
    write_model(folder, record)  # other weights
    write_card(folder)
    assert "None were measured" in card.read_text()
    assert (folder / "sheet.png").read_bytes() != sheet
    card.write_text("---\nlicense: mit\n---\nMine.\n")
    write_card(folder)
    assert card.read_text().endswith("Mine.\n")
    write_card(folder, licence="cc0-1.0")
    assert card.read_text() == "---\nlicense: cc0-1.0\n---\nMine.\n"
    card.write_text("Mine.\n")
    with pytest.raises(LimnerError, match="no line 'license: NAME'"):
        write_card(folder, licence="mit")


def test_the_package_brings_a_model_of_digits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = limner.load("digits-demo", "cpu")
    assert (model.image_shape, model.num_classes) == ((1, 32, 32), 10)
    assert model.sha256 in (DEMO / "README.md").read_text()
    assert Shelf(["digits-demo"], "cpu").model("digits-demo").sha256 == model.sha256  # the studio's
    # a class a row: pictures of a digit are like each other, and unlike those of other digits
    images = model.sample(num=8, classes="all").reshape(10, 8, -1).astype(float)
    means = images.mean(1)
    distances = np.linalg.norm(images[:, :, None] - means[None, None], axis=-1)
    assert (distances.argmin(-1) == np.arange(10)[:, None]).mean() > 0.8
    assert sum(path.stat().st_size for path in DEMO.iterdir()) < 1.5e6


def test_a_folder_of_that_name_goes_before_the_models_of_the_package(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert model_place("digits-demo:raw").path == DEMO
    shutil.copytree(folder, "digits-demo")
    assert read_model(model_place("digits-demo").path).config.image_shape == (3, 16, 16)


def test_the_models_of_the_package_keep_their_cards():
    assert MARK not in (DEMO / "README.md").read_text()
