"""Several machines: two torchrun agents on the loopback, and what a queue and a stopped process do."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from limner.api import screen
from limner.checkpoints import RunDirectory, list_states, load_state, read_manifest
from limner.cli.main import main
from limner.core.config import to_json
from limner.engine.trainer import Trainer
from paced import STEPS, config
from processes import free_port, in_processes
from runs import toy_pictures

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.usefixtures("no_extras"),
    pytest.mark.skipif(sys.platform != "linux", reason="process groups on the loopback"),
]
TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
RENDEZVOUS = "join_timeout=60,last_call_timeout=1,keep_alive_interval=1,keep_alive_max_attempt=3"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_pictures(tmp_path_factory.mktemp("data") / "pictures.npz")


@pytest.fixture(scope="module")
def alone(pictures, tmp_path_factory) -> dict[str, Any]:
    """The last state of one process."""
    root = tmp_path_factory.mktemp("alone")
    (root / "config.json").write_text(to_json(config()))
    assert main(words(root / "config.json", pictures, root / "run")) == 0
    return last_state(root / "run")


def words(preset: Path | str, pictures: Path, run: Path) -> list[str]:
    return [
        "train", str(preset), "--data", str(pictures), "--run", str(run), "--device", "cpu"
    ]  # fmt: skip


def last_state(run: Path) -> dict[str, Any]:
    return load_state(max(list_states(run / "checkpoints"))[1])


def assert_same_networks(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for part in ("generator", "discriminator", "generator_ema"):
        torch.testing.assert_close(found[part], expected[part], rtol=1e-9, atol=1e-9)


# --- a process that stands still -------------------------------------------------------------


def test_a_process_that_stops_in_its_tracks_is_noticed_in_time(tmp_path, pictures):
    (tmp_path / "config.json").write_text(to_json(config().replace(steps=8)))
    mark = tmp_path / "stopped"

    def work(rank: int) -> int:
        sys.stderr = open(tmp_path / f"errors-{rank}", "w")  # noqa: SIM115
        screen.timed = lambda *_: None
        step = Trainer.step

        def stepping(trainer: Trainer) -> None:
            if rank == 1 and trainer.progress.step == 3:
                mark.write_text(f"{os.getpid()} {time.monotonic()}")
                os.kill(os.getpid(), signal.SIGSTOP)
            step(trainer)

        Trainer.step = stepping
        command = words(tmp_path / "config.json", pictures, tmp_path / "run")
        code = main([*command, "--process-timeout", "2"])
        if rank == 0:
            process, since = mark.read_text().split()
            (tmp_path / "seconds").write_text(str(time.monotonic() - float(since)))
            os.kill(int(process), signal.SIGKILL)  # as an agent of torchrun does
        return code

    assert in_processes(2, work) == [1, -signal.SIGKILL]
    assert 1.5 < float((tmp_path / "seconds").read_text()) < 20
    *_, line = (tmp_path / "errors-0").read_text().strip().splitlines()
    assert line.startswith("limner train: process 0 waited in vain for another")
    assert "Traceback" not in (tmp_path / "errors-0").read_text()


# --- what Slurm does -------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 2])
def test_in_a_job_of_slurm_usr1_saves_and_leaves(tmp_path, pictures, monkeypatch, times):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(screen, "timed", lambda *_: None)
    step = Trainer.step

    def stepping(trainer: Trainer) -> None:
        step(trainer)
        if trainer.progress.step == 7:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(Trainer, "step", stepping)
    (tmp_path / "config.json").write_text(to_json(config()))
    command = words(tmp_path / "config.json", pictures, tmp_path / "run")
    assert main(command) == 128 + signal.SIGUSR1
    assert max(list_states(tmp_path / "run" / "checkpoints"))[0] == 7
    assert RunDirectory(tmp_path / "run").read_log("events")[-1]["event"] == "stopped"


STUBS = {
    "srun": 'exec "$@"',  # one node; srun passes signals on to its tasks, as exec does
    "scontrol": 'if [ "$1" = show ]; then echo 127.0.0.1; else echo "$@" >> "$STUBBED"; fi',
}


def in_a_queue(tmp_path: Path, torchrun: str, send: bool) -> tuple[int, str]:
    """examples/slurm.sh with stubs of Slurm's commands; its exit code, and what was asked of it."""
    for name, text in {**STUBS, "torchrun": torchrun}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "here",
        "SLURM_NNODES": "1",
        "STUBBED": str(tmp_path / "asked"),
    }
    script = subprocess.Popen(["bash", str(ROOT / "examples" / "slurm.sh")], env=environment)
    if send:
        wait_for(lambda: (tmp_path / "begun").exists())
        script.send_signal(signal.SIGUSR1)
    code = script.wait(timeout=60)
    asked = tmp_path / "asked"
    return code, asked.read_text().strip() if asked.exists() else ""


def wait_for(condition: Callable[[], Any], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_script_for_slurm_requeues_what_the_time_limit_ends(tmp_path):
    # A signal to a shell waits until its foreground command has ended.
    waiting = f"trap 'exit 1' USR1; touch {tmp_path}/begun; sleep 30 & wait"
    assert in_a_queue(tmp_path, waiting, send=True) == (0, "requeue 7")


@pytest.mark.parametrize("code", [0, 1])
def test_the_script_for_slurm_does_not_requeue_what_ended_by_itself(tmp_path, code):
    assert in_a_queue(tmp_path, f"exit {code}", send=False) == (code, "")


# --- two agents ------------------------------------------------------------------------------


def test_two_agents_with_forked_processes_compute_what_one_computes(
    tmp_path, pictures, monkeypatch
):
    """The same rendezvous, without torch's import in each process."""
    steps = 6
    monkeypatch.setattr(screen, "timed", lambda *_: None)
    (tmp_path / "config.json").write_text(to_json(config().replace(steps=steps)))
    port = free_port()

    def train_in(run: Path) -> int:
        return main(words(tmp_path / "config.json", pictures, run))

    def agent(number: int) -> int:
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            del os.environ[name]
        settings = dict(item.split("=") for item in RENDEZVOUS.split(","))
        launched = LaunchConfig(
            *(2, 2, 1),
            run_id="test",
            rdzv_backend="c10d",
            rdzv_endpoint=f"127.0.0.1:{port}",
            rdzv_configs={name: int(value) for name, value in settings.items()},
            start_method="fork",
            monitor_interval=0.1,
            local_addr="127.0.0.1",
        )
        codes = elastic_launch(launched, train_in)(tmp_path / "run")
        return max(codes.values())

    assert in_processes(2, agent) == [0, 0]
    assert train_in(tmp_path / "alone") == 0
    state = last_state(tmp_path / "run")
    assert state["progress"]["step"] == steps
    assert_same_networks(state, last_state(tmp_path / "alone"))


class Agents:
    """torchrun agents of one process each that meet on the loopback, as on two machines."""

    def __init__(self, root: Path, command: list[str], pace: float):
        self._root, self._command, self._port = root, command, free_port()
        self._pace = pace
        self.running: list[subprocess.Popen] = []

    def start(self, nodes: str = "1:2") -> subprocess.Popen:
        number = len(self.running)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes]
        torchrun += ["--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-backend", "c10d"]
        torchrun += ["--rdzv-endpoint", f"127.0.0.1:{self._port}", "--rdzv-id", "test"]
        torchrun += ["--rdzv-conf", RENDEZVOUS, "--local-addr", "127.0.0.1"]
        torchrun += ["--monitor-interval", "0.2", "-m", "--", "limner", *self._command]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # docs/recipes/several-machines.md
            "LIMNER_TEST_PACE": str(self._pace),
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        }
        with open(self._root / f"agent-{number}", "w") as said:
            agent = subprocess.Popen(
                torchrun, env=environment, stderr=said, stdout=said, start_new_session=True
            )
        self.running.append(agent)
        return agent

    def is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def said(self, number: int) -> str:
        return (self._root / f"agent-{number}").read_text()

    def kill(self, agent: subprocess.Popen) -> None:
        """The machine is gone: the agent and its processes at once."""
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        for process in (agent.pid, *map(int, children)):
            os.kill(process, signal.SIGKILL)
        agent.wait()

    def close(self) -> None:
        for agent in self.running:
            if agent.poll() is None:
                self.kill(agent)


@pytest.fixture
def agents(tmp_path, pictures) -> Iterator[Callable[..., Agents]]:
    made: list[Agents] = []

    def make(*more: str, pace: float = 0.0) -> Agents:
        command = [*words(f"{TESTS / 'paced.py'}:config", pictures, tmp_path / "run"), *more]
        made.append(Agents(tmp_path, command, pace))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.full
def test_two_agents_compute_what_one_process_computes(agents, tmp_path, alone):
    both = agents()
    first, second = both.start("2"), both.start("2")
    assert (first.wait(120), second.wait(120)) == (0, 0), both.said(0) + both.said(1)
    state = last_state(tmp_path / "run")
    assert state["progress"]["step"] == STEPS
    assert_same_networks(state, alone)


@pytest.mark.full
def test_a_config_that_is_refused_is_not_started_again(agents):
    one = agents("--set", "precision=float63")
    assert one.start("1").wait(60) != 0
    assert one.said(0).count("limner train: ") == 1
    assert "precision" in one.said(0)


def world_sizes(run: Path) -> list[int]:
    """Processes of each checkpoint."""
    return [
        read_manifest(path)["world_size"] for _, path in sorted(list_states(run / "checkpoints"))
    ]


def log_of(run: Path) -> list[int]:
    return [record["step"] for record in RunDirectory(run).read_log("log")]


def warned(run: Path, text: str) -> bool:
    return any(text in event["message"] for event in RunDirectory(run).read_log("events"))


@pytest.mark.full
def test_a_survivor_goes_on_alone_and_a_machine_that_comes_back_is_taken_in(
    agents, tmp_path, alone
):
    run = tmp_path / "run"
    both = agents(pace=1.0)
    first = both.start()
    wait_for(both.is_open)  # the store of the rendezvous is with the first
    second = both.start()
    wait_for(lambda: run.exists() and world_sizes(run)[-1:] == [2])
    both.kill(second)
    wait_for(lambda: warned(run, "processes 2 -> 1"))
    at = max(log_of(run))
    wait_for(lambda: max(log_of(run)) >= at + 3)
    third = both.start()
    wait_for(lambda: warned(run, "processes 1 -> 2"))
    assert (first.wait(200), third.wait(200)) == (0, 0), both.said(0) + both.said(2)
    state = last_state(run)
    assert state["progress"]["step"] == STEPS
    assert_same_networks(state, alone)


@pytest.mark.full
def test_an_agent_starts_a_stopped_process_again(agents, tmp_path, alone):
    """Noticed by the other one within --process-timeout, ended by torchrun, and started again."""
    run = tmp_path / "run"
    both = agents("--process-timeout", "3", pace=0.5)
    first, second = both.start("2"), both.start("2")
    wait_for(lambda: run.exists() and log_of(run) and max(log_of(run)) >= 7)
    children = Path(f"/proc/{second.pid}/task/{second.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGSTOP)
    wait_for(lambda: "waited in vain" in both.said(0) + both.said(1), seconds=60)
    assert (first.wait(200), second.wait(200)) == (0, 0), both.said(0) + both.said(1)
    assert_same_networks(last_state(run), alone)
