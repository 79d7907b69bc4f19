"""Disks that lose power, fill up or fail (T3, T4).

A kill says nothing about a loss of power: what a dead process wrote is still in the system's
memory. T3 therefore records the calls of real runs and replays what a disk may hold after each:
all that was flushed, and any part of what was not.
"""

import errno
import itertools
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from disks import Change, Recorder, after_loss, fingerprint, tree_of, written
from faults import REFUSALS, Call, Refuse, leftovers, watched
from limner import api
from limner.checkpoints import (
    RunDirectory,
    list_states,
    load_state,
    newest_verified,
    read_model,
    save_state,
)
from limner.cli.main import main
from limner.core.errors import CheckpointError, DiskError
from limner.engine import Intervals
from runs import eventful_config, result, toy_pictures
from sizes import sized, tallied
from warm import Warm

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.usefixtures("no_extras"),
    pytest.mark.skipif(sys.platform == "win32", reason="flushes and renames of POSIX"),
]

SEED = 4
CONFIG = eventful_config(
    steps=6, intervals=Intervals(log=1, sample=3, save=2, milestone=0), keep_best=0
)
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


@pytest.fixture(scope="module")
def pictures(place: Path) -> Path:
    return toy_pictures(place / "toys.npz")


def trained(run: Path, pictures: Path, config: Any, **hooks: Any) -> None:
    api.train(config, pictures, run, api.TrainOptions(device="cpu", **hooks))


@pytest.fixture(scope="module")
def whole(place: Path, pictures: Path) -> Path:
    trained(place / "whole", pictures, CONFIG)
    return place / "whole"


# --- T3: a loss of power ---------------------------------------------------------------


def loadable(run: Path) -> tuple[int, bool]:
    """The step of the newest checkpoint (-1: none, -2: none is whole), with all log lines up to it;
    and whether there is a model."""
    try:
        taken = newest_verified(run / "checkpoints", lambda line: None)
        step = -1 if taken is None else load_state(taken)["progress"]["step"]
        if step >= 0:
            RunDirectory(run).truncate_logs(step)  # what a resume begins with
            RunDirectory(run).read_log("events")
            logged = [line["step"] for line in RunDirectory(run).read_log("log")]
            assert RunDirectory(run).exists()
            if logged[:step] != list(range(1, step + 1)):
                step = -2
    except CheckpointError:
        step = -2
    try:
        read_model(run / "model")
    except CheckpointError:
        return step, False
    return step, True


@dataclass
class Replay:
    """Judges all states after a loss of power at each event; equal states are judged once."""

    recorder: Recorder
    place: Path
    num_random: int
    draw: random.Random = field(default_factory=lambda: random.Random(SEED))
    seen: dict[bytes, tuple[int, bool]] = field(default_factory=dict)
    num_states: int = 0

    def bad_states(self, events: list[Change | int], until: int) -> int:
        """How many states after the first `until` events lack what had been acknowledged."""
        promised = [step for step, at in self.saves() if at <= until]
        wanted = max(promised, default=-1)
        with_model = any(at <= until for at in self.recorder.marks.get("model", []))
        bad = 0
        for changes in after_loss(events[:until], self.draw, self.num_random):
            tree = tree_of(changes)
            key = fingerprint(tree)
            if key not in self.seen:
                written(tree, self.place)
                self.seen[key] = loadable(self.place / "runs" / "toy")
            step, model = self.seen[key]
            self.num_states += 1
            # Before the first save there may be none, or a torn one is told from none by its error.
            bad += step < wanted or (with_model and not model)
        return bad

    def saves(self) -> list[tuple[int, int]]:
        marks = self.recorder.marks
        return [
            (int(name.removeprefix("saved ")), at)
            for name, places in marks.items()
            if name.startswith("saved ")
            for at in places
        ]


@pytest.fixture(scope="module")
def recorded(place: Path, pictures: Path) -> Recorder:
    """Two calls of `train`, the second resuming the first's end and replacing its model."""
    root = place / "recorded"
    root.mkdir()
    recorder = Recorder(os.path.realpath(root))

    def on_event(event: str, message: str) -> None:
        if event in ("saved", "finished"):
            recorder.mark(f"saved {message.rsplit(' ', 1)[1]}")

    config = CONFIG.replace(intervals=CONFIG.intervals.replace(sample=0))
    with watched(root, recorder):
        for steps in (4, 8):
            trained(root / "runs" / "toy", pictures, config.replace(steps=steps), on_event=on_event)
            recorder.mark("model")
    return recorder


def test_the_recorder_sees_every_change(recorded, place):
    """All changes together are the directory as it is."""
    tree = tree_of([event for event in recorded.events if isinstance(event, Change)])
    root = Path(recorded.root)
    there = {str(p.relative_to(root)): p for p in root.rglob("*") if not p.name.startswith(".tmp-")}
    assert set(tree) == set(there)
    for path, content in tree.items():
        assert content is None or content == there[path].read_bytes(), path
    assert {mark for mark in recorded.marks if mark.startswith("saved")} == {
        f"saved {step}" for step in (2, 4, 6, 8)
    }


def test_t3_no_loss_of_power_loses_a_save(recorded, place):
    """At every prefix of the calls: the newest acknowledged save loads, with its log and model.

    The control is the same log without its flushes.
    """
    replay = Replay(recorded, place / "replayed", num_random=sized(2, 40))
    events, bad = recorded.events, 0
    ends = range(1, len(events) + 1, sized(3, 1))
    with tallied("T3 loss of power", seed=SEED) as tally:
        for until in ends:
            lost = replay.bad_states(events, until)
            bad += lost
            tally.count(not lost)
        tally.more.update(
            calls=len(events), states=replay.num_states, bad_states=bad, judged=len(replay.seen)
        )
        kept = [event if isinstance(event, Change) else -1 for event in events]
        marks = sorted(at for _, at in replay.saves())
        control = [replay.bad_states(kept, at) for at in marks]
        tally.more["bad_states_without_flushes"] = sum(control)
        no_files = [
            event if isinstance(event, Change) or is_directory(recorded, event) else -1
            for event in events
        ]
        some = [replay.bad_states(no_files, at) for at in marks]
        tally.more["bad_states_without_flushed_files"] = sum(some)
    assert bad == 0
    assert all(control)
    assert all(some)


def is_directory(recorder: Recorder, inode: int) -> bool:
    return inode in recorder._live


# --- T4: calls that fail -----------------------------------------------------------------


def state(value: float) -> dict[str, Any]:
    return {
        "generator": {"weight": torch.full((100, 60), value)},
        "optimizer_g": {"state": {0: torch.full((100, 60), value)}},
        "progress": {"value": value},
    }


def value_of(directory: Path) -> float:
    taken = newest_verified(directory, pytest.fail)
    assert taken is not None
    return load_state(taken)["progress"]["value"]


def num_calls_of_a_save(directory: Path) -> int:
    save_state(directory / "checkpoints", 1, state(1.0))
    counter = Refuse(0, 0)
    with watched(directory, counter):
        save_state(directory / "checkpoints", 2, state(2.0))
    return counter.calls


def complaint(directory: Path, hook: Refuse, value: float) -> str:
    """What the second save of this directory says; nothing where it succeeds."""
    try:
        with watched(directory.parent, hook):
            save_state(directory, 2, state(value))
    except DiskError as error:
        return str(error)
    return ""


def test_t4_every_call_of_a_save_fails_once_or_from_there_on(place):
    """The old checkpoint loads, the message says what and where, the next save works.

    The control is a file that is written over itself: it is lost at most of its calls.
    """
    root = place / "calls"
    (root / "count").mkdir(parents=True)
    num_calls = num_calls_of_a_save(root / "count")
    problems: dict[tuple, list[str]] = {}
    with tallied("T4 failing calls", seed=0) as tally:
        cases = itertools.product(REFUSALS, range(1, num_calls + 1), (False, True))
        for number, at, lasting in cases:
            directory = root / "run" / "checkpoints"
            save_state(directory, 1, state(1.0))
            hook = Refuse(at, number, lasting)
            message = complaint(directory, hook, 2.0)
            found = [] if hook.refused else ["nothing was refused"]
            old = value_of(directory)
            # A flush that fails after the last rename may leave the new one, whole.
            if old != 1.0 and hook.refused[0].kind != "fsync":
                found.append(f"loads {old}")
            found += wrong_with(message, number, directory)
            if not lasting and leftovers(directory):
                found.append(f"left {leftovers(directory)}")
            save_state(directory, 3, state(3.0))
            if value_of(directory) != 3.0:
                found.append("the next save did not work")
            if found:
                problems[(errno.errorcode[number], at, lasting)] = [*found, message]
            tally.count(not found)
            shutil.rmtree(root / "run")
        lost, num = losses_in_place(root)
        tally.more.update(calls=num_calls, in_place_calls=num, in_place_lost=lost)
    assert not problems
    assert num_calls >= 15
    assert lost > num / 2


def wrong_with(message: str, number: int, directory: Path) -> list[str]:
    found = []
    if os.strerror(number) not in message or str(directory.parent) not in message:
        found.append("neither reason nor path")
    if number in FULL_DISK and not ("bytes needed" in message and "free" in message):
        found.append("neither needed nor free bytes")
    if "\n" in message:
        found.append("more than a line")
    return found


def losses_in_place(root: Path) -> tuple[int, int]:
    path = root / "in-place" / "state.pt"
    path.parent.mkdir()

    def save(hook: Refuse) -> None:
        with watched(path.parent, hook), open(path, "wb") as file:
            torch.save(state(2.0), file)

    counter, lost = Refuse(0, 0), 0
    save(counter)
    for at in range(1, counter.calls + 1):
        try:
            save(Refuse(at, errno.ENOSPC, lasting=True))
        except (OSError, RuntimeError):
            try:
                torch.load(path, weights_only=True)
            except Exception:  # whatever a torn file makes it raise
                lost += 1
        save(Refuse(0, 0))
    return lost, counter.calls


def command(run: Path, pictures: Path, config: Path, *more: str) -> int:
    words = [str(config), "--data", str(pictures), "--run", str(run), "--device", "cpu", "--json"]
    return main(["train", *words, *more])


def torn(run: Path) -> list[str]:
    """Logs that end in half a line, sheets that are no whole picture, temporary files."""
    found = leftovers(run)
    for path in run.glob("*.jsonl"):
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            found.append(path.name)
    for path in run.glob("samples/*.png"):
        if not path.read_bytes().endswith(b"IEND\xaeB`\x82"):
            found.append(path.name)
    return found


def test_t4_a_whole_run_on_a_full_disk(place, pictures, whole, capsys):
    """Config, logs, sheets, checkpoints, model: a disk that is full from some call on ends the
    command with one line and leaves nothing half-written; with room again it ends as it should."""
    counter = Refuse(0, 0)
    with watched(place / "counted", counter):
        assert command(place / "counted", pictures, whole / "config.json") == 0
    draw, problems = random.Random(SEED), {}
    chosen = sized(sorted(draw.sample(range(1, counter.calls + 1), 8)), range(1, counter.calls + 1))
    capsys.readouterr()
    with tallied("T4 full disk, whole runs", seed=SEED) as tally:
        for at in chosen:
            run = place / f"full-{at}"
            hook = Refuse(at, errno.ENOSPC, True, ("open", "write", "mkdir"))
            with watched(run, hook):
                code = command(run, pictures, whole / "config.json")
            line = capsys.readouterr().err
            found = [] if code == 1 or not hook.refused else [f"exit code {code}"]
            if hook.refused and (line.count("\n") != 1 or str(run) not in line):
                found.append(f"not one line with the path: {line}")
            if hook.refused and hook.refused[0].kind == "write" and "bytes needed" not in line:
                found.append(f"no needed bytes: {line}")
            found += [f"half-written: {name}" for name in torn(run)] if run.exists() else []
            if command(run, pictures, whole / "config.json") or result(run) != result(whole):
                found.append("the next start ends elsewhere")
            capsys.readouterr()
            if found:
                problems[(at, *(str(call.path) for call in hook.refused[:1]))] = found
            tally.count(not found)
            shutil.rmtree(run)
        tally.more["calls"] = counter.calls
    assert not problems


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_t4_a_run_that_may_miss_saves_goes_on(place, pictures, whole, number):
    """`failed_saves`: lines wait, the failed saves are said, and the end is the same."""
    run = place / f"goes-on-{number}"
    refusing: list[int] = []
    said: list[str] = []

    def hook(call: Call) -> None:
        if refusing and call.kind in ("open", "write", "mkdir"):
            raise OSError(number, os.strerror(number))

    def on_step(step: int, nimg: int) -> None:
        refusing[:] = [step] if 2 <= step <= 4 else []

    def on_event(event: str, message: str) -> None:
        if event == "warning":
            said.append(message)

    config = CONFIG.replace(failed_saves=2)
    with watched(run, hook):
        trained(run, pictures, config, on_step=on_step, on_event=on_event)
    assert [step for step, _ in list_states(run / "checkpoints")] == [6]
    assert result(run) == result(whole)
    assert sum("failed saves in a row" in line for line in said) == 2
    assert all(os.strerror(number) in line and "\n" not in line for line in said)
    logged = [line for line in RunDirectory(run).read_log("events") if line["event"] == "warning"]
    assert [line["message"] for line in logged] == said
    assert torn(run) == []


def test_t4_one_failed_save_too_many_ends_the_run(place, pictures):
    run = place / "too-many"

    def hook(call: Call) -> None:
        if "/.tmp-step-" in call.path and call.kind == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with watched(run, hook), pytest.raises(DiskError, match=r"bytes needed, .* free"):
        trained(run, pictures, CONFIG.replace(failed_saves=1))
    assert [line["step"] for line in RunDirectory(run).read_log("log")] == [1, 2, 3, 4]
    assert list_states(run / "checkpoints") == []


def test_t4_a_real_full_disk(place, pictures, whole, tmp_path, warm: Warm):
    """A memory disk of 1 MB, through the public command in a process of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is refused here")
    words = [str(whole / "config.json"), "--data", str(pictures), "--run", str(disk / "run")]
    try:
        filler = disk / "filler"
        filler.write_bytes(bytes(990_000))
        done = warm(["train", *words, "--device", "cpu", "--json"])
        with tallied("T4 real full disk") as tally:
            last = done.err.strip().split("\n")[-1]
            good = done.code == 1 and "bytes needed" in last and str(disk) in last
            good = good and "Traceback" not in done.err and torn(disk / "run") == []
            filler.unlink()
            again = command(disk / "run", pictures, whole / "config.json")
            good = good and again == 0 and result(disk / "run") == result(whole)
            tally.count(good)
            tally.more["message"] = last.replace(str(disk), "DISK")
        assert good, done.err
    finally:
        subprocess.run(["umount", str(disk)], check=True)
