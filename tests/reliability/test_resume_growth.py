"""Resuming across the edges of growth is exact, and needs nothing set by hand."""

import copy
from pathlib import Path

import pytest
import torch
from test_resume import Whole, end_without, resumed_at, whole_run

from growing import growing_config, growing_data
from limner.api import resolved
from limner.checkpoints import load_state
from limner.data import open_data
from limner.models.pggan import PgganDiscriminator, PgganGenerator
from runs import fit_of, result

EVENTS = {
    1: "between the first two readings",
    8: "a tick ends",
    10: "a batch read before, at the end of an epoch",
    11: "the step before a reading that begins a fade",
    12: "at the edge: the next step reads, forgets moments, changes the batch",
    13: "in a fade, between two readings, with a batch of its own",
    15: "in a fade, before the reading that ends it",
    16: "a level is there: moments are forgotten again",
    23: "before a fade in which two readings fall",
    26: "in that fade, between readings",
    28: "the last edge",
    33: "before the last step",
}


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    directory = tmp_path_factory.mktemp("growing")
    return whole_run(directory, growing_config(), growing_data(directory))


@pytest.fixture(scope="module")
def pggan(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """limner's own networks that grow, on the digits in 8 px blown up to 16."""
    config = growing_config(
        generator=PgganGenerator(fmap_base=16, fmap_max=6),
        discriminator=PgganDiscriminator(fmap_base=16, fmap_max=6, group_size=2),
        num_classes=None,
    )
    data = open_data("digits", config.data)
    return whole_run(tmp_path_factory.mktemp("pggan"), resolved(config, data), data)


def test_the_events_are_where_this_file_says(growing: Whole):
    trees = {step: load_state(growing.checkpoint(step)) for step in range(1, 35)}
    lods = {
        step: float(tree["memories"]["controller.Growth"]["lod"]) for step, tree in trees.items()
    }
    assert [step for step in range(1, 34) if lods[step] != lods[step + 1]] == [12, 16, 24, 28]
    assert 1 < lods[13] < 2
    assert 0 < lods[26] < 1
    shown = [trees[step]["progress"]["nimg"] for step in range(1, 35)]
    batches = [b - a for a, b in zip([0, *shown], shown, strict=False)]
    assert batches == [4] * 12 + [6] * 12 + [2] * 10
    sizes = {step: len(tree["optimizer_g"]["state"]) for step, tree in trees.items()}
    assert [sizes[step] for step in (12, 13, 16, 17)] == [2, 4, 4, 2]


@pytest.mark.parametrize("step", EVENTS)
def test_resume_is_exact_at_the_edges_of_growth(growing: Whole, tmp_path: Path, step: int):
    resumed_at(growing, step, tmp_path)()
    assert result(tmp_path) == result(growing.path), EVENTS[step]


@pytest.mark.parametrize("step", [11, 12, 13, 26])
def test_resume_is_exact_with_loader_workers(growing: Whole, tmp_path: Path, step: int):
    resumed_at(growing, step, tmp_path, workers=2)()
    assert result(tmp_path) == result(growing.path), EVENTS[step]


@pytest.mark.parametrize(("step", "workers"), [(11, 0), (13, 2), (26, 0)])
def test_resume_is_exact_with_the_networks_of_pggan(pggan, tmp_path, step, workers):
    resumed_at(pggan, step, tmp_path, workers)()
    assert result(tmp_path) == result(pggan.path)


def test_what_a_resumed_trainer_shows_before_its_first_step(growing: Whole, tmp_path: Path):
    """A sheet drawn at once has the right level of detail; the loader the right batch."""
    fit = resumed_at(growing, 13, tmp_path)
    assert fit.trainer.generator_ema is not None
    assert fit.trainer.networks["g"].lod == fit.trainer.generator_ema.lod == 1.5
    assert fit.trainer.networks["d"].lod == 1.5
    assert fit.trainer.batch_size == fit.loader._places.batch_size == 6
    fit.loader.close()


def test_a_run_of_many_interruptions_is_exact(growing: Whole, tmp_path: Path):
    quiet = growing.config.intervals.replace(milestone=0)
    for step in range(3, 35):
        fit = fit_of(tmp_path, growing.config.replace(steps=step, intervals=quiet), growing.data)
        if step > 3:
            fit.resume(tmp_path / "checkpoints" / f"step-{step - 1:08d}")
        fit()
    assert result(tmp_path) == result(growing.path)


@pytest.mark.parametrize("part", ["memories.controller.Growth", "progress.nimg", "optimizer_g"])
def test_a_dropped_part_of_the_state_is_seen(growing: Whole, tmp_path: Path, part: str):
    assert end_without(growing, 14, part, tmp_path) != result(growing.path)


@pytest.mark.parametrize("key", ["lod", "tick_from"])
def test_a_dropped_reading_is_seen(growing: Whole, tmp_path: Path, key: str):
    """Set to what it was at the beginning, as a state that forgot it would have it."""
    fit = resumed_at(growing, 26, tmp_path)
    state = copy.deepcopy(load_state(growing.checkpoint(26)))
    memory = state["memories"]["controller.Growth"]
    memory[key] = torch.full_like(memory[key], 2 if key == "lod" else 0)
    fit.trainer.load_state_dict(state)
    fit()
    assert result(tmp_path) != result(growing.path)
