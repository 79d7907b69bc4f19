"""Damaged JSON files of a run: one line that names the file and the remedy, whoever reads it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import limner
from limner import api
from limner.api.scoring import recipe_of, standing_of
from limner.checkpoints import RunDirectory
from limner.cli.main import main
from limner.core.errors import CheckpointError, DataError, LimnerError
from limner.core.files import read_json
from limner.data import PreparedData
from limner.reports import write_report
from runs import eventful_config, toy_pictures

pytestmark = [pytest.mark.reliability, pytest.mark.usefixtures("no_extras")]

CONFIG = eventful_config(steps=4, standing_passes=2)
BROKEN = {
    "empty": b"",
    "cut": b'{"name": "eventf',
    "no JSON": b"name = 3",
    "no UTF-8": b'{"name": "\xff"}',
    "too deep": b"[" * 100_000,
    "a long number": b'{"name": ' + b"9" * 5000 + b"}",
    "a list": b"[]",
    "null": b"null",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RUN, a run that went on from RUN's step 2 as BRANCH, its model folder, the prepared data."""
    root = tmp_path_factory.mktemp("own")
    pictures = toy_pictures(root / "pictures.npz")
    train(root, "run", steps=2)
    train(root, "branch", origin=str(root / "run"))
    info = json.loads((root / "run" / "data.json").read_text())
    shutil.copytree(info["path"], root / "prepared")
    assert pictures.exists()
    return root


def train(root: Path, run: str, steps: int = 4, **options: Any) -> api.TrainedRun:
    options = {"device": "cpu", **options}
    config = CONFIG.replace(steps=steps)
    return limner.train(config, root / "pictures.npz", root / run, api.TrainOptions(**options))


Reading = Callable[[Path], object]
READINGS: dict[str, tuple[str, Reading]] = {
    "resume, config": ("branch/config.json", lambda root: train(root, "branch")),
    "resume, data": ("branch/data.json", lambda root: train(root, "branch")),
    "resume, origin": (
        "branch/origin.json",
        lambda root: train(root, "branch", origin=str(root / "run")),
    ),
    "branch": (
        "run/config.json",
        lambda root: train(root, "other", origin=str(root / "run"), fresh=True),
    ),
    "load, config": ("run/config.json", lambda root: limner.load(root / "run", "cpu")),
    "load, data": ("run/data.json", lambda root: limner.load(root / "run", "cpu")),
    "load a model": ("run/model/config.json", lambda root: limner.load(root / "run/model", "cpu")),
    "recipe": ("run/config.json", lambda root: recipe_of(root / "run")),
    "standing": ("run/config.json", lambda root: standing_of(root / "run")),
    "report, config": ("run/config.json", lambda root: write_report(root / "run")),
    "report, data": ("run/data.json", lambda root: write_report(root / "run")),
    "pictures": ("prepared/dataset.json", lambda root: PreparedData(root / "prepared")),
    "names": ("prepared/names.json", lambda root: PreparedData(root / "prepared").names()),
}


def refusal(root: Path, file: str, content: bytes, reading: Reading) -> str:
    """The error's line; the file is whole again afterwards."""
    path = root / file
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        with pytest.raises(LimnerError) as caught:
            reading(root)
    finally:
        path.write_bytes(kept)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", READINGS)
def test_a_broken_file_is_one_line(place, name):
    file, reading = READINGS[name]
    for damage, content in BROKEN.items():
        if (name, damage) != ("names", "a list"):
            line = refusal(place, file, content, reading)
            assert any(word in line for word in ("restore", "again", "give")), (damage, line)
    if name in ("resume, config", "resume, data", "recipe", "report, config", "names"):
        reading(place)  # the control


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("resume, data", {"sha256": None}, "sha256: Expected `str`"),
        ("resume, data", {"sha256": ...}, "lacks the key 'sha256'"),
        ("resume, data", {"num_images": ...}, "lacks the key 'num_images'"),
        ("resume, config", {"batch_size": "8"}, "batch_size: Expected `int`"),
        ("resume, origin", {"run": 3}, "run: Expected `str`"),
        ("resume, origin", {"run": ...}, "lacks the key 'run'"),
        ("load, config", {"generator": 3}, "generator: Expected `object`"),
        ("load, config", {"generator": ...}, "lacks the key 'generator'"),
        ("load, config", {"num_classes": "ten"}, "num_classes"),
        ("load, data", {"image_shape": [1, "4", 4]}, "image_shape: Expected `int`"),
        ("load, data", {"image_shape": ...}, "lacks the key 'image_shape'"),
        ("load, data", {"num_classes": ...}, "lacks the key 'num_classes'"),
        ("load, data", {"class_names": 3}, "class_names: Expected `array`"),
        ("load a model", {"image_shape": 3}, "image_shape"),
        ("recipe", {"data": 3}, "data: Expected `object`"),
        ("recipe", {"data": {"resolution": "x"}}, "data.resolution"),
        ("standing", {"standing_passes": "x"}, "standing_passes: Expected `int`"),
        ("standing", {"batch_size": ...}, "lacks the key 'batch_size'"),
        ("report, config", {"steps": "many"}, "steps: Expected"),
        ("report, data", {"num_images": "many"}, "num_images: Expected `int`"),
    ],
)
def test_a_wrong_or_missing_value_is_one_line(place, name, changes, said):
    file, reading = READINGS[name]
    plain = {**json.loads((place / file).read_bytes()), **changes}
    content = json.dumps({key: value for key, value in plain.items() if value is not ...})
    assert said in refusal(place, file, content.encode(), reading)


@pytest.mark.parametrize("file", ["config.json", "data.json"])
@pytest.mark.parametrize("words", ["evaluate", "sample", "report", "train"])
def test_the_commands_print_it(place, file, words, capsys, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    shutil.copy(run / "config.json", tmp_path / "own.json")
    (run / file).write_bytes(b"")
    arguments = {
        "evaluate": [str(run), "--data", str(place / "pictures.npz"), "--device", "cpu"],
        "sample": [str(run), "--seeds", "0", "--out", str(tmp_path / "a.png"), "--device", "cpu"],
        "report": [str(run)],
        "train": [
            *(str(tmp_path / "own.json"), "--data", str(place / "pictures.npz")),
            *("--run", str(run), "--device", "cpu"),
        ],
    }[words]
    assert main([words, *arguments]) == 1
    said = capsys.readouterr().err
    (line,) = [each for each in said.splitlines() if ": warning: " not in each]
    assert str(run / file) in line


def test_a_broken_config_to_train_is_one_line(tmp_path, capsys):
    for damage, content in BROKEN.items():
        (tmp_path / "own.json").write_bytes(content)
        assert main(["train", str(tmp_path / "own.json"), "--data", "digits"]) == 1, damage
        line = capsys.readouterr().err
        assert str(tmp_path / "own.json") in line, damage
        assert line.count("\n") == 1, damage


@pytest.mark.parametrize("file", ["config.json", "data.json"])
def test_a_missing_file_is_written_anew_and_said(place, tmp_path, file):
    """The remedy that the line gives: remove it and start the run's own command again."""
    shutil.copytree(place / "run", tmp_path / "run")
    shutil.copy(place / "pictures.npz", tmp_path)
    before = json.loads((tmp_path / "run" / file).read_bytes())
    (tmp_path / "run" / file).unlink()
    assert train(tmp_path, "run", steps=2).was_finished
    after = json.loads((tmp_path / "run" / file).read_bytes())
    assert {**after, "path": "", "name": ""} == {**before, "path": "", "name": ""}
    events = RunDirectory(tmp_path / "run").read_log("events")
    said = [e["message"] for e in events if e["event"] == "warning" and file in e["message"]]
    assert len(said) == 1
    assert "could not be checked" in said[0]


def test_the_reader_says_what_is_missing(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.json: the file is missing; restore it"):
        read_json(tmp_path / "a.json", {})
    with pytest.raises(DataError, match=r"cannot be read .*; prepare it"):
        read_json(tmp_path, {}, remedy="prepare it", error=DataError)
    (tmp_path / "a.json").write_text('{"a": 1, "b": null}')
    assert read_json(tmp_path / "a.json", {"a": int, "c": str}, ["b"]) == {"a": 1, "b": None}
