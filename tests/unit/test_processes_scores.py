"""Scores that several processes take together, in a training and by `limner evaluate`."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

import limner
from limner import api
from limner.api import scoring
from limner.checkpoints import RunDirectory
from limner.core import distributed
from limner.core.leaving import Interrupted
from limner.data import open_data
from limner.engine import Intervals, RunConfig
from limner.metrics import evaluation, find_metric, sharing, streams
from limner.metrics.features.random_conv import RandomConv
from limner.metrics.reference import Reference
from limner.metrics.sharing import share
from processes import in_processes
from runs import toy_pictures
from toys import ToyGenerator, toy_config

pytestmark = [
    pytest.mark.usefixtures("no_extras"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children"),
]

NUM, AN_EVALUATION = 300, 3  # images, and steps between two evaluations
METRICS = ("fid", "kid")


def config(steps: int = 6, **changes) -> RunConfig:
    """Batch norm whose running statistics are those of each process."""
    return toy_config(
        generator=ToyGenerator(norm="batch"),
        steps=steps,
        batch_size=8,
        metrics=METRICS,
        num_evaluate=NUM,
        intervals=Intervals(log=3, sample=0, save=0, evaluate=AN_EVALUATION),
        **{"controllers": (), "keep_best": 9, **changes},
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_pictures(tmp_path_factory.mktemp("pictures") / "pictures.npz", num=64)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "IMAGES_PER_PART", 64)


def train(pictures: Path, run: Path, **changes) -> int:
    options = api.TrainOptions(device="cpu")
    ended = limner.train(config(**changes), pictures, run, options).outcome
    return 128 + ended.signal if ended.signal else 0


def scores(run: Path) -> dict[int, dict[str, float]]:
    lines = RunDirectory(run).read_log("scores")
    return {line["step"]: {r["name"]: r["value"] for r in line["results"]} for line in lines}


def of_the_checkpoint(run: Path, step: int, pictures: Path) -> dict[str, float]:
    """What one process makes of it later."""
    found = limner.evaluate(f"{run}@step-{step}", pictures, METRICS, NUM)
    return {result.name: result.value for result in found}


def counting(monkeypatch: pytest.MonkeyPatch, on_part: Callable[[int], None]) -> None:
    """`on_part(images made)` whenever images are."""
    made, original = [0], scoring.to_uint8

    def counted(images: torch.Tensor) -> torch.Tensor:
        made[0] += len(images)
        on_part(made[0])
        return original(images)

    monkeypatch.setattr(scoring, "to_uint8", counted)


def test_two_processes_share_the_images_and_score_what_one_does(pictures, tmp_path, monkeypatch):
    run = tmp_path / "run"

    def work(rank: int) -> int:
        made = [0]
        counting(monkeypatch, lambda num: made.__setitem__(0, num))
        code = train(pictures, run)
        (tmp_path / f"{rank}").write_text(str(made[0]))
        return code

    assert in_processes(2, work) == [0, 0]
    made = [int((tmp_path / str(rank)).read_text()) for rank in (0, 1)]
    assert min(made) > 2 * NUM / 3, made
    assert sum(made) == 2 * (NUM + 2)  # two evaluations; each process makes one more, for its size
    found = scores(run)
    assert list(found) == [3, 6]
    for step, figures in found.items():
        alone = of_the_checkpoint(run, step, pictures)
        assert figures == pytest.approx(alone, rel=1e-9)
        assert figures["kd-random-conv"] == alone["kd-random-conv"]


def test_control_each_process_has_statistics_of_its_own(pictures, tmp_path, monkeypatch):
    """With its own in place of the first one's the second process changes the scores."""
    run = tmp_path / "run"

    def work(rank: int) -> int:
        monkeypatch.setattr(distributed, "state_of_first", lambda module: nullcontext())
        return train(pictures, run, steps=3)

    in_processes(2, work)
    ((step, figures),) = scores(run).items()
    alone = of_the_checkpoint(run, step, pictures)
    assert figures["kd-random-conv"] != pytest.approx(alone["kd-random-conv"], rel=1e-6)


@pytest.mark.parametrize(
    "place", ["images of 1", pytest.param("figures of 0", marks=pytest.mark.full)]
)
def test_a_signal_to_one_process_ends_the_evaluation_of_both(
    pictures, tmp_path, monkeypatch, place
):
    run = tmp_path / "run"

    def work(rank: int) -> int:
        def leave(*_: object) -> None:
            if (run / "checkpoints/step-00000006").exists():
                os.kill(os.getpid(), signal.SIGTERM)

        if place == "images of 1" and rank == 1:
            counting(monkeypatch, leave)
        if place == "figures of 0" and rank == 0:
            original = evaluation._results
            monkeypatch.setattr(evaluation, "_results", lambda *args: (leave(), original(*args))[1])
        return train(pictures, run, steps=9)

    assert in_processes(2, work) == [143, 143]
    assert list(scores(run)) == [3]
    assert in_processes(2, lambda rank: train(pictures, run, steps=9)) == [0, 0]
    assert in_processes(2, lambda rank: train(pictures, tmp_path / "whole", steps=9)) == [0, 0]
    assert scores(run) == scores(tmp_path / "whole")
    assert list(scores(run)) == [3, 6, 9]


def test_work_apart_ends_for_all_if_it_is_interrupted_for_one():
    def work(rank: int) -> int:
        distributed.start()
        assert distributed.is_awaited()
        with distributed.alone():
            assert not distributed.is_awaited()
        for who in (0, 1):
            try:
                with distributed.apart():
                    assert (distributed.world_size(), distributed.is_awaited()) == (1, True)
                    if rank == who:
                        raise Interrupted
                return 1
            except Interrupted:
                pass
        with distributed.apart():
            pass
        assert distributed.world_size() == 2
        distributed.stop()
        return 0

    assert in_processes(2, work) == [0, 0]
    assert not distributed.is_awaited()


def test_nobody_gives_up_waiting_for_a_long_evaluation():
    def work(rank: int) -> int:
        distributed.start()
        group = dist.distributed_c10d._get_default_group()
        seconds = group._get_backend(torch.device("cpu")).options._timeout.total_seconds()
        distributed.stop()
        return 0 if seconds == distributed.PATIENCE.total_seconds() >= 86_400 else 1

    assert in_processes(2, work) == [0, 0]


def test_processes_share_the_features_of_reals_and_the_floors(pictures, tmp_path, monkeypatch):
    """Each reads a part of the real images, and computes every second metric's floors."""
    data = open_data(pictures, config().data)
    metrics = {name: find_metric(name) for name in ("fid", "kid", "prdc")}
    monkeypatch.setattr(sharing, "IMAGES_PER_SHARE", 16)
    monkeypatch.setattr(sharing, "PIXELS_PER_BATCH", 16 * 16)

    def work(rank: int) -> int:
        monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / f"cache-{rank}"))  # as on two machines
        read, taken = list[int](), list[str]()
        features, floors = RandomConv.features, Reference.floors

        def counted(extractor: RandomConv, images: torch.Tensor) -> torch.Tensor:
            read.append(len(images))
            return features(extractor, images)

        def noted(reference: Reference, name: str, *more: Any) -> Any:
            taken.append(name)
            return floors(reference, name, *more)

        monkeypatch.setattr(RandomConv, "features", counted)
        monkeypatch.setattr(Reference, "floors", noted)
        distributed.start()
        reference = Reference(data, "random-conv")
        share(reference, metrics, NUM)
        shared = {name: dict(floors(reference, name, m, NUM)) for name, m in metrics.items()}
        facts = [sum(read), taken, shared, reference.features.double().sum().item()]
        (tmp_path / str(rank)).write_text(json.dumps(facts))
        distributed.stop()
        return 0

    assert in_processes(2, work) == [0, 0]
    first, second = (json.loads((tmp_path / str(rank)).read_text()) for rank in (0, 1))
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache-alone"))
    alone = Reference(data, "random-conv")
    assert first[0] == second[0] == 32  # of 64
    assert (first[1], second[1]) == (["fid", "prdc"], ["kid"])
    expected = {name: dict(alone.floors(name, m, NUM)) for name, m in metrics.items()}
    for found in (first, second):
        assert found[2].keys() == expected.keys()
        for name, figures in expected.items():
            assert found[2][name] == pytest.approx(figures, rel=1e-5)
        assert found[3] == pytest.approx(alone.features.double().sum().item(), rel=1e-6)
