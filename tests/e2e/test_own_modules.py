"""Parts of one's own by the commands, without touching limner."""

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from limner.cli.main import main
from limner.data import DataConfig, prepare
from own_parts import MODULE
from runs import computed_log, learned


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch):
    """What the commands import is gone after the test; no report, no TensorBoard."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("my_gan", None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_gan.py").write_text(MODULE)
    (tmp_path / "scans.raw").write_bytes(bytes(range(256)) * 2)
    return tmp_path


def train(folder: Path, run: str, *more: str) -> int:
    what, data = f"{folder}/my_gan.py:config", str(folder / "scans.raw")
    command = ["train", what, "--data", data, "--run", str(folder / run), "--device", "cpu"]
    return main([*command, *more])


def elsewhere(folder: Path, *words: str, python_path: str = "") -> tuple[int, str]:
    """A command in a process and a directory that know nothing of the module; forked, since
    importing torch anew takes seconds. Returns the exit code and what stderr got."""
    place, errors = folder / "elsewhere", folder / "errors.txt"
    place.mkdir(exist_ok=True)
    child = os.fork()
    if not child:
        code = 70
        try:
            os.chdir(place)
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.stderr = os.fdopen(2, "w")
            sys.stdout = io.StringIO()
            sys.modules.pop("my_gan", None)
            sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
            sys.path[:0] = [python_path] if python_path else []
            code = main(list(words))
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, errors.read_text()


def test_a_run_of_own_parts_trains_resumes_and_is_named_in_its_config(folder, capsys):
    assert train(folder, "run", "--steps", "2") == 0
    assert train(folder, "run") == 0
    assert train(folder, "whole") == 0
    ends = [learned(folder / run / "checkpoints/step-00000004") for run in ("run", "whole")]
    assert ends[0] == ends[1]
    assert computed_log(folder / "run") == computed_log(folder / "whole")
    saved = json.loads((folder / "run/config.json").read_text())
    assert saved["generator"]["type"] == "my_gan:MyGenerator"
    assert saved["discriminator"]["type"] == "my_gan:MyDiscriminator"
    loss, penalty = saved["updates"][0]["terms"]
    assert loss == {"type": "my_gan:MyLoss", "margin": 0.5}
    assert penalty["gamma"] == {"type": "my_gan:MySchedule", "most": 1.0}
    assert saved["updates"][1]["direct"] == [{"type": "my_gan:MyDirect", "decay": 0.01}]
    assert saved["controllers"][1] == {"type": "my_gan:MyController", "factor": 0.9}
    assert saved["data"]["source"]["type"] == "my_gan:MySource"
    assert train(folder, "other", "--set", "updates.0.terms.0.margin=0.25", "--steps", "1") == 0
    capsys.readouterr()
    assert train(folder, "run", "--set", "updates.0.terms.0.margn=1") == 1
    assert "nearest is 'margin'" in capsys.readouterr().err
    assert main(["train", f"{folder}/my_gan.py:no_config", "--data", "digits"]) == 1
    assert "must return a limner RunConfig" in capsys.readouterr().err


def test_other_processes_are_told_which_module_is_missing(folder):
    assert train(folder, "run", "--steps", "2") == 0
    imported = folder / "my_gan.imported"
    imported.unlink()
    run, data = str(folder / "run"), str(folder / "scans.raw")
    again = ("train", f"{run}/config.json", "--data", data, "--run", run, "--device", "cpu")

    missing = subprocess.run(
        [sys.executable, "-m", "limner", *again],
        cwd=folder.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert missing.returncode == 1
    assert (1, missing.stderr) == elsewhere(folder, *again)
    assert len(missing.stderr.strip().splitlines()) == 1
    assert "needs the module 'my_gan'" in missing.stderr
    assert "PYTHONPATH" in missing.stderr

    # Sampling never imports what the user did not name, even where it could.
    sample = ("--num", "2", "--device", "cpu", "--out", str(folder / "s.npz"))
    for model in (run, f"{run}/model"):
        code, errors = elsewhere(folder, "sample", model, *sample, python_path=str(folder))
        assert code == 1
        assert len(errors.strip().splitlines()) == 1
        assert "--module my_gan" in errors
    assert not imported.exists()
    named = ("--module", f"{folder}/my_gan.py")
    assert elsewhere(folder, "sample", run, *sample, *named)[0] == 0
    assert imported.exists()
    assert (folder / "s.npz").exists()

    assert elsewhere(folder, *again, "--steps", "3", python_path=str(folder))[0] == 0
    assert elsewhere(folder, *again, "--steps", "4", *named)[0] == 0
    assert [line["step"] for line in computed_log(folder / "run")] == [1, 2, 3, 4]


def test_the_source_alone_prepares(folder):
    sys.path.insert(0, str(folder))
    import my_gan  # pyright: ignore[reportMissingImports]

    config = DataConfig(resolution=4, channels=1, labels="none", source=my_gan.MySource())
    data = prepare(str(folder / "scans.raw"), folder / "prepared", config)
    assert data.images.shape == (32, 4, 4, 1)
    assert data.info["source"]
