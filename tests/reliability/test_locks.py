"""T14: one run directory, one training process. Real processes race for it."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import limner.reports
from commands import PYTHON, environment, start, train_words, until
from limner import presets
from limner.api.configs import load_config
from limner.api.starting import default_run
from limner.checkpoints import run_lock
from limner.cli.display import Display
from limner.cli.main import main
from limner.core.config import to_json
from processes import in_processes
from runs import toy_pictures
from sizes import sized, tallied
from toys import toy_config

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX"),
]

RACES, CONTENDERS, SEED = sized(4, 20), sized(3, 4), 0

# The command itself, but held at the same moment and stopped where it has won: before torch. A
# winner waits there to be killed. Without the system's lock (the control) everyone wins.
CONTENDER = """
import sys, time
from pathlib import Path
import limner.cli.train as train, limner.presets
from limner.cli.main import main
go, won, locked, words = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "lock", sys.argv[4:]
if not locked:
    import filelock
    filelock.FileLock.acquire = filelock.FileLock.release = lambda self, *a, **k: None
def compose(*_):
    won.touch()
    time.sleep(600)
train.compose = compose
won.with_suffix(".ready").touch()
while not go.exists():
    pass
code = main(words)
sys.exit(9 if "torch" in sys.modules else code)
"""


def refusal(pid: int) -> str:
    """What the second start says of the first."""
    host = re.escape(socket.gethostname())
    return rf"limner train: .+: process {pid} on {host} \(since 20[-0-9T:+]+\) is training here"


def race(
    directory: Path, locked: bool, before: Path | None = None
) -> tuple[list[int], list[subprocess.Popen[str]], list[str]]:
    """Places of the winners, the contenders, which have ended, and what they said.

    `before` is a run to take over.
    """
    directory.mkdir()
    if before is not None:
        assert (before / "lock.json").exists()
        shutil.copytree(before, directory / "run")
    go, mode = directory / "go", "lock" if locked else "none"
    marks = [directory / f"won-{i}" for i in range(CONTENDERS)]
    words = train_words(directory / "run", 9)
    contenders = [
        start([sys.executable, "-c", CONTENDER, str(go), str(mark), mode, *words]) for mark in marks
    ]
    try:
        until(lambda: len(list(directory.glob("*.ready"))) == CONTENDERS)
        go.touch()
        until(
            lambda: all(
                c.poll() is not None or mark.exists()
                for c, mark in zip(contenders, marks, strict=True)
            )
        )
    finally:
        for contender in contenders:
            contender.kill()
        errors = [contender.communicate()[1] for contender in contenders]
    return [i for i, mark in enumerate(marks) if mark.exists()], contenders, errors


def is_fair(winners: list[int], contenders: list[subprocess.Popen[str]], errors: list[str]) -> bool:
    """One winner; the others ended with 1 before torch was imported, and named the winner."""
    if len(winners) != 1:
        return False
    named = refusal(contenders[winners[0]].pid)
    losers = [i for i in range(CONTENDERS) if i not in winners]
    return all(contenders[i].returncode == 1 and re.match(named, errors[i]) for i in losers)


def test_races_for_a_run_directory_have_one_winner_each(tmp_path):
    """Every other race is for a directory that a killed process held; the control has no lock."""
    with tallied("T14 races", SEED) as tally:
        for number in range(RACES):
            before = tmp_path / str(number - 1) / "run" if number % 2 else None
            tally.count(is_fair(*race(tmp_path / str(number), True, before)))
        winners, contenders, errors = race(tmp_path / "control", locked=False)
        assert not is_fair(winners, contenders, errors)
        assert len(winners) > 1
        tally.more = {"contenders": CONTENDERS, "winners_without_lock": len(winners)}
    assert tally.failures == 0


def refused(words: list[str], holder: int, directory: Path) -> float:
    """The CPU seconds of a second start through the public command, which must be refused."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-X", "importtime", *PYTHON[1:], *words]
    second = subprocess.run(
        command, env=environment(), cwd=directory, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    *imports, said = second.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in imports}
    assert "argparse" in imported  # so the list is one
    assert not imported & {"torch", "numpy", "limner.api.training", "limner.engine"}
    assert (second.returncode, second.stdout) == (1, "")
    assert re.match(refusal(holder), said), said
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_second_start_is_refused_and_a_dead_one_taken_over_at_once(tmp_path):
    """Killed while its loader workers live on: they must not hold what it held."""
    run = tmp_path / "runs" / "digits-tiny"
    words = train_words(run, 100_000, "--workers", "2")
    with tallied("T14 second start, dead owner", SEED) as tally:
        first = start([*PYTHON, *words], cwd=tmp_path)
        try:
            until(lambda: first.poll() is not None or (run / "log.jsonl").exists())
            spent = [refused(words, first.pid, tmp_path)]
            tally.count(True)
            spent.append(refused(["train", "digits-tiny"], first.pid, tmp_path))  # no --run
            tally.count(True)
        finally:
            first.kill()
            _, errors = first.communicate()
        assert first.returncode == -signal.SIGKILL, errors
        assert json.loads((run / "lock.json").read_text())["pid"] == first.pid
        with run_lock(run):
            tally.count(True)
        tally.more = {"cpu_seconds_of_a_refusal": round(max(spent), 2)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_ends_the_command(tmp_path, number):
    """While torch is being imported or pictures prepared; SIGUSR1 has nothing to save there."""
    run = tmp_path / "run"
    for seconds in sized((0.7,), (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8)):
        process = start([*PYTHON, *train_words(run, 100_000)])
        until(
            lambda process=process: (
                process.poll() is not None
                or (
                    (run / "lock.json").exists()
                    and json.loads((run / "lock.json").read_text())["pid"] == process.pid
                )
            )
        )
        time.sleep(seconds)
        process.send_signal(signal.SIGUSR1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 128 + number, errors
        assert "Traceback" not in errors
        with run_lock(run):
            pass


@pytest.fixture
def words(tmp_path) -> list[str]:
    """The words of a command that trains a toy, fast in a fork of this process."""
    config = tmp_path / "toy.json"
    config.write_text(to_json(toy_config(steps=3)))
    data = toy_pictures(tmp_path / "pictures.npz")
    run = str(tmp_path / "run")
    return ["train", str(config), "--data", str(data), "--device", "cpu", "--json", "--run", run]


def test_the_lock_is_held_until_the_report_is_written(tmp_path, words, monkeypatch):
    """The report's writer asks for the directory; so does the one who comes afterwards."""
    path = tmp_path / "run"

    def write_report(run):
        (tmp_path / "cpu").write_text(str(refused(words, os.getpid(), tmp_path)))

    monkeypatch.setattr(limner.reports, "write_report", write_report)
    assert in_processes(1, lambda rank: main(words)) == [0]
    assert float((tmp_path / "cpu").read_text()) > 0
    assert not (path / "lock.json").exists()
    with run_lock(path):
        pass


def test_under_torchrun_the_first_process_holds_the_lock(tmp_path, words, monkeypatch):
    path = tmp_path / "run"

    def on_step(display, step, nimg):
        owner = json.loads((path / "lock.json").read_text())["pid"]
        assert (owner == os.getpid()) == (os.environ["RANK"] == "0")
        if os.environ["RANK"] == "0":
            (tmp_path / f"seen-{step}").touch()

    monkeypatch.setattr(Display, "on_step", on_step)
    assert in_processes(2, lambda rank: main(words)) == [0, 0]
    assert len(list(tmp_path.glob("seen-*"))) == 3
    assert not (path / "lock.json").exists()


def test_the_directory_of_a_name_is_known_without_torch(tmp_path):
    for name in presets.PRESETS:
        assert default_run(name, ()) == Path("runs") / load_config(name).name
    assert default_run("digits", ("optim.g.lr=1", "name=other")) is None
    config = tmp_path / "c.json"
    config.write_text(to_json(toy_config(name="mine")))
    assert default_run(str(config), ()) == Path("runs/mine")
    for text in ("{", "[]", "{}", '{"name": 3}'):
        config.write_text(text)
        assert default_run(str(config), ()) is None
    assert default_run("mine.py:small", ()) is None
