"""T15 and T4 with two processes: they roll back together, and a disk that refuses one ends both.

Each process is a fork with torchrun's environment that runs the public command's entry point.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults import Call, watched
from limner.api import screen
from limner.checkpoints import RunDirectory, list_states, load_rank_state, load_state
from limner.cli.main import main
from limner.core.config import to_json
from limner.engine import Intervals, RunConfig
from limner.engine.trainer import Trainer
from limner.running import rollback
from limner.running.fit import Fit
from planted import Plant, planted_config
from processes import in_processes
from runs import digest, eventful_config, result, toy_pictures
from sizes import tallied

# Planted pictures are floats, where the trainer expects uint8.
pytestmark = [
    pytest.mark.reliability,
    pytest.mark.usefixtures("no_extras"),
    pytest.mark.skipif(sys.platform != "linux", reason="forked process groups on the loopback"),
]
Prepare = Callable[[int], Any]
SAVING = eventful_config(steps=8, intervals=Intervals(log=1, sample=0, save=2, milestone=0))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_pictures(tmp_path_factory.mktemp("data") / "pictures.npz")


def in_two(
    root: Path,
    config: RunConfig,
    pictures: Path,
    *more: str,
    prepare: Prepare = lambda rank: None,
) -> tuple[list[int], list[str]]:
    """Exit codes and last lines of two processes that train in root/run; `prepare(rank)` first."""
    root.mkdir(exist_ok=True)
    (root / "config.json").write_text(to_json(config))
    places = ("--data", str(pictures), "--run", str(root / "run"))
    words = ["train", str(root / "config.json"), *places, "--device", "cpu", *more]

    def work(rank: int) -> int:
        sys.stderr = open(root / f"errors-{rank}", "w")  # noqa: SIM115
        screen.timed = lambda *_: None  # whose steps would be seen, too
        prepare(rank)
        return main(words)

    codes = in_processes(2, work)
    said = [(root / f"errors-{rank}").read_text() for rank in (0, 1)]
    assert "Traceback" not in said[0] + said[1]
    return codes, [text.strip().rpartition("\n")[2] for text in said]


def events(root: Path, *kinds: str) -> list[dict[str, Any]]:
    return [e for e in RunDirectory(root / "run").read_log("events") if e["event"] in kinds]


# --- rollback --------------------------------------------------------------------------------


def parameters(trainer: Trainer) -> str:
    return digest({name: dict(net.named_parameters()) for name, net in trainer.networks.items()})


def buffers(trainer: Trainer) -> str:
    return digest({name: dict(net.named_buffers()) for name, net in trainer.networks.items()})


def following(root: Path, planted: int) -> Prepare:
    """The fault in one process only; every step and resume leaves the hash of the weights."""

    def prepare(rank: int) -> None:
        if rank != planted:
            Plant.before_step = lambda plant, trainer, memory: None
        step, resume = Trainer.step, Fit.resume

        def write(kind: str, trainer: Trainer) -> None:
            progress = trainer.progress
            with open(root / f"seen-{rank}", "a") as file:
                file.write(
                    f"{kind} {progress.step} {progress.rollbacks} "
                    f"{parameters(trainer)} {buffers(trainer)}\n"
                )

        def stepping(trainer: Trainer) -> None:
            step(trainer)
            write("step", trainer)

        def resuming(fit: Fit, *arguments: Any, **named: Any) -> None:
            resume(fit, *arguments, **named)
            write("resumed", fit.trainer)

        Trainer.step, Fit.resume = stepping, resuming

    return prepare


def seen(root: Path) -> list[list[list[str]]]:
    """Of each process: [kind, step, rollbacks, weights, buffers] of each line."""
    texts = [(root / f"seen-{rank}").read_text() for rank in (0, 1)]
    return [[line.split() for line in text.splitlines()] for text in texts]


@pytest.mark.parametrize(("place", "player", "planted"), [("input", "d", 1), ("weight", "g", 0)])
def test_both_roll_back_together_to_the_same_weights(tmp_path, pictures, place, player, planted):
    config = planted_config(place, player, at=3, times=1, steps=7, batch_size=8)
    with tallied(f"T15 rollback of two processes, fault in {planted}") as tally:
        codes, _ = in_two(
            tmp_path,
            config,
            pictures,
            "--on-divergence",
            "rollback",
            prepare=following(tmp_path, planted),
        )
        first, second = seen(tmp_path)
        assert codes == [0, 0]
        assert [line[:3] for line in first] == [
            *(["step", str(k), "0"] for k in (1, 2, 3)),
            ["resumed", "3", "1"],
            *(["step", str(k), "1"] for k in (4, 5, 6, 7)),
        ]
        assert [line[:4] for line in second] == [line[:4] for line in first]
        assert first[3][3] == first[2][3]  # the weights of step 3, in both
        assert len({line[3] for line in first}) == 7  # the control: other steps have others
        assert first[6][4] != second[6][4]  # each has statistics of its own
        tally.count(True)
    diverged, rolled = events(tmp_path, "diverged", "rolled back")
    assert (diverged["event"], rolled["event"]) == ("diverged", "rolled back")
    # The first process writes it, whichever has met the fault.
    named = {"input": "the real pictures (rows 2 of the batch", "weight": "generator weight first"}
    assert f"process {planted}: {named[place]}" in diverged["message"]


def test_a_stop_after_the_rollback_of_two_resumes_exactly(tmp_path, pictures):
    config = planted_config("statistic", "d", at=3, times=1, steps=8)
    option = ("--on-divergence", "rollback")
    assert in_two(tmp_path / "whole", config, pictures, *option)[0] == [0, 0]
    for steps in (5, 8):
        parts = config.replace(steps=steps)
        assert in_two(tmp_path / "parts", parts, pictures, *option)[0] == [0, 0]
    assert ends(tmp_path / "parts") == ends(tmp_path / "whole")


def test_one_fault_too_many_ends_both(tmp_path, pictures):
    config = planted_config("gradient", "d", at=2, times=9, steps=5)
    prepare = following(tmp_path, 1)
    codes, lines = in_two(
        tmp_path, config, pictures, "--on-divergence", "rollback", prepare=prepare
    )
    assert codes == [1, 1]
    assert all("step 3 " in line and "is not finite" in line for line in lines)
    assert len(events(tmp_path, "diverged")) == 3
    assert load_state(RunDirectory(tmp_path / "run").select(""))["progress"]["step"] == 2


def test_processes_that_see_different_checkpoints_do_not_go_on(tmp_path, pictures):
    """As with a network file system that is behind: their weights would never be equal again."""
    config = planted_config("weight", "g", at=3, times=1, steps=7)

    def prepare(rank: int) -> None:
        if rank == 1:
            oldest = lambda path, warn: next((p for _, p in list_states(path)), None)  # noqa: E731
            rollback.newest_verified = oldest

    codes, lines = in_two(
        tmp_path, config, pictures, "--on-divergence", "rollback", prepare=prepare
    )
    assert codes == [1, 1]
    assert all("different checkpoints" in line for line in lines)


# --- disks that refuse one of them -----------------------------------------------------------


def refusing(root: Path, which: int, name: str, steps: range) -> Prepare:
    """In one process no file whose path holds `name` can be written, after those steps."""

    entered = contextlib.ExitStack()  # to the process's end

    def prepare(rank: int) -> None:
        if rank != which:
            return
        step, at = Trainer.step, [0]

        def stepping(trainer: Trainer) -> None:
            step(trainer)
            at[0] = trainer.progress.step

        def hook(call: Call) -> None:
            if at[0] in steps and name in call.path and call.kind in ("open", "write", "mkdir"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        Trainer.step = stepping
        entered.enter_context(watched(root / "run", hook))

    return prepare


def ends(root: Path) -> tuple:
    """Last state, log, and what each process keeps for itself: bit for bit."""
    newest = max(path for _, path in list_states(root / "run" / "checkpoints"))
    return result(root / "run"), [digest(load_rank_state(newest, rank)) for rank in (0, 1)]


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    root = tmp_path_factory.mktemp("whole")
    assert in_two(root, SAVING, pictures)[0] == [0, 0]
    return ends(root)


@pytest.mark.parametrize("which", [0, 1])
def test_saves_that_fail_in_one_process_are_missed_by_both(tmp_path, pictures, whole, which):
    config, prepare = (
        SAVING.replace(failed_saves=2),
        refusing(tmp_path, which, "/.tmp-step-", range(6)),
    )
    with tallied(f"T4 two processes, process {which} refused") as tally:
        codes, _ = in_two(tmp_path, config, pictures, prepare=prepare)
        warned = [e["message"] for e in events(tmp_path, "warning")]
        good = codes == [0, 0] and ends(tmp_path) == whole
        good = good and sum("failed saves in a row" in line for line in warned) == 2
        tally.count(good and not list((tmp_path / "run").rglob(".tmp-*")))
    assert tally.failures == 0, (codes, warned)


@pytest.mark.parametrize("which", [0, 1])
def test_one_failed_save_too_many_ends_both(tmp_path, pictures, which):
    config, prepare = (
        SAVING.replace(failed_saves=1),
        refusing(tmp_path, which, "/.tmp-step-", range(99)),
    )
    codes, lines = in_two(tmp_path, config, pictures, prepare=prepare)
    assert codes == [1, 1]
    assert "bytes needed" in lines[which]
    assert "the save failed in another process" in lines[1 - which]
    assert list_states(tmp_path / "run" / "checkpoints") == []
    log = RunDirectory(tmp_path / "run").read_log("log")
    assert [line["step"] for line in log] == [1, 2, 3, 4]


def test_a_log_that_the_disk_refuses_ends_both(tmp_path, pictures):
    """Only the first process writes logs; the other must not wait for it."""
    prepare = refusing(tmp_path, 0, "/log.jsonl", range(3, 99))
    codes, lines = in_two(tmp_path, SAVING, pictures, prepare=prepare)
    assert codes == [1, 1]
    assert "log.jsonl" in lines[0]
    assert os.strerror(errno.ENOSPC) in lines[0]
    assert "process 1 lost the others" in lines[1]


def test_a_rollback_with_lines_that_cannot_be_written_ends_both(tmp_path, pictures):
    config = planted_config("weight", "g", at=5, times=1, failed_saves=9)
    config = config.replace(intervals=config.intervals.replace(log=1))
    prepare = refusing(tmp_path, 0, "/log.jsonl", range(4, 99))
    codes, lines = in_two(
        tmp_path, config, pictures, "--on-divergence", "rollback", prepare=prepare
    )
    assert codes == [1, 1]
    assert "log.jsonl" in lines[0]
    assert "process 0, whose line says why" in lines[1]


# --- a process that stands still -------------------------------------------------------------


def test_a_process_that_is_stopped_and_continued_changes_nothing(tmp_path, pictures, whole):
    """The others wait for it: nothing times out within a day, and the bits are the same."""
    mark = tmp_path / "stopped"

    def wake() -> None:
        while not mark.exists():
            time.sleep(0.01)
        time.sleep(0.5)  # process 0 has come to the next sum over the processes
        os.kill(int(mark.read_text()), signal.SIGCONT)

    def prepare(rank: int) -> None:
        step = Trainer.step

        def stepping(trainer: Trainer) -> None:
            if trainer.progress.step == 3 and rank == 1:
                mark.with_suffix(".new").write_text(str(os.getpid()))
                mark.with_suffix(".new").rename(mark)
                os.kill(os.getpid(), signal.SIGSTOP)
            step(trainer)

        Trainer.step = stepping
        if rank == 0:
            threading.Thread(target=wake, daemon=True).start()

    assert in_two(tmp_path, SAVING, pictures, prepare=prepare)[0] == [0, 0]
    assert mark.exists()
    assert ends(tmp_path) == whole
