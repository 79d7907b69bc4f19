"""Presets say what config.py of tkarras/progressive_growing_of_gans says, row by row.

The tables are those of the original's file: schedules for so many GPUs, data sets (those that it
mirrors are marked), conditioning, ablations, modes; and the CIFAR recipe of its Theano branch.
"""

from typing import Any

import pytest

from limner import presets
from limner.core import growth
from limner.core.config import decode, differences, encode
from limner.engine import Adam, RunConfig, Sheet
from limner.engine.controllers import Ema, Growth
from limner.models import PgganDiscriminator, PgganGenerator
from limner.objectives import (
    AuxiliaryClassifierD,
    AuxiliaryClassifierG,
    Drift,
    GradientPenalty,
    WassersteinD,
    WassersteinG,
)

FP32 = {256: 16, 512: 8, 1024: 4}
FP16 = {512: 16, 1024: 8}
TICKS = {4: 160, 8: 140, 16: 120, 32: 100, 64: 80, 128: 60, 256: 40, 512: 20, 1024: 10}

# preset: GPUs, minibatch_base, minibatch_dict, lrate_dict, total_kimg, lod kimg, mbstd group
SCHEDULES: dict[str, tuple[int, int, dict[int, int], dict[int, float], int, int, int]] = {
    "pggan-v1-1gpu": (1, 16, {256: 14, 512: 6, 1024: 3}, {}, 19000, 800, 16),
    "pggan-v2-1gpu": (
        1,
        4,
        {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
        {1024: 0.0015},
        12000,
        600,
        4,
    ),
    "pggan-v2-2gpus": (
        2,
        8,
        {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8},
        {512: 0.0015, 1024: 0.002},
        12000,
        600,
        4,
    ),
    "pggan-v2-4gpus": (
        4,
        16,
        {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16},
        {256: 0.0015, 512: 0.002, 1024: 0.003},
        12000,
        600,
        4,
    ),
    "pggan-v2-8gpus": (
        8,
        32,
        {4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
        {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
        12000,
        600,
        4,
    ),
}
# preset: resolution, channels, mirror_augment
DATA_SETS = {
    "pggan-v2-1gpu": (1024, 3, True),  # celebahq
    "pggan-celeba": (128, 3, True),
    "pggan-cifar10": (32, 3, False),
    "pggan-cifar100": (32, 3, False),
    "pggan-svhn": (32, 3, False),
    "pggan-mnist": (32, 1, False),
    "pggan-mnistrgb": (32, 3, False),
    "pggan-syn1024rgb": (1024, 3, False),
    "pggan-lsun": (256, 3, True),  # lsun-<category>-100k, thirty of them
}
CONDITIONAL = {
    "pggan-cond": "pggan-v2-1gpu",
    "pggan-cifar10-cond": "pggan-cifar10",
    "pggan-cifar100-cond": "pggan-cifar100",
    "pggan-svhn-cond": "pggan-svhn",
    "pggan-mnist-cond": "pggan-mnist",
}
SCHEDULE = "controllers.0.schedule."
# preset: everything in which it differs from the default, as config.py's line for it says
VARIANTS: dict[str, dict[str, Any]] = {
    "pggan-nogrowing": {
        SCHEDULE + "initial_resolution": 1024,
        SCHEDULE + "training_kimg": 0,
        SCHEDULE + "transition_kimg": 0,
        "kimg": 10000,
    },
    "pggan-nopixelnorm": {"generator.pixel_norm": False},
    "pggan-nowscale": {"generator.equalized": False, "discriminator.equalized": False},
    "pggan-noleakyrelu": {"generator.leaky": False},
    "pggan-nosmoothing": {"controllers.1.decay": 0.0},
    "pggan-norepeat": {"controllers.0.read_every": 1},
    "pggan-noreset": {"controllers.0.reset_optimizers": False},
    "pggan-bfloat16": {
        "precision": "bfloat16",
        SCHEDULE + "most_per_process": [[512, 16], [1024, 8]],
    },
    "pggan-benchmark": {
        SCHEDULE + "training_kimg": 3,
        SCHEDULE + "transition_kimg": 3,
        SCHEDULE + "tick_kimg": [],
        SCHEDULE + "usual_tick_kimg": 1,
        "kimg": 51,
        "intervals.sample_ticks": 1000,
        "intervals.save_ticks": 1000,
    },
    "pggan-benchmark0": {
        SCHEDULE + "initial_resolution": 1024,
        SCHEDULE + "training_kimg": 3,
        SCHEDULE + "transition_kimg": 3,
        SCHEDULE + "tick_kimg": [],
        SCHEDULE + "usual_tick_kimg": 1,
        "kimg": 10,
        "intervals.sample_ticks": 1000,
        "intervals.save_ticks": 1000,
    },
}


def growth_of(config: RunConfig) -> Growth:
    found = config.controllers[0]
    assert isinstance(found, Growth)
    return found


def changes(name: str, base: str = "pggan-v2-1gpu") -> dict[str, Any]:
    """Dotted keys in which a preset differs from another, but for the name -> its values."""
    old, new = encode(presets.get(base)()), encode(presets.get(name)())
    found: dict[str, Any] = {}
    for key in differences(old, new):
        node = new
        for part in key.split("."):
            node = node[int(part)] if isinstance(node, list) else node[part]
        found[key] = node
    found.pop("name")
    return found


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_of_the_gpus(name: str):
    gpus, base, batches, rates, kimg, phase, group = SCHEDULES[name]
    config = presets.get(name)()
    schedule = growth_of(config).schedule
    assert (schedule.num_processes, config.batch_size, config.kimg) == (gpus, base, kimg)
    assert dict(schedule.batch_sizes) == batches
    assert dict(schedule.g_rates) == dict(schedule.d_rates) == rates
    assert dict(schedule.most_per_process) == FP32
    assert dict(schedule.tick_kimg) == TICKS == dict(growth.TICKS)
    assert (schedule.training_kimg, schedule.transition_kimg) == (phase, phase)
    assert (schedule.initial_resolution, schedule.usual_tick_kimg) == (4, 160)
    assert config.discriminator == PgganDiscriminator(group_size=group)


def test_what_all_presets_share():
    config = presets.get("pggan-v2-1gpu")()
    adam = Adam(lr=0.001, betas=(0.0, 0.99), eps=1e-8)
    assert (config.optim.g, config.optim.d, config.seed) == (adam, adam, 1000)
    assert config.generator == PgganGenerator(
        z_dim=None,
        fmap_base=8192,
        fmap_decay=1.0,
        fmap_max=512,
        equalized=True,
        pixel_norm=True,
        pixel_norm_eps=1e-8,
        normalize_latents=True,
        leaky=True,
        fused_scale=True,
    )
    d, g = config.updates
    assert (d.player, g.player, d.repeats, d.every, g.every) == ("d", "g", 1, 1, 1)
    assert d.terms == (WassersteinD(), GradientPenalty(weight=10.0, target=1.0), Drift(0.001))
    assert g.terms == (WassersteinG(),)
    assert config.controllers[0].read_every == 4  # pyright: ignore[reportAttributeAccessIssue]
    assert growth_of(config).reset_optimizers
    assert config.controllers[1:] == (Ema(decay=0.999, after="d", buffers="copy"),)
    assert (config.intervals.sample_ticks, config.intervals.save_ticks) == (1, 10)
    assert (config.intervals.sample, config.intervals.save) == (0, 0)
    assert config.sheet == Sheet(grid="1080p", layout="random")


@pytest.mark.parametrize("name", DATA_SETS)
def test_data_sets(name: str):
    data = presets.get(name)().data
    assert (data.resolution, data.channels, data.flip) == DATA_SETS[name]
    assert data.labels == "none"
    fields = {"data.resolution", "data.channels", "data.flip", "data.expected_classes"}
    assert name == "pggan-v2-1gpu" or set(changes(name)) <= fields


@pytest.mark.parametrize("name", CONDITIONAL)
def test_conditional_presets(name: str):
    config, plain = presets.get(name)(), presets.get(CONDITIONAL[name])()
    assert config.data == plain.data.replace(labels="classes")
    (d, g), (plain_d, plain_g) = config.updates, plain.updates
    assert d.terms == (*plain_d.terms, AuxiliaryClassifierD(weight=1.0))
    assert g.terms == (*plain_g.terms, AuxiliaryClassifierG(weight=1.0))
    assert (d.labels, g.labels) == ("real", "natural")
    same = config.replace(name=plain.name, data=plain.data, updates=plain.updates)
    assert same == plain


def test_the_preset_of_one_label_column():
    config, full = presets.get("pggan-cond1")(), presets.get("pggan-cond")()
    assert (config.data.max_label_size, full.data.max_label_size) == (1, None)
    assert config == full.replace(name="pggan-cond1", data=full.data.replace(max_label_size=1))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_what_its_line_says_and_nothing_else(name: str):
    assert changes(name) == VARIANTS[name]


def test_the_recipe_of_the_theano_branch():
    config = presets.get("pggan-cifar10-theano")()
    assert config.generator == PgganGenerator(
        z_dim=128, fmap_base=4096, fmap_max=128, fused_scale=False
    )
    assert config.discriminator == PgganDiscriminator(
        fmap_base=4096, fmap_max=128, fused_scale=False, group_size=16
    )
    schedule = growth_of(config).schedule
    assert (schedule.training_kimg, schedule.transition_kimg, config.kimg) == (400, 400, 20000)
    assert (config.batch_size, schedule.batch_sizes, schedule.g_rates) == (16, (), ())
    assert growth_of(config).read_every == 1
    assert GradientPenalty(weight=10.0, target=750.0) in config.updates[0].terms
    assert config.controllers[1] == Ema(decay=0.999, after="g", buffers="copy")
    assert config.data == presets.get("pggan-cifar10")().data
    assert (config.intervals.sample_ticks, config.intervals.save_ticks) == (4, 40)
    assert (schedule.usual_tick_kimg, dict(schedule.tick_kimg)[32]) == (50, 20)


def names() -> list[str]:
    return [name for name in presets.PRESETS if name.startswith("pggan-")]


def test_every_preset_is_in_a_table():
    listed = {*SCHEDULES, *DATA_SETS, *CONDITIONAL, *VARIANTS}
    assert set(names()) == listed | {"pggan-cond1", "pggan-cifar10-theano", "pggan-digits"}


@pytest.mark.parametrize("name", names())
def test_presets_are_named_and_come_back_from_json(name: str):
    config = presets.get(name)()
    assert config.name == name
    assert decode(RunConfig, encode(config)) == config


def test_a_schedule_for_more_gpus_runs_on_any_number_of_processes():
    """8 GPUs' batches on 1, 2, 4 and 8 processes are the same; on 3, the next multiple below."""
    schedule = growth_of(presets.get("pggan-v2-8gpus")()).schedule
    planned = [schedule.batch_size(2**k, 32, 8) for k in range(2, 11)]
    assert planned == [512, 256, 128, 64, 32, 32, 32, 32, 32]
    for num_processes in (1, 2, 4):
        assert [schedule.batch_size(2**k, 32, num_processes) for k in range(2, 11)] == planned
    odd = [schedule.batch_size(2**k, 32, 3) for k in range(2, 11)]
    assert odd == [size - size % 3 for size in planned]


def test_the_digits_grow_in_narrow_networks():
    config = presets.get("pggan-digits")()
    assert isinstance(config.generator, PgganGenerator)
    assert config.generator.fmap_max == 64
    schedule = growth_of(config).schedule
    assert schedule.initial_resolution == 4
    assert config.kimg is not None
    assert [schedule.lod(nimg, 32) for nimg in (0, 72_000, int(config.kimg * 1000))] == [3, 0, 0]
