"""TensorBoard's scalars after a resume and after a run has gone back: each step once. Other trackers
by their real libraries, offline."""

import dataclasses
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import limner
from limner.core.errors import LimnerError, MissingExtra
from limner.engine import Intervals
from limner.running import trackers
from limner.running.trackers import TRACKERS, TensorBoard, Tracked, check_tracker, open_tracker


def scalars(directory) -> dict[str, list[tuple[int, float]]]:
    accumulation = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulation.EventAccumulator(str(directory))
    events.Reload()
    return {
        tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def logged(board: TensorBoard, *steps: int, loss: float) -> None:
    for step in steps:
        board.on_log({"step": step, "nimg": 8 * step, "loss_d": loss})


def scored(board: TensorBoard, step: int, value: float) -> None:
    board.on_scores({"step": step, "results": [{"name": "fd", "value": value}]})


def test_what_a_run_takes_back_is_overwritten(tmp_path):
    pytest.importorskip("torch.utils.tensorboard")
    board = TensorBoard(tmp_path, 0)
    logged(board, 10, 20, loss=1.0)
    scored(board, 20, 5.0)
    logged(board, 30, 40, loss=1.0)
    scored(board, 40, 6.0)
    logged(board, 30, loss=2.0)  # a rollback to step 25
    scored(board, 40, 7.0)
    board.close()
    assert scalars(tmp_path) == {
        "loss_d": [(10, 1.0), (20, 1.0), (30, 2.0)],
        "scores/fd": [(20, 5.0), (40, 7.0)],
    }
    board = TensorBoard(tmp_path, 30)  # the state of step 30, whose line stays
    logged(board, 40, loss=3.0)
    board.close()
    assert scalars(tmp_path)["loss_d"] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 3.0)]
    board = TensorBoard(tmp_path, 40)
    scored(board, 40, 8.0)  # an evaluation that a kill prevented
    scored(board, 35, 9.0)  # a rollback that a score is the first to show
    board.close()
    assert scalars(tmp_path)["scores/fd"] == [(20, 5.0), (35, 9.0)]


# --- other programs, by their real libraries, without a network --------------


@pytest.fixture
def run(tmp_path, monkeypatch) -> Tracked:
    """A run, and places of this test alone for all that the libraries write."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DATA_DIR": f"{tmp_path}/wandb-data",
        "WANDB_CACHE_DIR": f"{tmp_path}/wandb-cache",
        "WANDB_CONFIG_DIR": f"{tmp_path}/wandb-config",
        "MLFLOW_TRACKING_URI": f"file://{tmp_path}/mlruns",
        "MLFLOW_ALLOW_FILE_STORE": "true",
        "TRACKIO_DIR": f"{tmp_path}/trackio",
    }.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "digits"
    path.mkdir()
    return Tracked(path, {"seed": 0, "optim": {"g": {"lr": 0.5}}}, 0)


def told(name: str, run: Tracked) -> None:
    """Two calls of a run: the second goes on after step 20, and then goes back to 30."""
    sheet = run.path / "step-20.png"
    Image.new("L", (4, 4)).save(sheet)
    tracker = open_tracker(name, run)
    tracker.on_log({"step": 10, "nimg": 80, "loss_d": 1.0, "term.d.R1": 0.25})
    tracker.on_scores({"step": 20, "results": [{"name": "fd", "value": 5.0}]})
    tracker.on_sample(20, sheet)
    tracker.close()
    tracker = open_tracker(name, dataclasses.replace(run, resumed_at=20))
    tracker.on_log({"step": 40, "nimg": 320, "loss_d": 2.0})
    tracker.on_log({"step": 30, "nimg": 240, "loss_d": 3.0})
    tracker.close()


def test_mlflow_has_one_run_of_both_calls(run):
    mlflow = pytest.importorskip("mlflow")
    told("mlflow", run)
    client = mlflow.MlflowClient()
    place = client.get_experiment_by_name("limner").experiment_id
    (found,) = client.search_runs([place])
    assert (found.info.run_name, found.info.status) == ("digits", "FINISHED")
    assert found.data.params == {"seed": "0", "optim.g.lr": "0.5"}
    history = client.get_metric_history(found.info.run_id, "loss_d")
    assert {(each.step, each.value) for each in history} == {(10, 1.0), (40, 2.0), (30, 3.0)}
    assert found.data.metrics["scores/fd"] == 5.0
    assert found.data.metrics["terms/d.R1"] == 0.25
    assert [file.path for file in client.list_artifacts(found.info.run_id, "samples")] == [
        "samples/step-20.png"
    ]


def test_trackio_has_one_run_of_both_calls(run):
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    told("trackio", run)
    (name,) = SQLiteStorage.get_runs("limner")
    assert name.startswith("digits-")
    logs = SQLiteStorage.get_logs("limner", name)
    assert [(e["step"], e["loss_d"]) for e in logs if "loss_d" in e] == [(10, 1), (40, 2), (30, 3)]
    assert [(e["step"], e["scores/fd"]) for e in logs if "scores/fd" in e] == [(20, 5.0)]
    assert [e["step"] for e in logs if "samples" in e] == [20]


def test_wandb_has_one_run_of_both_calls(run):
    pytest.importorskip("wandb")
    told("wandb", run)
    records = logged_by_wandb(run)
    until = time.monotonic() + 20  # its own process writes, on a busy machine after the call's end
    while len(records) < 5 and time.monotonic() < until:
        time.sleep(0.2)
        records = logged_by_wandb(run)
    assert [(e["step"], e["loss_d"]) for e in records if "loss_d" in e] == [
        (10, 1),
        (40, 2),
        (30, 3),
    ]
    assert [(e["step"], e["scores/fd"]) for e in records if "scores/fd" in e] == [(20, 5.0)]
    assert [e["samples._type"] for e in records if "samples._type" in e] == ["image-file"]


def logged_by_wandb(run: Tracked) -> list[dict]:
    """Records of all calls, which have one identity."""
    files = sorted((run.path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len({file.stem for file in files}) == 1
    return [record for file in files for record in wandb_records(file)]


def wandb_records(file: Path) -> list[dict]:
    """What was logged, of the file that `wandb sync` sends."""
    from wandb.proto import wandb_internal_pb2

    found = []
    for data in framed(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            found.append({".".join(e.nested_key) or e.key: json.loads(e.value_json) for e in items})
    return found


def framed(content: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format: blocks of 32,768 bytes, of pieces that say their length and
    whether a record is whole (1), begins (2), goes on (3) or ends (4)."""
    place, parts = 7, []  # after the file's head, which the first block holds
    while place + 7 <= len(content):
        if 32_768 - place % 32_768 < 7:
            place += 32_768 - place % 32_768
            continue
        length, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        parts.append(content[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def test_a_tracker_that_is_not_there_is_one_line(run, monkeypatch):
    with pytest.raises(LimnerError, match=r"--track wand: no such tracker; nearest is 'wandb'"):
        check_tracker("wand")
    with pytest.raises(LimnerError, match=r"--track nowhere:Mine: No module named 'nowhere'"):
        open_tracker("nowhere:Mine", run)
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    for name in TRACKERS:
        with pytest.raises(MissingExtra, match=rf"--track {name} needs .* 'limner\[{name}\]'"):
            check_tracker(name)


class Mine:
    """A tracker of a user's own."""

    def __init__(self, run: Tracked):
        self.lines = [run.name]
        Mine.last = self.lines

    def on_log(self, record: dict) -> None:
        self.lines.append(f"log {record['step']}")

    def on_scores(self, line: dict) -> None:
        self.lines.append(f"scores {line['step']}")

    def on_sample(self, step: int, path: Path) -> None:
        self.lines.append(f"sheet {path.name}")

    def close(self) -> None:
        self.lines.append("closed")


def test_a_training_tells_its_trackers(tmp_path):
    config = limner.presets.digits_tiny().replace(
        steps=2, batch_size=8, metrics=(), intervals=Intervals(log=1, sample=2, save=0)
    )
    options = limner.TrainOptions(device="cpu", trackers=[f"{__name__}:Mine"])
    limner.train(config, "digits", tmp_path / "told", options)
    first, *lines, last = Mine.last
    assert (first, last) == ("told", "closed")
    assert [line for line in lines if line.startswith("log")] == ["log 1", "log 2"]
    assert "sheet step-00000002.png" in lines
    card = (tmp_path / "told" / "model" / "README.md").read_text()  # of the same training
    assert "1,797 pictures, `digits`" in card
    assert "digits-tiny, 2 steps, 16 real pictures shown" in card
