"""Kill -9 at any moment: the same command goes on, and ends where no kill ends (T1, T2).

A kill leaves what was handed to the system; it says nothing about a loss of power, which
test_disks.py asks about.
"""

import contextlib
import functools
import hashlib
import os
import random
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import noise
from faults import Call, exit_code, forked, leftovers, watched
from limner import api
from limner.checkpoints import RunDirectory, list_states, load_state, protocol
from limner.engine import Intervals
from limner.running.fit import Fit
from noise import SAVE_EVERY, STEPS
from processes import side_by_side
from runs import eventful_config, result, toy_pictures
from sizes import sized, tallied
from warm import Warm

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.usefixtures("no_extras"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills and forks of POSIX"),
]

SEED = 3
NUM_KILLS = sized(10, 100)
NUM_COMMANDS = sized(3, 20)
SAVE_SECONDS = 0.05
NEVER = 10**9


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


def words(run: Path, whole: Whole) -> list[str]:
    """The public command that goes on with a killed run."""
    return [
        *("train", f"{noise.__file__}:config", "--data", str(whole.data), "--device", "cpu"),
        *("--run", str(run), "--json"),
    ]


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


@dataclass(frozen=True)
class Trial:
    """One kill: after so many seconds, or inside a save; judged by the command, or in a fork."""

    number: int
    when: float | Moment
    by_command: bool


def trials(whole: Whole) -> list[Trial]:
    """Every second kill is inside a save; of each kind some are judged by the command."""
    draw, block, planned = random.Random(SEED), NUM_KILLS // NUM_COMMANDS, []
    for number in range(NUM_KILLS):
        when: float | Moment = draw.uniform(0, whole.seconds)
        if number % 2:
            save = draw.randrange(len(whole.calls))
            when = Moment(save, draw.randrange(whole.calls[save]))
        planned.append(Trial(number, when, number % block == number // (2 * block) % 2))
    return planned


def killed(trial: Trial, place: Path, whole: Whole) -> tuple[list[str], bool, bool]:
    """What was not as promised, as far as it is judged here; whether the kill met a save, and
    whether it came after the end."""
    run = place / f"killed-{trial.number}"
    if isinstance(trial.when, Moment):
        child = killed_in_save(run, whole, trial.when)
    else:
        child = killed_at(run, whole, trial.when)
    after = child.end() == 0
    in_save = len(child.numbers("saving")) > len(child.numbers("returned"))
    if not isinstance(trial.when, Moment):
        in_save = bool(list(run.glob("checkpoints/.tmp-step-*")))
    if trial.by_command:
        return [], in_save, after
    problems = judged(run, whole, child)
    shutil.rmtree(run)
    return problems, in_save, after


def test_t1_kills_at_any_moment(place: Path, whole: Whole, warm: Warm):
    """100 kills, 50 of them inside saves: every run ends with the bits of the uninterrupted one."""
    planned, commands = trials(whole), 0
    with tallied("T1 kills", seed=SEED) as tally:
        found = side_by_side(lambda trial: killed(trial, place, whole), planned)
        for trial in (trial for trial in planned if trial.by_command):
            warm.start(f"{trial.number}", words(place / f"killed-{trial.number}", whole))
        for trial, (problems, _, _) in zip(planned, found, strict=True):
            if trial.by_command:
                ended_so = warm.end(f"{trial.number}")
                problems += [] if not ended_so.code else [f"exit {ended_so.code}: {ended_so.err}"]
                problems += differences(place / f"killed-{trial.number}", whole)
                commands += 1
            tally.count(not problems)
        in_save = sum(inside for _, inside, _ in found)
        tally.more.update(
            in_a_save=in_save,
            after_the_end=sum(after for _, _, after in found),
            by_public_command=commands,
            run_seconds=round(whole.seconds, 2),
            calls_of_a_save=max(whole.calls),
        )
    assert not {k: problems for k, (problems, _, _) in enumerate(found) if problems}
    assert (tally.n, commands) == (NUM_KILLS, NUM_COMMANDS)
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
    chosen = [k for k in range(1, len(points) + 1) if k % 3 == 1 and (k >= third or k < saves[1])]
    expected, problems, torn = result(whole), {}, 0

    def trial(k: int) -> tuple[bool, int, bool]:
        run = place / f"crashed-{k}"

        def train(at: int) -> None:
            os.environ[protocol.CRASH_VARIABLE] = str(at)
            api.train(TINY, pictures, run, api.TrainOptions(device="cpu"))

        assert exit_code(forked(lambda: train(k))) == 137, points[k - 1]
        was_torn, code = is_torn(run), exit_code(forked(lambda: train(10**6)))
        good = code == 0 and result(run) == expected and not leftovers(run)
        shutil.rmtree(run)
        return was_torn, code, good

    with tallied("T2 exact points") as tally:
        trials = sized(chosen, range(1, len(points) + 1))
        for k, (was_torn, code, good) in zip(trials, side_by_side(trial, trials), strict=True):
            torn += was_torn
            tally.count(good)
            if not good:
                problems[k] = f"{points[k - 1]}: exit code {code}"
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
