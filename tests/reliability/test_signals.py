"""T13: a checkpoint at the step's edge and the exit code; a second signal ends at once.

Each case trains in a fork that sends itself the signal at an exact place; the same command then
goes on, and has to end where the run ends that no signal met.
"""

import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import PYTHON, environment, train_words, until
from limner import api
from limner.api import training
from limner.checkpoints import RunDirectory, list_states, newest_verified
from limner.cli.main import main
from limner.engine import Intervals
from limner.running.signals import StopRequests
from processes import side_by_side
from runs import eventful_config, result, toy_pictures
from sizes import sized, tallied
from warm import Warm

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks of POSIX"),
]

TERM, INT, USR1 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1
CONFIG = eventful_config(
    steps=14, metrics=("fid",), intervals=Intervals(log=5, sample=0, save=4, evaluate=6)
)
SCORED = [{"metric": "fid", "name": "fd-toy", "value": 1.0}]
FSYNC = os.fsync


@dataclass(frozen=True)
class Case:
    """Signals sent in a step, in the save of its checkpoint, or in its evaluation.

    `step` is that step, `saved` the one whose checkpoint the signal must leave as the newest (or,
    after SIGUSR1, must have made), `group` whether the loader's workers get the signals too.
    """

    numbers: tuple[int, ...]
    place: str
    step: int
    saved: int
    workers: int = 0
    group: bool = False

    def send(self) -> None:
        (self.mark).write_text(repr(time.monotonic()))
        for number in self.numbers:
            (os.killpg if self.group else os.kill)(os.getpid(), number)

    @property
    def mark(self) -> Path:
        return Path(os.environ["LIMNER_TEST_SENT"])

    @property
    def code(self) -> int:
        return 0 if self.numbers == (USR1,) else 128 + self.numbers[-1]


CASES = [
    *(Case((number,), "step", 5, 5) for number in (TERM, INT, USR1)),
    *(Case((number,), "save", 8, 8) for number in (TERM, INT)),
    *(Case((number,), "evaluation", 6, 6) for number in (TERM, INT)),
    Case((USR1,), "save", 8, 9),  # the save under way is not yet of the next step's edge
    Case((USR1,), "evaluation", 6, 7),
    Case((TERM,), "step", 14, 14),
    Case((TERM,), "evaluation", 14, 14),
    *(Case((number,), "step", 5, 5, workers=2, group=True) for number in (TERM, INT)),
    *sized(
        (),
        (
            Case((USR1,), "step", 5, 5, workers=2, group=True),
            *(Case((number,), "save", 8, 8, workers=2, group=True) for number in (TERM, INT)),
        ),
    ),
]
TWICE = [
    Case((TERM, TERM), "step", 7, 6),
    Case((INT, TERM), "step", 7, 6, workers=2, group=True),
    Case((TERM, TERM), "save", 8, 6),
]


@pytest.fixture(autouse=True)
def _no_extras(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("LIMNER_TEST_SENT", str(tmp_path / "sent"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_pictures(tmp_path_factory.mktemp("data") / "pictures.npz")


def trained(
    pictures: Path, run: Path, case: Case | None = None, prepare: Callable[[], Any] | None = None
) -> int:
    """The exit code of a fork that trains, and meets the case's signals on its way."""
    child = os.fork()
    if not child:
        code = 70
        try:
            os.setsid()
            if prepare is not None:
                prepare()
            code = _train(pictures, run, case)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _train(pictures: Path, run: Path, case: Case | None) -> int:
    at, sent = 0, False

    def meet(place: str) -> bool:
        nonlocal sent
        if case is None or sent or (case.place, case.step) != (place, at):
            return False
        sent = True
        case.send()
        return True

    def on_step(step: int, nimg: int) -> None:
        nonlocal at
        at = step
        meet("step")

    def fsync(descriptor: int) -> None:
        if any((run / "checkpoints").glob(".tmp-step-*")):
            meet("save")
        FSYNC(descriptor)

    def evaluate(self: object, generator: object) -> list[dict]:
        if meet("evaluation") and case is not None and case.code:
            time.sleep(60)  # a signal that stops the run ends this
        return SCORED

    os.fsync = fsync
    training._Training._evaluate = evaluate
    options = api.TrainOptions(
        device="cpu", on_step=on_step, num_workers=case.workers if case else 0
    )
    ended = api.train(CONFIG, pictures, run, options).outcome
    return 128 + ended.signal if ended.signal else 0


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert trained(pictures, run) == 0
    return everything(run)


def everything(run: Path) -> tuple:
    return (*result(run), RunDirectory(run).read_log("scores"))


def newest(run: Path) -> int:
    """The step of the newest checkpoint that verifies; nothing newer may be damaged."""
    warned: list[str] = []
    path = newest_verified(run / "checkpoints", warned.append)
    assert path is not None
    assert not warned
    return {path: step for step, path in list_states(run / "checkpoints")}[path]


def obeys(
    case: Case, run: Path, pictures: Path, prepare: Callable[[], Any] | None = None
) -> tuple[bool, float]:
    """Whether a run met by the case's signals ended as it must, and the seconds that it took."""
    code = trained(pictures, run, case, prepare)
    seconds = time.monotonic() - float(case.mark.read_text())
    if case.numbers == (USR1,):
        saved = [e["step"] for e in RunDirectory(run).read_log("events") if e["event"] == "saved"]
        return code == 0 and case.saved in saved, seconds
    return code == case.code and newest(run) == case.saved, seconds


def test_signals_in_steps_saves_and_evaluations(whole, pictures, tmp_path):
    """The control answers no signal: its run ends without a checkpoint of the step."""
    slowest, wrong = 0.0, []
    with tallied("T13 signals") as tally:
        cases = [*CASES, *TWICE]

        def trial(number: int) -> tuple[bool, float]:
            run, case = tmp_path / str(number), cases[number]
            os.environ["LIMNER_TEST_SENT"] = str(tmp_path / f"sent-{number}")
            good, seconds = obeys(case, run, pictures)
            good = good and trained(pictures, run) == 0
            good = good and everything(run) == whole and not list(run.rglob(".tmp-*"))
            return good, seconds

        for case, (good, seconds) in zip(
            cases, side_by_side(trial, range(len(cases))), strict=True
        ):
            slowest = max(slowest, seconds if case.code else 0.0)
            tally.count(good)
            wrong += [] if good else [case]
        deaf = lambda: setattr(StopRequests, "__enter__", lambda self: self)  # noqa: E731
        assert not obeys(CASES[0], tmp_path / "control", pictures, deaf)[0]
        tally.more = {"slowest_end_seconds": round(slowest, 2)}
    assert not wrong
    assert slowest < 20  # of the evaluation's 60


def test_the_stopped_run_says_by_what(pictures, tmp_path):
    run = tmp_path / "run"
    assert obeys(CASES[0], run, pictures)[0]
    last = RunDirectory(run).read_log("events")[-1]
    assert (last["event"], last["step"], last["message"]) == ("stopped", 5, "by signal 15")


class Terminal:
    """A command on a terminal of its own, whose screen is read along."""

    def __init__(self, words: list[str]):
        self.screen = b""
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            words,
            env=environment(TERM="xterm", COLUMNS="200"),
            stdout=subprocess.DEVNULL,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self.screen += os.read(self._master, 4096)
            except OSError:  # the last writer has gone
                return

    def end(self) -> int:
        code = self.process.wait(timeout=240)
        self._reader.join()
        os.close(self._master)
        return code


@pytest.mark.parametrize("number", sized([INT], [INT, TERM]))
def test_the_command_itself_with_workers_and_live_display(tmp_path, number, warm: Warm):
    """From outside: Ctrl-C as a terminal sends it, to all processes of the command."""
    run, other = tmp_path / "run", tmp_path / "other"
    words = [word for word in train_words(run, 100_000, "--workers", "2") if word != "--json"]
    terminal = Terminal([*PYTHON, *words])
    until(lambda: terminal.process.poll() is not None or len(logged(run)) > 3)
    before = len(logged(run))
    os.killpg(terminal.process.pid, number)
    after = len(logged(run))
    assert terminal.end() == 128 + number, terminal.screen
    assert b"Traceback" not in terminal.screen
    assert b"/100,000" in terminal.screen  # the live line was there
    assert terminal.screen.rpartition(b"\x1b[?25")[2][:1] == b"h"  # and the cursor is back
    stopped = newest(run)
    assert before <= stopped <= after + 1
    assert list(run.rglob(".tmp-*")) == []
    # What the shell's next command computes is what one command would have: in this process.
    words = train_words(run, stopped + 3)
    assert warm(words).code == 0
    assert torch.get_num_threads() == 1
    assert main(train_words(other, stopped + 3)) == 0
    assert result(run) == result(other)


def logged(run: Path) -> list[str]:
    log = run / "log.jsonl"
    return re.findall(r"^.*\n", log.read_text(), re.MULTILINE) if log.exists() else []
