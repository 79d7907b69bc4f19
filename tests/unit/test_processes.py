"""Two processes compute what one computes. Children are forked, one command goes through torchrun."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

import limner
from limner import api, presets
from limner.checkpoints import RunDirectory, load_rank_state, load_state, read_manifest
from limner.cli.main import main
from limner.core import distributed
from limner.core.config import Config
from limner.data import Loader, PreparedData, open_data
from limner.engine import Intervals, RunConfig, Update
from limner.engine.controllers import Controller, Ema
from limner.engine.trainer import Trainer
from limner.models import BigGanDiscriminator, BigGanGenerator
from limner.objectives import (
    R1,
    R2,
    Drift,
    GradientPenalty,
    HingeD,
    HingeG,
    Orthogonal,
    WassersteinD,
    WassersteinG,
)
from processes import in_processes
from runs import Centred, computed_log, result
from toys import ToyGenerator, toy_config

pytestmark = [
    pytest.mark.usefixtures("no_extras"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children"),
]


# --- gradients -----------------------------------------------------------------------------


class Recorder(Config, Controller, frozen=True):
    """Keeps the gradients of every update."""

    seen: ClassVar[list[torch.Tensor]] = []

    def after_update(self, trainer, player, memory):
        parameters = trainer.networks[player].parameters()
        self.seen.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))


def processes_config(**changes: Any) -> RunConfig:
    config = presets.get("digits-tiny")()
    config = config.replace(
        generator=BigGanGenerator(
            width=4, z_dim=8, shared_dim=4, multipliers=(1, 2), norm="none", spectral_norm=False
        ),
        discriminator=BigGanDiscriminator(width=4, multipliers=(1, 2)),
        data=config.data.replace(flip=True),
        controllers=(Ema(half_life_nimg=50.0), Recorder()),
        batch_size=16,
        steps=4,
        metrics=(),
        precision="float64",
        intervals=Intervals(log=2, sample=0, save=0),
    )
    return config.replace(**changes)


D = Update(player="d", terms=(HingeD(),))
G = Update(player="g", terms=(HingeG(),))
ALGORITHMS = {
    "hinge, lazy R1": (D, Update(player="d", terms=(R1(),), every=2), G),
    "R1 with the loss, joint": (D.replace(terms=(HingeD(), R1()), forwards="joint"), G),
    "accumulated": (
        D.replace(accumulate=2, terms=(HingeD(), R1(), R2())),
        G.replace(accumulate=2, num_latents=10, direct=(Orthogonal(strength=0.01),)),
    ),
    "gradient penalty": (
        Update(
            player="d",
            terms=(WassersteinD(), GradientPenalty(), Drift(), R2()),
            repeats=2,
            labels="real",
        ),
        Update(player="g", terms=(WassersteinG(),)),
    ),
}


def gradients(data: PreparedData, updates: tuple[Update, ...], **changes: Any) -> dict[str, Any]:
    """Four steps in this process' share; gradients of every update, the end of all weights."""
    config = processes_config(updates=updates, **changes)
    rank, world_size = distributed.rank(), distributed.world_size()
    loader = Loader(data, config.batch_size, config.seed, rank=rank, world_size=world_size)
    Recorder.seen.clear()
    trainer = Trainer(config, data.image_shape, data.num_classes, loader.next)
    for _ in range(4):
        trainer.step()
    state = trainer.state_dict()
    ends = {part: state[part] for part in ("generator", "discriminator", "generator_ema")}
    return {"gradients": list(Recorder.seen), "log": trainer.meters.drain(), **ends}


@pytest.fixture(scope="module")
def digits() -> PreparedData:
    return open_data("digits", processes_config().data)


@pytest.fixture(scope="module")
def shares(digits, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], dict]:
    """What both processes computed, for each algorithm and for the control."""
    root = tmp_path_factory.mktemp("shares")

    def work(rank: int) -> None:
        distributed.start()
        for name, updates in ALGORITHMS.items():
            torch.save(gradients(digits, updates), root / f"{name}-{rank}")
        generator = processes_config().generator.replace(norm="batch")
        torch.save(gradients(digits, (D, G), generator=generator), root / f"batch norm-{rank}")
        distributed.stop()

    assert in_processes(2, work) == [0, 0]
    return lambda name, rank: torch.load(root / f"{name}-{rank}")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_two_processes_have_the_gradients_of_one(digits, shares, name):
    alone = gradients(digits, ALGORITHMS[name])
    for rank in (0, 1):
        share = shares(name, rank)
        assert len(share["gradients"]) == len(alone["gradients"]) > 7
        for theirs, ours in zip(share["gradients"], alone["gradients"], strict=True):
            assert float(ours.abs().max()) > 1e-3
            torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9)
        for part in ("generator", "discriminator", "generator_ema"):
            torch.testing.assert_close(share[part], alone[part], rtol=1e-9, atol=1e-9)


def test_logs_are_means_over_the_processes(digits, shares):
    alone, share = gradients(digits, ALGORITHMS["gradient penalty"])["log"], {}
    share = shares("gradient penalty", 1)["log"]
    assert share == pytest.approx(alone, rel=1e-9)


def test_processes_hold_equal_weights_bit_for_bit(shares):
    for name in ALGORITHMS:
        for part in ("generator", "discriminator", "generator_ema"):
            torch.testing.assert_close(
                shares(name, 0)[part], shares(name, 1)[part], rtol=0.0, atol=0.0
            )


def test_the_comparison_sees_statistics_of_a_batch_that_was_split(digits, shares):
    """The control: batch norm over 8 images is not batch norm over 16."""
    generator = processes_config().generator.replace(norm="batch")
    alone = gradients(digits, (D, G), generator=generator)["gradients"]
    theirs = shares("batch norm", 0)["gradients"]
    assert not torch.allclose(theirs[0], alone[0], rtol=1e-6, atol=1e-6)


# --- whole runs ------------------------------------------------------------------------------


def words(run: Path, *more: str) -> list[str]:
    changes = ["generator.norm=none", "generator.width=4", "discriminator.width=4"]
    changes += ["precision=float64", "metrics=[]", "batch_size=16", "intervals.sample=0"]
    changes += ["intervals.save=0", "intervals.log=2"]
    settings = [word for change in changes for word in ("--set", change)]
    return ["train", "digits-tiny", "--device", "cpu", "--run", str(run), *settings, *more]


@pytest.fixture(scope="module")
def by_torchrun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps by two processes that torchrun started."""
    run = tmp_path_factory.mktemp("torchrun") / "run"
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    ended = subprocess.run(
        [
            *torchrun,
            "--nproc-per-node",
            "2",
            "-m",
            "--",
            "limner",
            *words(run, "--steps", "4", "--json"),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    (line,) = [line for line in ended.stdout.splitlines() if line.startswith("{")]
    assert json.loads(line)["step"] == 4
    return run


def copied(run: Path, target: Path) -> Path:
    shutil.copytree(run, target)
    return target


def test_torchrun_trains_one_run_and_it_resumes(by_torchrun, tmp_path):
    assert [line["step"] for line in computed_log(by_torchrun)] == [2, 4]
    assert read_manifest(by_torchrun / "checkpoints/step-00000004")["world_size"] == 2
    assert (by_torchrun / "model/model.safetensors").is_file()
    resumed, whole = copied(by_torchrun, tmp_path / "resumed"), tmp_path / "whole"
    for run in (resumed, whole):
        assert in_processes(2, lambda rank, run=run: main(words(run, "--steps", "6"))) == [0, 0]
    assert result(resumed) == result(whole)
    said = [event["event"] for event in RunDirectory(resumed).read_log("events")]
    assert said.count("resumed") == 1
    assert "warning" not in said


def test_another_number_of_processes_goes_on_in_the_same_order_and_says_so(by_torchrun, tmp_path):
    whole, fewer = tmp_path / "whole", copied(by_torchrun, tmp_path / "fewer")
    assert main(words(whole, "--steps", "6")) == 0
    assert main(words(fewer, "--steps", "6")) == 0
    (warning,) = [e for e in RunDirectory(fewer).read_log("events") if e["event"] == "warning"]
    assert "equal up to rounding only" in warning["message"]
    assert "processes 2 -> 1" in warning["message"]
    trees = [load_state(run / "checkpoints/step-00000006") for run in (fewer, whole)]
    assert trees[0]["progress"] == trees[1]["progress"]
    for part in ("generator", "discriminator", "generator_ema"):
        torch.testing.assert_close(trees[0][part], trees[1][part], rtol=1e-8, atol=1e-8)
    for theirs, ours in zip(computed_log(fewer), computed_log(whole), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-8)


def test_another_number_of_threads_says_so(by_torchrun, tmp_path):
    run = copied(by_torchrun, tmp_path / "run")

    def work(rank: int) -> int:
        torch.set_num_threads(2)  # never in this process: its children could not use theirs then
        return main(words(run, "--steps", "4"))

    assert in_processes(1, work) == [0]
    (warning,) = [e for e in RunDirectory(run).read_log("events") if e["event"] == "warning"]
    assert "threads 1 -> 2" in warning["message"]


def test_a_batch_that_cannot_be_split_is_one_line(tmp_path, capfd):
    ended = in_processes(2, lambda rank: main(words(tmp_path / "run", "--set", "batch_size=15")))
    assert ended == [1, 1]
    errors = capfd.readouterr().err
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if "batch_size" in line]
    assert len(set(lines)) == 1
    assert "15 images cannot be shared by 2 processes" in lines[0]


def test_bad_data_is_refused_to_all_processes(tmp_path, capfd):
    command = [*words(tmp_path / "run"), "--data", str(tmp_path / "nothing")]
    assert in_processes(2, lambda rank: main(command)) == [1, 1]
    errors = capfd.readouterr().err
    assert "Traceback" not in errors
    assert "no such file or folder" in errors


# --- what differs between processes -----------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "pictures.npz"
    rng = np.random.default_rng(0)
    np.savez(path, images=rng.integers(0, 256, (32, 4, 4, 1), dtype=np.uint8))
    return path


def own_state_config(steps: int) -> RunConfig:
    """Running statistics, a term's memory and meters: each process has its own."""
    return toy_config(
        generator=ToyGenerator(norm="batch", dropout=0.2),
        updates=(D.replace(terms=(HingeD(), Centred())), G),
        steps=steps,
        intervals=Intervals(log=4, sample=0, save=3),
    )


def test_each_process_takes_up_its_own_state(pictures, tmp_path):
    def train(run: Path, steps: int) -> None:
        options = api.TrainOptions(device="cpu")
        limner.train(own_state_config(steps), pictures, run, options)

    def work(rank: int) -> None:
        train(tmp_path / "whole", 6)
        train(tmp_path / "resumed", 3)
        train(tmp_path / "resumed", 6)

    assert in_processes(2, work) == [0, 0]
    assert result(tmp_path / "resumed") == result(tmp_path / "whole")
    last = "checkpoints/step-00000006"
    ranks = [load_rank_state(tmp_path / "whole" / last, rank) for rank in (0, 1)]
    again = [load_rank_state(tmp_path / "resumed" / last, rank) for rank in (0, 1)]
    for rank in (0, 1):
        torch.testing.assert_close(again[rank], ranks[rank], rtol=0.0, atol=0.0)
    means = [state["memories"]["term.d.Centred"]["mean"] for state in ranks]
    assert not torch.equal(*means)
    assert not torch.equal(*[state["g"]["norm.running_mean"] for state in ranks])


def test_a_signal_to_one_process_stops_all_of_them(pictures, tmp_path):
    def work(rank: int) -> int:
        def on_step(step: int, nimg: int) -> None:
            if step == 2 and rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        options = api.TrainOptions(device="cpu", on_step=on_step)
        outcome = limner.train(own_state_config(6), pictures, tmp_path / "run", options).outcome
        return 128 + outcome.signal

    assert in_processes(2, work) == [143, 143]
    assert read_manifest(tmp_path / "run/checkpoints/step-00000002")["step"] == 2
