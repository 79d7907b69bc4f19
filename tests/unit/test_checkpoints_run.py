"""Run directories: logs that may be torn, which checkpoints stay, how one is named."""

import json
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from limner.checkpoints import RunDirectory, list_states, logs, save_state
from limner.core.errors import CheckpointError


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    assert not run.path.exists()
    run.create()
    return run


def save(run: RunDirectory, *steps: int) -> None:
    for step in steps:
        save_state(run.checkpoints, step, {"net": torch.full((2,), float(step))})


def score(run: RunDirectory, step: int, **values: float) -> None:
    results = [
        {
            "metric": metric,
            "name": f"{metric}-tiny",
            "value": value,
            "higher_is_better": metric != "fid",
        }
        for metric, value in values.items()
    ]
    run.append("scores", {"step": step, "nimg": step * 8, "results": results})


def family(run: RunDirectory, step: int, **values: float) -> None:
    results = [{"metric": "prdc", "name": name, "value": value} for name, value in values.items()]
    run.append("scores", {"step": step, "results": results})


def steps_of(run: RunDirectory) -> list[int]:
    return [step for step, _ in list_states(run.checkpoints)]


# --- logs ---------------------------------------------------------------------


def test_paths_are_those_of_the_interface(run: RunDirectory):
    names = ["config.json", "data.json", "log.jsonl", "scores.jsonl", "events.jsonl", "report.html"]
    files = [run.config, run.data, run.log, run.scores, run.events, run.report]
    assert [path.relative_to(run.path).as_posix() for path in files] == names
    assert [p.name for p in (run.samples, run.checkpoints, run.model, run.tensorboard)] == [
        "samples",
        "checkpoints",
        "model",
        "tensorboard",
    ]
    assert not run.exists()
    run.config.write_text("{}")
    assert run.exists()


def test_records_come_back_and_numbers_that_are_not_finite_are_null(run: RunDirectory):
    assert run.read_log("log") == []
    run.append("log", {"step": 1, "loss_d": float("nan"), "name": "ü\n"})
    run.append("log", {"step": 2, "list": [1.5, float("inf")]})
    run.sync_logs()
    assert run.read_log("log") == [
        {"step": 1, "loss_d": None, "name": "ü\n"},
        {"step": 2, "list": [1.5, None]},
    ]


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_torn_last_line_is_passed_over_and_cut_off(run: RunDirectory, cut: int):
    run.append("log", {"step": 1})
    run.append("log", {"step": 2, "a": 3})
    content = run.log.read_bytes()
    run.log.write_bytes(content[:-cut])
    # without its newline alone, or cut off whole, nothing is torn
    second = [{"step": 2, "a": 3}] if cut == 1 else []
    assert run.read_log("log") == [{"step": 1}, *second]
    run.append("log", {"step": 3})
    assert run.read_log("log") == [{"step": 1}, *second, {"step": 3}]
    assert run.log.read_bytes().endswith(b'{"step": 3}\n')


def test_a_damaged_line_in_the_middle_is_named(run: RunDirectory):
    run.log.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(CheckpointError, match=r"log\.jsonl: line 2"):
        run.read_log("log")


def test_resume_drops_what_lies_beyond(run: RunDirectory):
    for name in ("log", "scores", "events"):
        for step in (100, 200, 300):
            run.append(name, {"step": step, "text": "ü"})
    with open(run.log, "ab") as file:
        file.write(b'{"step": 150, "te')
    untouched = run.path / "scores.jsonl"
    before = untouched.read_bytes()
    run.truncate_logs(200)
    for name in ("log", "scores", "events"):
        assert [record["step"] for record in run.read_log(name)] == [100, 200]
        assert (run.path / f"{name}.jsonl").read_bytes() == before[: len(before) * 2 // 3]
    inode = untouched.stat().st_ino
    run.truncate_logs(200)
    assert untouched.stat().st_ino == inode  # nothing to drop: nothing is written


def test_resume_drops_what_a_loss_of_power_damaged(run: RunDirectory):
    """A disk may write the second of two lines and leave zeros where the first should be."""
    for name in ("log", "events"):
        for step in (100, 200, 300):
            run.append(name, {"step": step})
        path = run.path / f"{name}.jsonl"
        path.write_bytes(path.read_bytes().replace(b'{"step": 200}\n', b"\0" * 14))
    run.truncate_logs(200)
    assert [record["step"] for record in run.read_log("log")] == [100]
    run.append("log", {"step": 200})
    run.append("log", {"step": 300})
    run.log.write_bytes(run.log.read_bytes().replace(b'{"step": 200}\n', b"\0" * 14))
    run.append("log", {"step": 200})
    with pytest.raises(CheckpointError, match=r"log\.jsonl: line 2"):
        run.truncate_logs(200)  # what was flushed before the checkpoint is gone
    run.events.write_bytes(b"\0" * 14 + b'{"step": 200}\n{"step": 200}\n')
    run.log.unlink()
    run.truncate_logs(200)
    assert run.read_log("events") == [{"step": 200}]


# --- leftovers -----------------------------------------------------------------


def test_leftovers_go_and_a_displaced_state_returns(run: RunDirectory):
    save(run, 1, 2)
    (run.checkpoints / ".tmp-step-00000003").mkdir()
    (run.checkpoints / ".tmp-step-00000003" / "x.json").write_text("{")
    (run.path / ".tmp-config.json-1-abc").write_text("{")
    (run.checkpoints / "step-00000002").rename(run.checkpoints / ".replaced-step-00000002")
    assert steps_of(run) == [1, 2]
    assert run.select("") == run.checkpoints / "step-00000002"
    assert len(run.remove_leftovers()) == 3
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["step-00000001", "step-00000002"]
    assert run.remove_leftovers() == []


# --- pruning -------------------------------------------------------------------


def test_prune_keeps_newest_best_and_milestones(run: RunDirectory):
    save(run, *range(1, 11))
    fid = {1: 50.0, 2: 9.0, 3: 7.0, 4: 8.0, 5: 30.0}
    for step, value in fid.items():
        score(run, step, fid=value, coverage=step / 10 if step != 1 else 0.9)
    removed = run.prune(keep_newest=2, keep_best=1, milestone_every=4)
    # newest 9 10; smallest fid 3; largest coverage 1; milestones 4 8
    assert steps_of(run) == [1, 3, 4, 8, 9, 10]
    assert removed == [2, 5, 6, 7]
    assert run.prune(keep_newest=2, keep_best=2, milestone_every=None) == [8]
    assert steps_of(run) == [1, 3, 4, 9, 10]  # fid 3 4; coverage 1 and, of those left, 4
    assert run.prune(keep_newest=1, keep_best=0) == [1, 3, 4, 9]


def test_prune_never_takes_the_last_whole_one(run: RunDirectory):
    save(run, *range(1, 6))
    for step in (4, 5):
        (run.checkpoints / f"step-{step:08d}" / "state.json").write_text("{}")
    assert run.prune(keep_newest=1, keep_best=0, milestone_every=0) == [1, 2]
    assert steps_of(run) == [3, 4, 5]
    assert run.prune(keep_newest=0, keep_best=0) == []


def test_prune_notices_a_state_that_was_written_again(run: RunDirectory):
    save(run, 1, 2)
    run.prune(keep_newest=1, keep_best=0)
    save(run, 3)
    run.prune(keep_newest=2)
    manifest = run.checkpoints / "step-00000003" / "manifest.json"
    manifest.write_text("{}")
    save(run, 4)
    assert run.prune(keep_newest=2) == []
    assert steps_of(run) == [2, 3, 4]


def test_each_figure_of_a_family_keeps_its_best(run: RunDirectory):
    save(run, 1, 2, 3, 4)
    family(run, 1, recall=0.9, coverage=0.1)
    family(run, 2, recall=0.2, coverage=0.8)
    family(run, 3, recall=0.3, coverage=0.3)
    assert run.prune(keep_newest=1, keep_best=1) == [3]
    assert run.select("best-recall").name == "step-00000001"
    assert run.select("best-coverage").name == "step-00000002"


def test_a_line_says_its_own_direction_whatever_its_metric_is_called(run: RunDirectory):
    save(run, 1, 2)
    for step, value in ((1, 5.0), (2, 4.0)):
        result = {"metric": "mine:Sharp", "name": "sharp", "value": value, "higher_is_better": True}
        run.append("scores", {"step": step, "results": [result]})
    assert run.select("best-sharp").name == "step-00000001"
    run.scores.write_text(
        '{"step": 1, "results": [{"metric": "a", "name": "a", "value": 1.0, "higher_is_better": 1}]}\n{}\n'
    )
    with pytest.raises(CheckpointError, match="line 1"):
        run.figures()


# --- selectors -----------------------------------------------------------------


def test_selectors(run: RunDirectory):
    save(run, 100, 200, 300)
    score(run, 100, fid=5.0, precision=0.9)
    score(run, 200, fid=4.0, precision=0.8)
    score(run, 50, fid=1.0)  # its checkpoint is gone

    def selected(selector: str) -> str:
        return run.select(selector).name

    assert selected("") == "step-00000300"
    assert selected("step-100") == "step-00000100"
    assert selected("step-00000200") == "step-00000200"
    assert selected("best-fid") == "step-00000200"
    assert selected("best-fid-tiny") == "step-00000200"
    assert selected("best-precision") == "step-00000100"
    assert selected("best-precision-tiny") == "step-00000100"


@pytest.mark.parametrize(
    ("selector", "named"),
    [
        ("step-7", "step-100, step-200"),
        ("best-fidd", "nearest is 'fid'"),
        ("best-kid", "measured at steps 50.* step-100, step-200"),
        ("best-prdc", "several figures: coverage, recall; write best-coverage"),
        ("best-", "write step-N or best-METRIC"),
        ("newest", "write step-N or best-METRIC"),
        ("step-x", "write step-N or best-METRIC"),
    ],
)
def test_a_wrong_selector_says_what_there_is(run: RunDirectory, selector: str, named: str):
    save(run, 100, 200)
    score(run, 100, fid=5.0)
    score(run, 50, kid=5.0)
    family(run, 100, recall=0.5, coverage=0.25)
    with pytest.raises(CheckpointError, match=named):
        run.select(selector)


def test_select_in_an_empty_or_damaged_run(run: RunDirectory):
    with pytest.raises(CheckpointError, match="no checkpoints here"):
        run.select("")
    save(run, 100, 200)
    with pytest.raises(CheckpointError, match="holds no results yet"):
        run.select("best-fid")
    (run.checkpoints / "step-00000200" / "net.safetensors").write_bytes(b"")
    lines: list[str] = []
    assert run.select("", lines.append).name == "step-00000100"
    assert len(lines) == 1
    with pytest.warns(UserWarning, match=r"net\.safetensors"):
        run.select("")
    with pytest.raises(CheckpointError, match="0 bytes instead of"):
        run.select("step-200")


def test_values_that_are_no_numbers_are_no_scores(run: RunDirectory):
    save(run, 1, 2)
    score(run, 1, fid=float("nan"))
    score(run, 2, fid=3.0)
    assert json.loads(run.scores.read_text().splitlines()[0])["results"][0]["value"] is None
    assert run.figures() == {"fid-tiny": {2: 3.0}}
    assert run.select("best-fid").name == "step-00000002"


# --- what was read is not read again --------------------------------------------


class CountedFile:
    def __init__(self, file: BinaryIO, cost: "Cost"):
        self.file, self.cost = file, cost
        self.seek, self.fileno = file.seek, file.fileno

    def __enter__(self) -> "CountedFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def read(self) -> bytes:
        content = self.file.read()
        self.cost.bytes += len(content)
        return content


class Cost:
    """What reading a log costs: lines parsed and bytes read since the last `take`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.lines, self.bytes, parsed = 0, 0, logs._parsed

        def parse(line: bytes):
            self.lines += bool(line)
            return parsed(line)

        def opened(path: Path, mode: str, **options):
            file = open(path, mode, **options)  # noqa: SIM115 - handed on
            return CountedFile(file, self) if mode == "rb" else file

        monkeypatch.setattr(logs, "_parsed", parse)
        monkeypatch.setattr(logs, "open", opened, raising=False)

    def take(self) -> tuple[int, int]:
        taken = (self.lines, self.bytes)
        self.lines = self.bytes = 0
        return taken


def test_pruning_reads_only_what_was_added(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    """Its cost at a save is the same after 10 and after 500 evaluations of 12 figures."""
    names = [f"figure-{number:02}" for number in range(12)]
    save(run, 1, 2, 3)
    cost = Cost(monkeypatch)
    costs = []
    for step in range(1, 501):
        family(run, step, **dict.fromkeys(names, float(step)))
        run.prune(keep_newest=3)
        costs.append(cost.take())
    size = len(run.scores.read_bytes()) // 500
    assert {lines for lines, _ in costs} == {1}
    assert max(read for _, read in costs) < 3 * size  # the line before, and the new one
    run.prune(keep_newest=3)
    assert run.best_steps("figure-00", 2) == [3, 2]
    lines, read = cost.take()
    assert (lines, read < 10 * size) == (0, True)


def test_scores_that_were_replaced_cut_or_changed_are_read_anew(run: RunDirectory):
    def values() -> dict[int, float]:
        assert run.figures() == RunDirectory(run.path).figures()
        assert run.families() == RunDirectory(run.path).families()
        return run.figures().get("fid-tiny", {})

    assert values() == {}
    score(run, 1, fid=5.0)
    score(run, 2, fid=4.0)
    assert values() == {1: 5.0, 2: 4.0}
    assert (run.is_scored(2), run.is_scored(3)) == (True, False)
    run.truncate_logs(1)
    assert values() == {1: 5.0}
    assert not run.is_scored(2)
    whole = run.scores.read_bytes()
    run.scores.write_bytes(whole.replace(b"5.0", b"6.0"))  # in place, of the same length
    assert values() == {1: 6.0}
    with open(run.scores, "ab") as file:
        file.write(whole.replace(b'"step": 1', b'"step": 3')[:-1])  # without its newline
    assert values() == {1: 6.0, 3: 5.0}
    score(run, 4, fid=1.0)
    assert values() == {1: 6.0, 3: 5.0, 4: 1.0}
    run.scores.unlink()
    assert values() == {}


def test_a_damaged_line_is_refused_every_time(run: RunDirectory):
    score(run, 1, fid=5.0)
    assert run.figures()
    with open(run.scores, "ab") as file:
        file.write(b'{"step": 2, "results": 3}\n')
    for _ in range(2):
        with pytest.raises(CheckpointError, match="line 2 is not"):
            run.figures()
    run.truncate_logs(1)
    assert run.figures() == {"fid-tiny": {1: 5.0}}
