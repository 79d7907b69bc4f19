"""Kill -9 at any moment: the same command goes on, and ends where no kill ends (T1, T2).

A kill leaves what was handed to the system; it says nothing about a loss of power, which
test_disks.py asks about.
"""

import contextlib
import functools
import hashlib
import importlib.util
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._dynamo  # the first step would import it, in every forked process again

import noise
from faults import Call, exit_code, forked, leftovers, watched
from limner import api
from limner.checkpoints import RunDirectory, list_states, load_state, protocol
from limner.training import Intervals
from limner.training.fit import Fit
from noise import SAVE_EVERY, STEPS
from runs import eventful_config, result, toy_pictures
from sizes import sized, tallied

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and forks of POSIX"),
]

SEED = 3
NUM_KILLS = sized(20, 100)
NUM_COMMANDS = sized(5, 20)
SAVE_SECONDS = 0.05
NEVER = 10**9


@pytest.fixture(autouse=True)
def _no_extras(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def ended(run: Path) -> tuple:
    """All that must be equal: the last state, the log, the sheets, the model."""
    sheets = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in run.glob("samples/*")}
    weights = (run / "model" / "model.safetensors").read_bytes()
    return *result(run), sheets, hashlib.sha256(weights).hexdigest()


# --- a process that trains and tells -------------------------------------------------


@dataclass
class Child:
    """A forked training process; `told` is what it said through its pipe: [(word, number)]."""

    process: int
    pipe: int
    told: list[tuple[str, int]] = field(default_factory=list)
    _rest: bytes = b""

    def listen(self, seconds: float) -> bool:
        """Take what is said within so many seconds; False when the other end is closed."""
        if not select.select([self.pipe], [], [], max(0.0, seconds))[0]:
            return True
        content = os.read(self.pipe, 65536)
        *lines, self._rest = (self._rest + content).split(b"\n")
        for line in lines:
            word, number = line.decode().rsplit(" ", 1)
            self.told.append((word, int(number)))
        return bool(content)

    def numbers(self, word: str) -> list[int]:
        return [number for said, number in self.told if said == word]

    def wait(self, until: Callable[[], bool] = lambda: False, seconds: float = 120.0) -> None:
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end and self.listen(end - time.monotonic()):
            pass

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)

    def end(self) -> int:
        """Wait for the process and all that it said; its exit code."""
        self.wait()
        os.close(self.pipe)
        return exit_code(self.process)


@dataclass(frozen=True)
class Moment:
    """A call inside a save, where a process says that it is there and then dawdles until killed."""

    save: int
    call: int


def training(run: Path, data: Path, config: Any, moment: Moment | None = None) -> Child:
    """Fork a process that trains in `run`, with one save spread over time."""
    reader, writer = os.pipe()

    def say(word: str, number: int) -> None:
        os.write(writer, f"{word} {number}\n".encode())

    def work() -> None:
        os.close(reader)
        if moment is not None:
            Fit.save = slowed(Fit.save, run, say, moment)  # type: ignore[method-assign]
        api.train(config, data, run, told_options(run, say))
        say("end", 0)

    child = forked(work)
    os.close(writer)
    return Child(child, reader)


def told_options(run: Path, say: Callable[[str, int], None]) -> api.TrainOptions:
    steps: list[int] = []

    def on_step(step: int, nimg: int) -> None:
        if not steps:
            say("leftovers", len(leftovers(run)))
        steps.append(step)
        say("step", step)

    def on_event(event: str, message: str) -> None:
        if event in ("saved", "finished", "resumed"):
            say(event, int(message.rsplit(" ", 1)[1]))

    return api.TrainOptions(device="cpu", on_step=on_step, on_event=on_event)


def slowed(save: Callable, run: Path, say: Callable[[str, int], None], moment: Moment) -> Callable:
    """`Fit.save` that says when it begins, how many calls it made, and when it returns."""
    saves: list[int] = []

    @functools.wraps(save)
    def wrapped(self: Fit, *arguments: Any, **options: Any) -> None:
        step = self.trainer.progress.step
        say("saving", step)
        chosen = len(saves) == moment.save
        with dawdling(run, moment.call if chosen else NEVER, say) as calls:
            save(self, *arguments, **options)
        saves.append(step)
        say("calls", len(calls))
        say("returned", step)

    return wrapped


@contextlib.contextmanager
def dawdling(root: Path, at: int, say: Callable[[str, int], object]) -> Iterator[list[Call]]:
    """Spread the calls of a save over about SAVE_SECONDS up to number `at` (from 0); there say so,
    and give whoever listens much longer for each that follows. NEVER does not wait at all."""
    calls: list[Call] = []

    def wait(call: Call) -> None:
        if len(calls) == at:
            say("here", at)
        if at != NEVER:
            time.sleep(SAVE_SECONDS / 90 if len(calls) < at else SAVE_SECONDS)
        calls.append(call)

    with watched(root, wait):
        yield calls
    if at < len(calls):
        time.sleep(30)  # the kill is on its way, however loaded the machine is


# --- T1 ---------------------------------------------------------------------------


@dataclass
class Whole:
    """The uninterrupted run, how long it took, and how many calls each of its saves made."""

    run: Path
    data: Path
    seconds: float
    calls: list[int]


@pytest.fixture(scope="module")
def whole(place: Path) -> Whole:
    data = noise.pictures(place / "noise.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        first = training(place / "prepared", data, noise.config())  # into the cache
        assert first.end() == 0
        begin = time.monotonic()
        assert training(place / "whole", data, noise.config()).end() == 0
        seconds = time.monotonic() - begin
        watched_run = training(place / "watched", data, noise.config(), Moment(NEVER, NEVER))
        assert watched_run.end() == 0
    assert ended(place / "watched") == ended(place / "whole") == ended(place / "prepared")
    return Whole(
        place / "whole", data, seconds, watched_run.numbers("calls")[: STEPS // SAVE_EVERY]
    )


def killed_at(run: Path, whole: Whole, moment: float) -> Child:
    """Killed after so many seconds, wherever it is."""
    child = training(run, whole.data, noise.config())
    end = time.monotonic() + moment
    while time.monotonic() < end and child.listen(end - time.monotonic()):
        pass
    child.kill()
    return child


def killed_in_save(run: Path, whole: Whole, moment: Moment) -> Child:
    """Killed at, or just after, one call of one save."""
    child = training(run, whole.data, noise.config(), moment)
    child.wait(lambda: bool(child.numbers("here")))
    child.kill()
    return child


class Commands:
    """`limner train` in processes of their own, two at a time (no thread: this process forks)."""

    def __init__(self, whole: Whole):
        self.whole, self.running = whole, {}
        self.problems: dict[int, list[str]] = {}

    def start(self, trial: int, run: Path) -> None:
        while len(self.running) >= 2:
            self.finish_one()
        command = [
            *(sys.executable, "-m", "limner", "train", f"{noise.__file__}:config"),
            *("--data", str(self.whole.data), "--device", "cpu", "--run", str(run), "--json"),
        ]
        tests = str(Path(noise.__file__).parent)
        path = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        process = subprocess.Popen(
            command,
            env=environment,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.running[trial] = (run, process)

    def finish_one(self) -> None:
        trial = next(iter(self.running))
        run, process = self.running.pop(trial)
        errors = process.communicate(timeout=300)[1]
        found = [f"exit {process.returncode}: {errors}"] if process.returncode else []
        self.problems[trial] = found or differences(run, self.whole)

    def finish(self) -> dict[int, list[str]]:
        while self.running:
            self.finish_one()
        return self.problems


def judged(run: Path, whole: Whole, killed: Child) -> list[str]:
    """Resume in a forked process; everything that is not as promised."""
    again = training(run, whole.data, noise.config())
    code = again.end()
    problems = [f"exit code {code}"] if code else []
    acknowledged = max((*killed.numbers("saved"), *killed.numbers("finished")), default=0)
    resumed = max(again.numbers("resumed"), default=0)
    if resumed < acknowledged:
        problems.append(f"a save of step {acknowledged} had returned, resumed at {resumed}")
    if max(killed.numbers("step"), default=0) - resumed > SAVE_EVERY:
        problems.append(f"more than {SAVE_EVERY} steps lost")
    if any(again.numbers("leftovers")):
        problems.append("leftovers of the killed process after the start")
    return problems or differences(run, whole)


def differences(run: Path, whole: Whole) -> list[str]:
    problems = [f"left behind: {leftovers(run)}"] if leftovers(run) else []
    if ended(run) != ended(whole.run):
        problems.append("ended elsewhere")
    return problems


def test_t1_kills_at_any_moment(place, whole):
    """100 kills, 50 of them inside saves: every run ends with the bits of the uninterrupted one."""
    draw, problems, in_save, after = random.Random(SEED), {}, 0, 0
    commands, block = Commands(whole), NUM_KILLS // NUM_COMMANDS
    with tallied("T1 kills", seed=SEED) as tally:
        for trial in range(NUM_KILLS):
            run, forced = place / f"killed-{trial}", trial % 2 == 1
            if forced:
                save = draw.randrange(len(whole.calls))
                killed = killed_in_save(run, whole, Moment(save, draw.randrange(whole.calls[save])))
            else:
                killed = killed_at(run, whole, draw.uniform(0, whole.seconds))
            after += killed.end() == 0
            inside = len(killed.numbers("saving")) > len(killed.numbers("returned"))
            in_save += inside if forced else bool(list(run.glob("checkpoints/.tmp-step-*")))
            if trial % block == trial // (2 * block) % 2:
                commands.start(trial, run)
            else:
                problems[trial] = judged(run, whole, killed)
                shutil.rmtree(run)
        problems |= commands.finish()
        for found in problems.values():
            tally.count(not found)
        tally.more.update(
            in_a_save=in_save,
            after_the_end=after,
            by_public_command=len(commands.problems),
            run_seconds=round(whole.seconds, 2),
            calls_of_a_save=max(whole.calls),
        )
    assert not {trial: found for trial, found in problems.items() if found}
    assert tally.n == NUM_KILLS
    assert len(commands.problems) == NUM_COMMANDS
    assert in_save >= NUM_KILLS // 2


def test_t1_control_saves_in_place_are_lost(place, whole):
    """One file written over itself, killed at its calls in the same way: most are torn."""
    draw, num = random.Random(SEED), NUM_KILLS
    tree = load_state(max((whole.run / "checkpoints").iterdir()))
    path = place / "in-place" / "state.pt"
    path.parent.mkdir()

    def save() -> None:
        with open(path, "wb") as file:
            torch.save(tree, file)

    save()
    with dawdling(path.parent, NEVER, lambda word, number: None) as calls:
        save()
    with tallied("T1 control: in place", seed=SEED) as tally:
        for _ in range(num):
            reader, writer = os.pipe()
            at = draw.randrange(len(calls))

            def work(writer: int = writer, at: int = at) -> None:
                with dawdling(path.parent, at, lambda word, number: os.write(writer, b"here")):
                    save()

            child = forked(work)
            assert os.read(reader, 4) == b"here"
            os.kill(child, signal.SIGKILL)
            exit_code(child)
            os.close(reader)
            os.close(writer)
            tally.count(loads(path))
            save()
    assert tally.failures > num / 2


def loads(path: Path) -> bool:
    try:
        torch.load(path, weights_only=True)
    except Exception:  # whatever a torn file makes it raise
        return False
    return True


# --- T2 ---------------------------------------------------------------------------

TINY = eventful_config(
    steps=6, intervals=Intervals(log=1, sample=0, save=2, milestone=0), keep_best=0
)


@pytest.fixture(scope="module")
def tiny(place: Path) -> tuple[Path, Path, list[str]]:
    """Pictures, the uninterrupted run, and the names of all points that it passes."""
    pictures, run = toy_pictures(place / "toys.npz"), place / "tiny"
    names = place / "points.txt"

    def work() -> None:
        os.environ[protocol.CRASH_VARIABLE] = "1000000"
        api.train(TINY, pictures, run, api.TrainOptions(device="cpu"))
        names.write_text("\n".join(protocol._points_passed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert exit_code(forked(work)) == 0
    return pictures, run, names.read_text().split("\n")


def test_t2_every_point_of_the_protocol(place, tiny):
    """A crash at each numbered point resumes to the same end.

    The control is a loader that takes the newest directory as it is, temporary ones included: it
    meets a torn one at most points.
    """
    pictures, whole, points = tiny
    saves = [k for k, name in enumerate(points, 1) if name == "temporary directory made"]
    assert len(saves) == 3
    assert any(name.startswith("removed step-") for name in points)
    assert any(name == "renamed model" for name in points)
    third = saves[2]  # it prunes, and the model follows
    chosen = [k for k in range(1, len(points) + 1) if k >= third or (k < saves[1] and k % 3 == 1)]
    expected, problems, torn = result(whole), {}, 0
    with tallied("T2 exact points") as tally:
        for k in sized(chosen, range(1, len(points) + 1)):
            name = points[k - 1]
            run = place / f"crashed-{k}"

            def crash(k: int = k, run: Path = run) -> None:
                os.environ[protocol.CRASH_VARIABLE] = str(k)
                api.train(TINY, pictures, run, api.TrainOptions(device="cpu"))

            def resume(run: Path = run) -> None:
                api.train(TINY, pictures, run, api.TrainOptions(device="cpu"))

            assert exit_code(forked(crash)) == 137, name
            torn += is_torn(run)
            code = exit_code(forked(resume))
            good = code == 0 and result(run) == expected and not leftovers(run)
            tally.count(good)
            if not good:
                problems[k] = f"{name}: exit code {code}"
            shutil.rmtree(run)
        tally.more.update(points_in_all=len(points), torn_for_a_naive_loader=torn)
    assert not problems
    assert torn > tally.n / 2


def is_torn(run: Path) -> bool:
    """Whether the directory that was written last cannot be loaded as it is."""
    written = [path for path in (run / "checkpoints").iterdir() if path.is_dir()]
    newest = max(written, key=lambda path: (path.stat().st_mtime_ns, path.name))
    try:
        load_state(newest)
    except ValueError:
        return True
    return False


def test_a_run_that_is_killed_again_and_again_still_ends(place, tiny):
    """Ten starts, each crashing some points later than the last; no start is in vain for ever."""
    pictures, whole, points = tiny
    run = place / "again-and-again"

    def crash(k: int) -> None:
        os.environ[protocol.CRASH_VARIABLE] = str(k)
        api.train(TINY, pictures, run, api.TrainOptions(device="cpu"))

    for k in range(3, len(points) // 2, 5):
        assert exit_code(forked(lambda k=k: crash(k))) in (0, 137)
    assert exit_code(forked(lambda: crash(10**6))) == 0
    assert result(run) == result(whole)
    assert [step for step, _ in list_states(RunDirectory(run).checkpoints)] == [4, 6]
