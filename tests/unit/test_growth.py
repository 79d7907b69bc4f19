"""Growth on toys: what the schedule says happens in a run, at its moments and not before."""

import itertools
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from growing import SCHEDULE, SIZE, growing_config, growing_data
from limner.core import distributed
from limner.core.config import Config, decode, encode, override
from limner.core.errors import ConfigError
from limner.core.growth import GrowthSchedule
from limner.core.images import to_unit_range
from limner.data import Loader, indices
from limner.data.fading import shown_at
from limner.engine import Intervals, RunConfig, Update
from limner.engine.controllers import Controller, Growth
from limner.engine.trainer import Trainer
from limner.models import PgganDiscriminator, PgganGenerator
from limner.objectives import Term
from limner.running.fit import Hooks
from processes import in_processes
from runs import computed_log, fit_of
from toys import ToyReals, toy_config


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory):
    return growing_data(tmp_path_factory.mktemp("pictures"))


# --- the schedule --------------------------------------------------------------------------


def test_the_checks_of_the_reference():
    schedule = GrowthSchedule()
    lods = [schedule.lod(kimg * 1000, 1024) for kimg in (0, 600, 900, 1200, 1500, 2100, 10**6)]
    assert lods == [8.0, 8.0, 7.5, 7.0, 7.0, 6.5, 0.0]
    assert [schedule.resolution(lod, 1024) for lod in lods[:4]] == [4, 4, 8, 8]


def test_a_schedule_without_growth_is_flat():
    schedule = GrowthSchedule(initial_resolution=1024, training_kimg=0.0, transition_kimg=0.0)
    assert {schedule.lod(nimg, 1024) for nimg in (0, 10**6, 10**9)} == {0.0}
    assert schedule.lod(0, 32) == 0.0


def test_levels_may_switch_without_a_fade():
    schedule = GrowthSchedule(training_kimg=1.0, transition_kimg=0.0)
    assert [schedule.lod(n, 16) for n in (0, 999, 1000, 1999, 2000, 5000)] == [2, 2, 1, 1, 0, 0]


def test_other_grids_than_4x4():
    schedule = GrowthSchedule(initial_resolution=5)
    assert schedule.lod(0, 160) == 5.0
    assert schedule.resolution(3.5, 160) == 20


@pytest.mark.parametrize(("full", "possible"), [(160, "5, 10, 20, 40, 80, 160"), (6, "3, 6")])
def test_a_resolution_that_is_not_reached_names_those_that_are(full, possible):
    with pytest.raises(ConfigError, match=f"does not become {full} .* one of {possible}$"):
        GrowthSchedule(initial_resolution=4).lod(0, full)


def test_batches_are_cut_for_the_processes():
    schedule = GrowthSchedule(batch_sizes=((8, 14), (16, 64)), most_per_process=((16, 6),))
    sizes = [[schedule.batch_size(r, 16, n) for r in (4, 8, 16)] for n in (1, 2, 3, 4)]
    assert sizes == [[16, 14, 6], [16, 14, 12], [15, 12, 18], [16, 12, 24]]
    made_for_4 = schedule.replace(num_processes=4)
    assert [made_for_4.batch_size(r, 16, 1) for r in (4, 8, 16)] == [16, 12, 24]
    assert [made_for_4.batch_size(r, 16, 5) for r in (4, 8, 16)] == [15, 10, 20]
    with pytest.raises(ConfigError, match="batch at 8 px is too small for 15 processes"):
        schedule.batch_size(8, 16, 15)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"initial_resolution": 0}, "initial_resolution: 0 is out of range; give 1 or more"),
        ({"training_kimg": -1.0}, "training_kimg: -1.0 is out of range; give 0 or more"),
        ({"num_processes": 0}, "num_processes: 0 is out of range; give 1 or more or null"),
        ({"usual_tick_kimg": 0.0}, "usual_tick_kimg: 0.0 is out of range; give more than 0"),
        ({"batch_sizes": ((4, 0),)}, "batch_sizes.0.1: 0 is out of range"),
        ({"g_rates": ((4, 1.0), (8, -1.0))}, "g_rates.1.1: -1.0 is out of range"),
        ({"g_rates": ((4, 1.0), (4, 2.0))}, r"g_rates: \[4, 2.0\] follows 4; give each pair once"),
        ({"tick_kimg": ((8, 1.0), (4, 2.0))}, r"tick_kimg: \[4, 2.0\] follows 8"),
    ],
)
def test_bad_schedules(change: dict[str, Any], words: str):
    with pytest.raises(ConfigError, match=words):
        GrowthSchedule(**change)


def test_a_growing_config_comes_back_from_json():
    config = growing_config()
    assert decode(RunConfig, encode(config), import_modules=True) == config
    changed = override(config, ["controllers.0.schedule.batch_sizes=[[4, 16]]"])
    assert changed.controllers[0].schedule.batch_sizes == ((4, 16),)  # pyright: ignore
    with pytest.raises(ConfigError, match=r"read_every.* 1"):
        override(config, ["controllers.0.read_every=0"])


# --- a run ---------------------------------------------------------------------------------


class Diary(Config, Controller, frozen=True):
    """What stands at each step once controllers before it have spoken."""

    lines: ClassVar[list[dict[str, Any]]] = []

    def before_step(self, trainer, memory):
        self.lines.append(
            {
                "step": trainer.progress.step,
                "nimg": trainer.progress.nimg,
                "lods": {n.lod for n in (*trainer.networks.values(), trainer.generator_ema)},
                "batch_size": trainer.batch_size,
                "moments": len(trainer.optimizers["g"].state),
            }
        )

    def after_pass(self, trainer, player, batch, memory):
        rates = [trainer.optimizers[p].param_groups[0]["lr"] for p in ("g", "d")]
        self.lines[-1]["rates"] = rates

    def after_step(self, trainer, memory):
        self.lines[-1]["tick"] = trainer.progress.tick


def trainer_of(config: RunConfig, pictures, rank: int = 0, world_size: int = 1) -> Trainer:
    loader = Loader(pictures, config.batch_size, config.seed, rank=rank, world_size=world_size)
    trainer = Trainer(config, pictures.image_shape, 0, lambda: loader.next(trainer.batch_size))
    return trainer


@pytest.fixture(scope="module")
def diary(pictures) -> list[dict[str, Any]]:
    Diary.lines.clear()
    config = growing_config(controllers=(*growing_config().controllers, Diary()))
    trainer = trainer_of(config, pictures)
    assert trainer.networks["g"].lod == 2.0  # before the first step: what a first sheet shows
    assert trainer.batch_size == 4
    for _ in range(34):
        trainer.step()
    return list(Diary.lines)


def test_the_schedule_is_read_every_fourth_step(diary):
    steps = {line["step"]: line for line in diary}
    for step, line in steps.items():
        read = steps[step - step % 4]
        lod = SCHEDULE.lod(read["nimg"], SIZE)
        resolution = SCHEDULE.resolution(lod, SIZE)
        assert line["lods"] == {lod}
        assert line["batch_size"] == SCHEDULE.batch_size(resolution, 2)
        rate = SCHEDULE.learning_rate("g", resolution, 1e-2)
        assert line["rates"] == [rate, SCHEDULE.learning_rate("d", resolution, 1e-2)]
    lods = [max(line["lods"]) for line in diary[::4]]
    assert lods == pytest.approx([2.0, 2.0, 2.0, 1.5, 1.0, 1.0, 0.25, 0.0, 0.0])


def test_the_clock_counts_what_was_shown(diary):
    shown = [after["nimg"] - line["nimg"] for line, after in itertools.pairwise(diary)]
    assert shown == [line["batch_size"] for line in diary[:-1]]
    assert shown == [4] * 12 + [6] * 12 + [2] * 9


def test_moments_are_forgotten_at_both_edges_of_a_level(diary):
    # Moments that the step finds: two tensors' of one level, or four of two.
    forgotten = [line["step"] for line in diary if line["moments"] == 0]
    assert forgotten == [0, 12, 16, 24, 28]
    assert {line["moments"] for line in diary} == {0, 2, 4}


def test_ticks(diary):
    ends = [a["step"] for b, a in itertools.pairwise(diary) if a["tick"] > b["tick"]]
    assert [step + 1 for step in ends] == [8, 16, 20, 24, 32]


def test_moments_that_are_kept_are_those_of_tensorflow(pictures):
    """Without resets a new level begins as old as the others, with moments of 0."""
    growth = Growth(schedule=SCHEDULE, reset_optimizers=False)
    trainer = trainer_of(growing_config(controllers=(growth,)), pictures)
    for _ in range(13):
        trainer.step()
    state, levels = trainer.optimizers["g"].state, trainer.networks["g"].levels
    assert {float(values["step"]) for values in state.values()} == {12.0, 13.0}
    assert float(state[levels[0].weight]["step"]) == 12.0  # not grown yet
    new, old = state[levels[1].weight], state[levels[2].weight]
    assert float(new["step"]) == float(old["step"]) == 13.0
    gradient = levels[1].weight.grad
    torch.testing.assert_close(new["exp_avg_sq"], 0.01 * gradient.square())
    for _ in range(12):
        trainer.step()
    assert float(state[levels[0].weight]["step"]) == 25.0


def test_rates_follow_a_rollback_between_two_readings(pictures):
    trainer = trainer_of(growing_config(), pictures)
    for _ in range(14):
        trainer.step()
    rates = [trainer.optimizers[p].param_groups[0]["lr"] for p in ("g", "d")]
    trainer.set_rollbacks(1)
    trainer.step()
    halved = [trainer.optimizers[p].param_groups[0]["lr"] for p in ("g", "d")]
    assert halved == [rate / 2 for rate in rates] == [1e-2, 1e-2]


def test_the_average_follows_the_discriminator_and_lags_a_step(pictures):
    trainer = trainer_of(growing_config(), pictures)
    before = trainer.networks["g"].levels[2].weight.detach().clone()
    trainer.step()
    assert trainer.generator_ema is not None
    assert torch.equal(trainer.generator_ema.levels[2].weight, before)
    after = trainer.networks["g"].levels[2].weight.detach().clone()
    trainer.step()
    torch.testing.assert_close(
        trainer.generator_ema.levels[2].weight, before.lerp(after, 0.1), rtol=1e-6, atol=1e-7
    )


class Seen(Config, Term, frozen=True):
    """Keeps the reals that it is shown."""

    reads: ClassVar[tuple[str, ...]] = ("real",)
    images: ClassVar[list[torch.Tensor]] = []

    def __call__(self, batch, memory):
        self.images.append(batch.real)
        return batch.real_logits.mean()


def test_reals_are_shown_at_the_level_of_the_networks(pictures):
    config = growing_config(
        updates=(Update(player="d", terms=(Seen(),)), *growing_config().updates[1:]),
        data=growing_config().data.replace(flip=False),
    )
    Seen.images.clear()
    trainer, place = trainer_of(config, pictures), 0
    for step in range(29):
        trainer.step()
        size, lod = trainer.batch_size, trainer.networks["d"].lod
        rows = indices(config.seed, place, size, len(pictures))
        place += size
        stored = np.ascontiguousarray(pictures.images[rows].transpose(0, 3, 1, 2))
        assert torch.equal(Seen.images[-1], shown_at(lod, to_unit_range(torch.from_numpy(stored))))
        repeated = Seen.images[-1][:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert torch.equal(Seen.images[-1], repeated) == (lod >= 1.0), step


def test_networks_that_do_not_grow_are_refused():
    with pytest.raises(ConfigError, match="ToyGeneratorNetwork does not grow"):
        Trainer(toy_config(controllers=(Growth(),)), (1, 4, 4), 0, ToyReals(4))


def test_growth_from_below_the_networks_base_names_the_field():
    """PGGAN's networks begin at 4 px; a schedule from 2 px has one level more than they."""
    config = toy_config(
        generator=PgganGenerator(fmap_max=4, z_dim=4),
        discriminator=PgganDiscriminator(fmap_max=4),
        controllers=(Growth(schedule=GrowthSchedule(initial_resolution=2)),),
    )
    message = (
        r"controllers: .*lod 2 .*schedule\.initial_resolution 2, .*larger initial_resolution, or "
        "both networks a smaller base$"
    )
    with pytest.raises(ConfigError, match=message):
        Trainer(config, (1, 8, 8), 0, ToyReals(4))


# --- the loader ----------------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_loader_follows_the_batch_and_stays_in_its_place(pictures, num_workers):
    loader, place = Loader(pictures, 4, seed=3, num_workers=num_workers), 0
    for size in (None, 4, 6, None, 6, 2, 50, 4):
        batch = loader.next(size)
        rows = indices(3, place, len(batch.indices), len(pictures))
        assert batch.indices.tolist() == list(rows)
        assert (batch.images.numpy() == pictures.images[rows].transpose(0, 3, 1, 2)).all()
        place += len(rows)
        assert loader.position == place
    assert place == 4 + 4 + 6 + 6 + 6 + 2 + 50 + 4
    with pytest.raises(ConfigError, match="0 images cannot be shared"):
        loader.next(0)
    loader.close()


def test_each_process_takes_its_rows_of_a_changed_batch(pictures):
    shares = [Loader(pictures, 4, seed=3, rank=rank, world_size=2) for rank in (0, 1)]
    whole = Loader(pictures, 4, seed=3)
    for size in (4, 6, 2):
        parts = [loader.next(size).indices for loader in shares]
        assert torch.equal(torch.cat(parts), whole.next(size).indices)
    with pytest.raises(ConfigError, match="3 images cannot be shared by 2"):
        shares[0].next(3)


# --- sheets, states and the log follow ticks -----------------------------------------------


def test_sheets_and_states_follow_ticks(pictures, tmp_path: Path):
    drawn: list[int] = []
    config = growing_config(
        intervals=Intervals(log=5, sample=0, save=0, sample_ticks=1, save_ticks=2)
    )
    hooks = Hooks(draw_samples=lambda generator, path, step: drawn.append(step))
    saved: list[int] = []
    fit = fit_of(tmp_path, config, pictures, hooks=hooks)
    save = fit._keeper.save
    fit._keeper.save = lambda step, *rest, **more: saved.append(step) or save(step, *rest, **more)
    fit()
    assert drawn == [0, 8, 16, 20, 24, 32, 34]
    assert saved == [16, 24, 34]
    lines = computed_log(tmp_path)
    assert [line["lod"] for line in lines] == pytest.approx([2.0, 2.0, 1.5, 1.0, 0.25, 0.0])
    assert [line["batch_size"] for line in lines] == [4, 4, 6, 6, 2, 2]
    assert [line["tick"] for line in lines] == [0, 1, 1, 3, 4, 4]


def test_a_sheet_that_a_stop_left_out_is_drawn_on_resume(pictures, tmp_path: Path):
    config = growing_config(intervals=Intervals(log=5, sample=0, save=0, sample_ticks=2))
    fit = fit_of(tmp_path, config.replace(steps=16), pictures)
    fit()
    drawn: list[int] = []
    hooks = Hooks(draw_samples=lambda generator, path, step: drawn.append(step))
    fit = fit_of(tmp_path, config, pictures, hooks=hooks)
    fit.resume(tmp_path / "checkpoints" / "step-00000016")
    fit()
    assert drawn == [16, 24, 34]


# --- two processes -------------------------------------------------------------------------

# No statistics of a process's own images, so that two may equal one. The second pair is as far as
# the middle of the first fade: later its relus make something of the last bits.
STEPS = {"toys": 34, "pggan": 14}
NETWORKS = {
    "toys": {},
    "pggan": {
        "generator": PgganGenerator(fmap_base=16, fmap_max=6),
        "discriminator": PgganDiscriminator(fmap_base=16, fmap_max=6, group_size=0),
    },
}


def ends(pictures, networks: str) -> dict[str, Any]:
    rank, world_size = distributed.rank(), distributed.world_size()
    config = growing_config(precision="float64", **NETWORKS[networks])
    trainer = trainer_of(config, pictures, rank, world_size)
    for _ in range(STEPS[networks]):
        trainer.step()
    state = trainer.state_dict()
    return {key: state[key] for key in ("generator", "discriminator", "generator_ema", "progress")}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children")
def test_two_processes_grow_as_one(pictures, tmp_path: Path):
    def work(rank: int) -> None:
        distributed.start()
        for networks in NETWORKS:
            torch.save(ends(pictures, networks), tmp_path / f"{networks}-{rank}")
        distributed.stop()

    assert in_processes(2, work) == [0, 0]
    for networks in NETWORKS:
        alone = ends(pictures, networks)
        assert alone["progress"]["nimg"] == {34: 140, 14: 60}[STEPS[networks]]
        for rank in (0, 1):
            share = torch.load(tmp_path / f"{networks}-{rank}")
            assert share["progress"] == alone["progress"]
            for part in ("generator", "discriminator", "generator_ema"):
                torch.testing.assert_close(share[part], alone[part], rtol=1e-9, atol=1e-9)
