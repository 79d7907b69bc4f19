"""A tiny run, trained once, for the tests of the commands."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from studio_place import Place, chromium, serving

from limner.checkpoints import ModelRecord, find_model, write_model
from limner.cli.main import main
from shapes import unchecked


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True, scope="module")
def _as_users_run_it():
    """Without checks of shapes, which cost these tests a third of their time; tests of the parts have
    them."""
    with unchecked():
        yield


@pytest.fixture
def limner(capsys: pytest.CaptureFixture[str]):
    """limner(*words) -> exit code, stdout and stderr of the command, run in this process."""

    def call(*words: object) -> Answer:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of digits-tiny after four steps, with the checkpoints of steps 2 and 4."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    words = ["train", "digits-tiny", "--run", str(run), "--steps", "4", "--json"]
    changes = [
        "metrics=[]",
        "data.filter=box",
        "batch_size=16",
        "intervals.sample=2",
        "intervals.save=2",
    ]
    assert main(words + [word for change in changes for word in ("--set", change)]) == 0
    return run


@pytest.fixture(scope="session")
def studio(tiny_run: Path) -> Iterator[Place]:
    """The studio on a folder with two runs, and a model of 1,000 classes."""
    folder = tiny_run.parent / "shown"
    for name, batch_size in (("first", 16), ("second", 8)):
        shutil.copytree(tiny_run, folder / name)
        config = folder / name / "config.json"
        config.write_text(
            config.read_text().replace('"batch_size": 16', f'"batch_size": {batch_size}')
        )
    config = find_model(tiny_run).config.replace(num_classes=1000, class_names=(), origin={})
    network = config.generator.build(config.image_shape, config.num_classes)
    write_model(folder / "thousand", ModelRecord(config, network.state_dict()))
    with serving(str(folder)) as (address, process):
        yield Place(address, str(folder / "first"), process)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    with chromium() as started:
        yield started
