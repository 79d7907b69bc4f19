"""A resumed run is the uninterrupted one, bit for bit; and every part of the state is needed."""

import copy
import itertools
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limner import presets
from limner.api import resolved
from limner.checkpoints import load_state
from limner.data import PreparedData, open_data
from limner.engine import Intervals, RunConfig, Update
from limner.objectives import R1
from limner.running.fit import Fit
from runs import (
    CROPPED,
    computed_log,
    cropped_data,
    digest,
    eventful_config,
    fit_of,
    learned,
    result,
    toy_data,
)

EVENTS = {
    1: "the first step",
    3: "before a lazy update",
    4: "a learning rate was read",
    5: "at a log line, mid-epoch",
    6: "an epoch's end",
    7: "before the average starts, between two readings",
    8: "the average starts",
    11: "between two log lines",
    13: "before the last step",
}


@dataclass
class Whole:
    """An uninterrupted run that kept the checkpoint of every step."""

    path: Path
    config: RunConfig
    data: PreparedData

    def checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:08d}"


def whole_run(directory: Path, config: RunConfig, data: PreparedData) -> Whole:
    fit = fit_of(directory / "whole", config, data)
    assert fit().signal == 0
    return Whole(directory / "whole", config, data)


@pytest.fixture(scope="module")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    directory = tmp_path_factory.mktemp("eventful")
    return whole_run(directory, eventful_config(), toy_data(directory))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Spectral norm, conditional batch norm, channels_last convolutions, R1 lazily."""
    config = presets.get("digits-tiny")()
    updates = (*config.updates, Update(player="d", terms=(R1(gamma=0.1),), every=2))
    config = config.replace(
        updates=updates,
        batch_size=8,
        steps=6,
        metrics=(),
        intervals=Intervals(log=4, sample=0, save=0, milestone=1),
    )
    data = open_data("digits", config.data)
    return whole_run(tmp_path_factory.mktemp("digits"), resolved(config, data), data)


def disturb() -> None:
    """Everything that a new process would have otherwise."""
    torch.manual_seed(random.SystemRandom().randrange(2**32))
    np.random.seed(random.SystemRandom().randrange(2**32))
    random.seed()


def resumed_at(whole: Whole, step: int, path: Path, workers: int = 0) -> Fit:
    """A new run directory as a process killed after the save of `step` would leave it."""
    disturb()
    quiet = whole.config.intervals.replace(milestone=0)
    fit = fit_of(path, whole.config.replace(intervals=quiet), whole.data, workers)
    shutil.copytree(whole.checkpoint(step), fit.run.checkpoints / whole.checkpoint(step).name)
    shutil.copy(whole.path / "log.jsonl", fit.run.log)
    fit.run.truncate_logs(step)
    fit.resume(whole.checkpoint(step))
    return fit


def test_the_events_are_where_this_file_says(eventful):
    trees = {step: load_state(eventful.checkpoint(step)) for step in range(1, 15)}
    shown = [trees[step]["progress"]["nimg"] for step in range(1, 15)]
    assert [n % 32 == 0 for n in shown] == [step in (6, 12) for step in range(1, 15)]
    rates = [trees[step]["optimizer_g"]["param_groups"][0]["lr"] for step in range(1, 15)]
    assert [a != b for a, b in itertools.pairwise(rates)] == [
        step % 4 == 0 for step in range(1, 14)
    ]
    for step, tree in trees.items():
        same = digest(tree["generator"]) == digest(tree["generator_ema"])
        assert same == (step < 8)
    assert set(trees[14]["memories"]) == {
        "term.d.Centred",
        "controller.Ema",
        "controller.LearningRate",
        "controller.Countdown",
    }
    assert [line["step"] for line in computed_log(eventful.path)] == [5, 10]


@pytest.mark.parametrize("step", EVENTS)
def test_resume_is_exact_at_events(eventful, tmp_path, step):
    resumed_at(eventful, step, tmp_path)()
    assert result(tmp_path) == result(eventful.path), EVENTS[step]


@pytest.mark.parametrize("step", [1, 3, 6, 11])
def test_resume_is_exact_with_loader_workers(eventful, tmp_path, step):
    resumed_at(eventful, step, tmp_path, workers=2)()
    assert result(tmp_path) == result(eventful.path), EVENTS[step]


@pytest.mark.parametrize(("step", "workers"), [(4, 0), (5, 2)])
def test_random_crops_resume_exactly(tmp_path, step, workers):
    """Squares are a function of seed, epoch and picture, like the order of the pictures."""
    config = eventful_config(data=CROPPED)
    whole = whole_run(tmp_path, config, cropped_data(tmp_path))
    resumed_at(whole, step, tmp_path / "resumed", workers)()
    assert result(tmp_path / "resumed") == result(whole.path)
    centred = fit_of(tmp_path / "centred", eventful_config(), whole.data)
    centred()
    assert result(tmp_path / "centred")[0]["generator"] != result(whole.path)[0]["generator"]


def test_a_run_of_many_interruptions_is_exact(eventful, tmp_path):
    quiet = eventful.config.intervals.replace(milestone=0)
    for step in range(1, 15):
        config = eventful.config.replace(steps=step, intervals=quiet)
        fit = fit_of(tmp_path, config, eventful.data)
        if step > 1:
            fit.resume(tmp_path / "checkpoints" / f"step-{step - 1:08d}")
        fit()
    assert result(tmp_path) == result(eventful.path)


def test_saving_changes_nothing(eventful, tmp_path):
    config = eventful.config.replace(intervals=Intervals(log=5, sample=0, save=0))
    fit_of(tmp_path, config, eventful.data)()
    assert result(tmp_path) == result(eventful.path)


@pytest.mark.parametrize(("step", "workers"), [(1, 0), (2, 2), (5, 0)])
def test_resume_is_exact_with_the_networks_of_the_digits(digits, tmp_path, step, workers):
    resumed_at(digits, step, tmp_path, workers)()
    assert result(tmp_path) == result(digits.path)


# --- the control: each part of the state is missed -----------------------------------


def fresh_state(whole: Whole, path: Path) -> dict[str, Any]:
    """What a state begins as, with the shapes that a trained one has."""
    fit = fit_of(path, whole.config.replace(seed=whole.config.seed + 1), whole.data)
    return copy.deepcopy(fit.trainer.state_dict())


def without(tree: dict[str, Any], fresh: dict[str, Any], part: str) -> dict[str, Any]:
    """The state with one part as it was at the beginning."""
    tree = copy.deepcopy(tree)
    name, _, key = part.partition(".")
    if name == "progress":
        tree["progress"][key] = 0
    elif part.startswith("memories."):
        assert tree["memories"].pop(key)
    elif key:
        picked = [k for k in tree[name] if k.rpartition(".")[2].startswith(key)]
        assert picked, f"no tensor of {name} is called {key}"
        tree[name].update({k: fresh[name][k] for k in picked})
    else:
        tree[name] = fresh[name]
    return tree


def end_without(whole: Whole, step: int, part: str, path: Path) -> tuple[dict, list]:
    fit = resumed_at(whole, step, path)
    tree = load_state(whole.checkpoint(step))
    fresh = fresh_state(whole, path / "fresh")
    state = without(tree, fresh, part)
    fit.trainer.load_state_dict(state)
    fit.loader.close()
    fit.loader = fit._loader_at(fit.trainer.progress.num_drawn)
    # The end comes after as many steps as in the whole run, whatever the counter says.
    for _ in range(whole.config.steps - step):
        fit.trainer.step()
        if fit.trainer.progress.step % whole.config.intervals.log == 0:
            fit.book.log(fit.loader.seconds_waited)
    fit.save("end")
    fit.loader.close()
    return result(path)


@pytest.mark.parametrize(
    "part",
    [
        "generator",
        "discriminator",
        "generator_ema",
        "optimizer_g",
        "optimizer_d",
        "memories.term.d.Centred",
        "memories.controller.LearningRate",
        "memories.controller.Countdown",
        "meters",
        "progress.step",
        "progress.nimg",
        "progress.num_drawn",
        "generator.running",
        "generator.num_batches_tracked",
    ],
)
def test_a_dropped_part_of_the_state_is_seen(eventful, tmp_path, part):
    assert end_without(eventful, 9, part, tmp_path) != result(eventful.path)


@pytest.mark.parametrize(
    "part",
    [
        "generator.running",
        "generator_ema.running",
        "discriminator.u",
        "optimizer_d",
        "optimizer_g",
        "generator_ema",
    ],
)
def test_a_dropped_part_of_the_digits_state_is_seen(digits, tmp_path, part):
    assert end_without(digits, 3, part, tmp_path) != result(digits.path)


def test_the_control_with_nothing_dropped_sees_nothing(eventful, digits, tmp_path):
    for whole, step in ((eventful, 9), (digits, 3)):
        fit = resumed_at(whole, step, tmp_path / whole.path.parent.name)
        fit.trainer.load_state_dict(load_state(whole.checkpoint(step)))
        fit()
        assert result(fit.run.path) == result(whole.path)


def test_the_state_has_no_part_that_these_tests_do_not_know(eventful):
    assert set(learned(eventful.checkpoint(9))) == {
        "generator",
        "discriminator",
        "generator_ema",
        "optimizer_g",
        "optimizer_d",
        "memories",
        "meters",
        "progress",
    }
