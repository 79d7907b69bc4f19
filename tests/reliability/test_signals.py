"""Signals: a checkpoint at the step's edge and the exit code; a second one ends at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from limner import api
from limner.checkpoints import RunDirectory, list_states
from limner.training import Intervals
from runs import eventful_config, result, toy_pictures
from toys import toy_config

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks of POSIX")

CONFIG = eventful_config(intervals=Intervals(log=5, sample=0, save=0))
QUESTIONS = ("fid",)


@pytest.fixture(autouse=True)
def _no_extras(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api.training.importlib.util, "find_spec", lambda name: None)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_pictures(tmp_path_factory.mktemp("data") / "pictures.npz")


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    api.train(CONFIG, pictures, run, api.TrainOptions(device="cpu"))
    return run


def trained(config, pictures: Path, run: Path, on_step: Callable[[int, int], None], **more) -> int:
    """The exit code of a forked process that trains; `on_step` runs in it."""
    child = os.fork()
    if not child:
        code = 70
        try:
            options = api.TrainOptions(device="cpu", on_step=on_step, **more)
            ended = api.train(config, pictures, run, options).outcome
            code = 128 + ended.signal if ended.signal else 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at(step: int, *numbers: int) -> Callable[[int, int], None]:
    """Send itself signals while the given step is not over yet."""

    def on_step(now: int, nimg: int) -> None:
        if now == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    return on_step


def steps_of(run: Path) -> list[int]:
    return [step for step, _ in list_states(run / "checkpoints")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_signal_saves_at_the_edge_and_the_same_command_goes_on(
    whole, pictures, tmp_path, number, code, workers
):
    run = tmp_path / "run"
    assert trained(CONFIG, pictures, run, at(5, number), num_workers=workers) == code
    assert steps_of(run) == [5]
    last = RunDirectory(run).read_log("events")[-1]
    assert (last["event"], last["step"], last["message"]) == ("stopped", 5, f"by signal {number}")
    assert trained(CONFIG, pictures, run, at(0), num_workers=workers) == 0
    assert result(run) == result(whole)


def test_usr1_saves_now_and_training_goes_on(whole, pictures, tmp_path):
    run = tmp_path / "run"
    assert trained(CONFIG, pictures, run, at(6, signal.SIGUSR1)) == 0
    assert steps_of(run) == [6, 14]
    assert result(run) == result(whole)


def test_a_second_signal_ends_at_once_and_leaves_the_last_checkpoint(whole, pictures, tmp_path):
    run = tmp_path / "run"
    config = CONFIG.replace(intervals=CONFIG.intervals.replace(save=4))
    code = trained(config, pictures, run, at(6, signal.SIGTERM, signal.SIGTERM))
    assert code == 143
    assert steps_of(run) == [4]
    assert trained(config, pictures, run, at(0)) == 0
    assert result(run) == result(whole)


def test_a_signal_in_the_last_step_still_ends_with_its_code(whole, pictures, tmp_path):
    run = tmp_path / "run"
    assert trained(CONFIG, pictures, run, at(14, signal.SIGTERM)) == 143
    assert result(run) == result(whole)
    assert trained(CONFIG, pictures, run, at(0)) == 0
    assert result(run) == result(whole)


def test_a_signal_in_a_save_waits_for_it(whole, pictures, tmp_path, monkeypatch):
    """The save's own first flush to the disk brings the signal."""
    run, original = tmp_path / "run", os.fsync
    config = CONFIG.replace(intervals=CONFIG.intervals.replace(save=4))
    sent = []

    def fsync(descriptor):
        inside = any((run / "checkpoints").glob(".tmp-step-*"))
        if inside and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))
        original(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert trained(config, pictures, run, at(0)) == 143
    assert steps_of(run) == [4]
    assert not list(run.rglob(".tmp-*"))
    assert trained(config, pictures, run, at(0)) == 0
    assert result(run) == result(whole)


@pytest.mark.parametrize("step", [4, 12])
def test_a_signal_in_an_evaluation_ends_it_and_the_next_start_repeats_it(
    pictures, tmp_path, monkeypatch, step
):
    run = tmp_path / "run"
    config = toy_config(metrics=QUESTIONS, intervals=Intervals(log=2, sample=0, save=4, evaluate=4))
    scored = [{"metric": "fid", "name": "fd-toy", "value": 1.0}]
    current = [0]

    def evaluate(self, generator):
        if current[0] == step:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
        return scored

    def on_step(now, nimg):
        current[0] = now

    begin = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(api.training._Training, "_evaluate", evaluate)
        assert trained(config, pictures, run, on_step) == 143
    assert time.monotonic() - begin < 20
    assert max(steps_of(run)) == step
    monkeypatch.setattr(api.training._Training, "_evaluate", lambda self, generator: scored)
    assert trained(config, pictures, run, at(0)) == 0
    assert [line["step"] for line in RunDirectory(run).read_log("scores")] == [4, 8, 12]


def test_the_command_itself_stops_with_143_and_goes_on(tmp_path):
    """From outside: the public command, killed by the system's kill, started again."""
    command = [
        *(sys.executable, "-m", "limner", "train", "digits-tiny", "--device", "cpu", "--json"),
        *("--set", "metrics=[]", "--set", "batch_size=8", "--set", "intervals.sample=0"),
        *("--set", "intervals.save=0"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run, other = tmp_path / "run", tmp_path / "other"
    process = subprocess.Popen(
        [*command, "--steps", "5000", "--set", "intervals.log=1", "--run", str(run)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (run / "log.jsonl").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    (stopped,) = steps_of(run)
    # What the shell's next command computes is what one command would have: in this process.
    steps = str(stopped + 3)
    again = [*command, "--steps", steps, "--set", "intervals.log=1", "--run", str(run)]
    assert subprocess.run(again, env=environment, stdout=subprocess.DEVNULL).returncode == 0
    from limner.cli.main import main

    assert torch.get_num_threads() == 1
    words = [*command[3:], "--steps", steps, "--set", "intervals.log=1", "--run", str(other)]
    assert main(words) == 0
    assert result(run) == result(other)
