"""T12, ranks: torchrun --max-restarts brings a run of two processes to the same end."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limner.api import screen, training
from limner.checkpoints import RunDirectory, list_states, load_rank_state
from limner.cli.main import main
from limner.data import Loader, PreparedData, indices
from limner.running import fit
from mortal import KILLS, MARKS, SAVE_EVERY, STEPS, Plan
from processes import in_processes
from runs import digest, result, toy_data, toy_pictures
from sizes import FULL, tallied

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
SEED = 120
TESTS = Path(__file__).resolve().parents[1]
Kill = dict[str, Any]
# torchrun's own start, and two imports of torch for every restart, on a loaded machine of two cores.
PATIENCE = 280


@pytest.fixture(autouse=True)
def _no_extras(monkeypatch: pytest.MonkeyPatch):
    """No report and no TensorBoard: they are slow to import and not what is asked here."""
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)
    for name in (KILLS, MARKS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_pictures(tmp_path_factory.mktemp("data") / "pictures.npz")


def words(pictures: Path, run: Path, *more: str) -> list[str]:
    preset = f"{TESTS / 'mortal.py'}:config"
    return ["train", preset, "--data", str(pictures), "--run", str(run), "--device", "cpu", *more]


def here(pictures: Path, run: Path, *more: str) -> list[int]:
    """The run by two forked processes, which is what torchrun would start."""
    return in_processes(2, lambda rank: main(words(pictures, run, *more)))


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.importlib.util, "find_spec", lambda name: None)
        assert here(pictures, run) == [0, 0]
    return run


def ends(run: Path) -> tuple:
    """Last state, log, and what each process keeps for itself: bit for bit."""
    newest = max(path for _, path in list_states(run / "checkpoints"))
    return result(run), [digest(load_rank_state(newest, rank)) for rank in (0, 1)]


def resumed_at(run: Path) -> list[int]:
    events = RunDirectory(run).read_log("events")
    return [event["step"] for event in events if event["event"] == "resumed"]


# --- torchrun -------------------------------------------------------------------------------


def planned(kind: str, rank: int, draw: random.Random) -> Kill:
    most = {"step": 20, "save": 3, "barrier": 9}[kind]
    step = draw.randrange(SAVE_EVERY + 1, STEPS - 2 * SAVE_EVERY)
    return {"rank": rank, "kind": kind, "step": step, "at": draw.randint(1, most)}


def trials() -> list[list[Kill]]:
    """Of each run that torchrun starts, the kills, one after each start."""
    draw = random.Random(SEED)
    if not FULL:
        return [[planned("save", 1, draw)]]
    kinds = [("step", 0)] * 3 + [("step", 1)] * 3
    kinds += [("save", trial % 2) for trial in range(3)]
    kinds += [("barrier", (trial + 1) % 2) for trial in range(3)]
    return [[planned(kind, rank, draw)] for kind, rank in kinds]


def left_over(mark: str) -> list[int]:
    """Living processes whose environment holds the mark."""
    found = []
    for directory in Path("/proc").iterdir():
        try:
            if directory.name.isdecimal() and mark.encode() in (directory / "environ").read_bytes():
                found.append(int(directory.name))
        except OSError:  # it has just ended, or is another user's
            continue
    return found


def gone(mark: str, seconds: float = 10.0) -> float | None:
    """After how many seconds nothing with the mark was left; None if something stayed."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        if not left_over(mark):
            return time.monotonic() - begin
        time.sleep(0.1)
    return None


def by_torchrun(pictures: Path, run: Path, kills: list[Kill], mark: str) -> str:
    """The public command under torchrun on the loopback; what it wrote to stderr."""
    marks = run.with_name(f"{run.name}-marks")
    marks.mkdir()
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2", "--max-restarts", "3", "-m", "--", "limner"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        "LIMNER_TEST_MARK": mark,
        KILLS: json.dumps(kills),
        MARKS: str(marks),
    }
    ended = subprocess.run(
        [*torchrun, *words(pictures, run)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in marks.iterdir()) == [
        f"killed-{number}" for number in range(len(kills))
    ]
    return ended.stderr


def test_killed_ranks_end_with_the_weights_of_the_uninterrupted_run(pictures, whole, tmp_path):
    expected, waits = ends(whole), []
    with tallied("T12 rank kills", SEED) as tally:
        for number, kills in enumerate(trials()):
            run, mark = tmp_path / f"run-{number}", uuid.uuid4().hex
            errors = by_torchrun(pictures, run, kills, mark)
            waits.append(gone(mark))
            resumed = resumed_at(run)
            good = ends(run) == expected
            good = good and waits[-1] is not None and "Traceback" not in errors
            good = good and not list(run.rglob(".tmp-*"))
            for at, kill in enumerate(kills):
                back = at < len(resumed) and kill["step"] - resumed[at] <= SAVE_EVERY
                tally.count(good and back and len(resumed) == len(kills))
        tally.more["orphans"] = sum(wait is None for wait in waits)
        tally.more["torchruns"] = len(waits)
    assert tally.failures == 0


# --- controls -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cut(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int], str]:
    """A run whose process 1 was killed in front of a collective of step 10; exit codes, stderr."""
    root = tmp_path_factory.mktemp("cut")
    kill = {"rank": 1, "kind": "barrier", "step": 10, "at": 1}

    def work(rank: int) -> int:
        os.environ[MARKS] = str(root)
        sys.stderr = open(root / f"errors-{rank}", "w")  # noqa: SIM115
        if rank == 1:
            Plan(kill, 0).install()
        return main(words(pictures, root / "run"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.importlib.util, "find_spec", lambda name: None)
        codes = in_processes(2, work)
    return root / "run", codes, (root / "errors-0").read_text()


def copied(run: Path, target: Path) -> Path:
    shutil.copytree(run, target)
    return target


def test_a_process_that_loses_the_other_ends_with_one_line(cut):
    _, codes, errors = cut
    assert codes == [1, -signal.SIGKILL]
    assert errors.splitlines()[-1].startswith("limner train: process 0 lost the others")
    assert "Traceback" not in errors


def test_control_a_dropped_state_of_a_rank_is_seen(cut, pictures, whole, tmp_path, monkeypatch):
    run = copied(cut[0], tmp_path / "run")
    monkeypatch.setattr(fit, "load_rank_state", lambda path, rank: None)
    assert here(pictures, run) == [0, 0]
    theirs, ours = ends(run), ends(whole)
    assert theirs[0] != ours[0]  # a term's memory differs between ranks and moves the weights
    assert theirs[1] != ours[1]
    assert resumed_at(run) == [8]


def test_control_a_run_that_does_not_resume_is_seen(cut, pictures, whole, tmp_path):
    """From the start again it reaches the same weights, being deterministic: the events tell."""
    run = copied(cut[0], tmp_path / "run")
    assert here(pictures, run, "--fresh") == [0, 0]
    assert ends(run) == ends(whole)
    assert resumed_at(run) == []


def test_control_an_orphan_is_found():
    mark = uuid.uuid4().hex
    child = subprocess.Popen(["sleep", "30"], env={**os.environ, "LIMNER_TEST_MARK": mark})
    try:
        # Right after exec a process's environment may still read as empty.
        until = time.monotonic() + 5
        while mark.encode() not in Path(f"/proc/{child.pid}/environ").read_bytes():
            assert time.monotonic() < until
        assert gone(mark, 0.5) is None
        assert left_over(mark) == [child.pid]
    finally:
        child.kill()
        child.wait()
    assert gone(mark) is not None


# --- another number of processes ---------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return toy_data(tmp_path_factory.mktemp("order"))


def seen_by(
    work: Callable[[int], int], count: int, log: Path, monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """The pictures that `count` processes were shown, rank after rank within each global batch."""
    original = Loader.next

    def following(loader: Loader, *batch_size: int):
        position, batch = loader.position, original(loader, *batch_size)
        line = [position, loader._places.first_row, batch.indices.tolist()]
        with open(log, "a") as file:
            file.write(json.dumps(line) + "\n")
        return batch

    with monkeypatch.context() as patch:
        patch.setattr(Loader, "next", following)
        patch.setattr(screen, "timed", lambda *_: None)  # whose steps see pictures, too
        if count == 1:
            assert work(0) == 0
        else:
            assert in_processes(count, work) == [0] * count
    lines = sorted(json.loads(line) for line in log.read_text().splitlines())
    return [index for _, _, rows in lines for index in rows]


@pytest.mark.parametrize("counts", [(2, 1), (1, 2), (2, 4)])
def test_another_number_of_processes_shows_the_same_pictures_in_the_same_order(
    pictures, tmp_path, monkeypatch, counts
):
    run, seen = tmp_path / "run", []
    with tallied(f"T12 {counts[0]} processes go on as {counts[1]}", SEED) as tally:
        for count, steps in zip(counts, (5, 12), strict=True):
            command = words(pictures, run, "--steps", str(steps), "--set", "batch_size=8")
            log = tmp_path / f"seen-{count}"
            seen += seen_by(lambda rank, c=command: main(c), count, log, monkeypatch)
        order = indices(0, 0, len(seen), 32).tolist()
        warnings = [e for e in RunDirectory(run).read_log("events") if e["event"] == "warning"]
        tally.count(seen == order)
        tally.more["images"] = len(seen)
        assert len(seen) > 96  # three epochs
        assert seen == order
        assert seen != order[::-1]  # the control
        (warning,) = warnings
        assert "equal up to rounding only" in warning["message"]
        assert f"processes {counts[0]} -> {counts[1]}" in warning["message"]
    assert resumed_at(run) == [5]
