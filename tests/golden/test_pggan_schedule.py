"""The growth schedule and the reals of a level, equal to tkarras/progressive_growing_of_gans'."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from limner.core.growth import GrowthSchedule
from limner.core.images import to_uint8, to_unit_range
from limner.data.fading import shown_at

NAMES = {
    "lod_initial_resolution": "initial_resolution",
    "lod_training_kimg": "training_kimg",
    "lod_transition_kimg": "transition_kimg",
    "tick_kimg_base": "usual_tick_kimg",
    "tick_kimg_dict": "tick_kimg",
    "minibatch_dict": "batch_sizes",
    "max_minibatch_per_gpu": "most_per_process",
    "G_lrate_dict": "g_rates",
    "D_lrate_dict": "d_rates",
}
RATE = 0.001


@pytest.fixture(scope="module")
def tables(golden) -> list[dict[str, Any]]:
    found = json.loads(golden("pggan/training_schedule.json").read_text())["tables"]
    assert len(found) == 10
    return found


def schedule_of(table: dict[str, Any]) -> tuple[GrowthSchedule, int]:
    """The schedule of a table, and its usual batch."""
    given = dict(table["sched_kwargs"])
    usual = given.pop("minibatch_base")
    fields = {
        NAMES[key]: tuple((int(size), item) for size, item in value.items())
        if isinstance(value, dict)
        else value
        for key, value in given.items()
    }
    return GrowthSchedule(**fields), usual


def row_of(schedule: GrowthSchedule, usual: int, nimg: int, table: dict[str, Any]) -> list:
    full = 2 ** table["resolution_log2"]
    lod = schedule.lod(nimg, full)
    resolution = schedule.resolution(lod, full)
    return [
        nimg,
        lod,
        resolution,
        schedule.batch_size(resolution, usual, table["num_gpus"]),
        schedule.learning_rate("g", resolution, RATE),
        schedule.learning_rate("d", resolution, RATE),
        schedule.tick_nimg(resolution) / 1000,
    ]


@pytest.mark.parametrize("number", range(10))
def test_every_row_of_the_schedule(tables, number):
    table = tables[number]
    schedule, usual = schedule_of(table)
    columns = ["cur_nimg", "lod", "resolution", "minibatch", "G_lrate", "D_lrate", "tick_kimg"]
    assert table["columns"] == columns
    assert len(table["rows"]) >= 14
    for expected in table["rows"]:
        got = row_of(schedule, usual, expected[0], table)
        assert got[1] == pytest.approx(expected[1], abs=1e-12, rel=0)
        assert got[2:] == expected[2:]


@pytest.mark.parametrize("number", range(10))
def test_the_number_of_processes_may_be_that_of_the_schedule(tables, number):
    table = tables[number]
    schedule, usual = schedule_of(table)
    schedule = schedule.replace(num_processes=table["num_gpus"])
    for expected in table["rows"]:
        assert schedule.batch_size(expected[2], usual, num_processes=1) == expected[3]


MORE = [pytest.param(number, marks=pytest.mark.full) for number in range(1, 10)]


@pytest.mark.parametrize("number", [0, *MORE])  # up to millions of steps each
def test_the_walk_through_a_whole_training(tables, number):
    """Resets, steps, images and ticks of the reference's loop, which reads every 4 steps."""
    table = tables[number]
    schedule, usual = schedule_of(table)
    full, walk = 2 ** table["resolution_log2"], table["loop_walk"]
    nimg, steps, ticks, tick_from, levels, resets = 0, 0, 0, 0, None, []
    while nimg < table["total_kimg"] * 1000:
        lod = schedule.lod(nimg, full)
        if (int(lod), -int(-lod // 1)) != levels:
            levels = (int(lod), -int(-lod // 1))
            resets.append([nimg, lod])
        resolution = schedule.resolution(lod, full)
        size = schedule.batch_size(resolution, usual, table["num_gpus"])
        nimg, steps = nimg + walk["minibatch_repeats"] * size, steps + walk["minibatch_repeats"]
        ends = nimg >= table["total_kimg"] * 1000
        if ends or nimg >= tick_from + schedule.tick_nimg(resolution):
            ticks, tick_from = ticks + 1, nimg
    expected = walk["optimizer_resets [cur_nimg, lod]"]
    assert [at for at, _ in resets] == [at for at, _ in expected]
    assert [lod for _, lod in resets] == pytest.approx([lod for _, lod in expected], abs=1e-12)
    assert (steps, nimg) == (walk["iterations(G steps)"], walk["final_cur_nimg"])
    assert ticks == walk["ticks"]


# --- reals ---------------------------------------------------------------------------------

REALS = [f"lod{lod}{tail}" for lod in ("0", "0.5", "1", "1.3", "2", "2.75") for tail in ("", "_m")]


@pytest.mark.parametrize("name", REALS)
def test_reals_as_they_are_shown(golden, name):
    """From pictures of full size whose pixels repeat, so that the level's own are the recorded."""
    name = name.replace("_m", "_mirror")
    tensors = load_file(golden("pggan/process_reals_32.safetensors"))
    lod = float(name.removeprefix("lod").removesuffix("_mirror"))
    pixels = tensors[f"in/x_uint8/{name}"]
    factor = 32 // pixels.shape[-1]
    images = pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    if name.endswith("_mirror"):
        kept = tensors[f"in/mirror_uniform/{name}"] < 0.5
        images = torch.where(kept, images, images.flip(3))
    shown = shown_at(lod, to_unit_range(images))
    torch.testing.assert_close(shown, tensors[f"out/reals/{name}"], atol=2e-6, rtol=0)


def test_mirroring_may_come_after(golden):
    """The engine mirrors what is shown, the reference before it fades: but for the order of sums."""
    tensors = load_file(golden("pggan/process_reals_32.safetensors"))
    images = to_unit_range(tensors["in/x_uint8/lod0"])
    for lod in (0.0, 0.5, 1.0, 1.3, 2.75):
        after = shown_at(lod, images).flip(3)
        torch.testing.assert_close(after, shown_at(lod, images.flip(3)), atol=2e-7, rtol=0)


def test_the_level_of_data_set_files(golden):
    """4 px means of an 8 px picture, as TensorFlow's files of the reference's tool hold them."""
    found = np.load(golden("pggan/tfrecords_8/expected.npz"))
    shown = shown_at(1.0, to_unit_range(torch.from_numpy(found["images_r03"])))
    assert found["images_r02"].shape == (3, 3, 4, 4)
    assert (to_uint8(shown)[:, :, ::2, ::2].numpy() == found["images_r02"]).all()
