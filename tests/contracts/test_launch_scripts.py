"""Presets say what BigGAN-PyTorch's launch scripts say, flag by flag.

launch_scripts.csv holds every flag that a training script sets (empty: the command line's default,
in the last column). Each flag is compared here or named among those that no preset has to have.
"""

import csv
from pathlib import Path

import pytest
import torch

from limner import presets
from limner.core.config import differences, encode
from limner.engine import RunConfig, Update
from limner.engine.controllers import Ema
from limner.objectives import HingeD, HingeG, Orthogonal

TABLE = Path(__file__).with_name("launch_scripts.csv")
ROWS = {row["flag"]: row for row in csv.DictReader(TABLE.read_text().splitlines())}
NAMES = [name for name in next(iter(ROWS.values())) if name not in ("flag", "default")]
ON = {"on": True, "False": False}
INITS = {"ortho": "orthogonal", "N02": "normal", "xavier": "xavier"}

# Nothing that is learned: the machine, the loader, names of files, an implementation in place.
# num_epochs and the multi-epoch sampler make the number of steps, below; G_eval_mode says how the
# script looks at samples, and limner always looks in evaluation mode.
NOT_IN_A_PRESET = {
    "dataset", "num_workers", "shuffle", "use_multiepoch_sampler", "parallel", "name_suffix",
    "num_save_copies", "G_nl", "D_nl", "skip_init", "num_epochs", "G_eval_mode", "use_ema",
}  # fmt: skip


def value(flag: str, name: str) -> str:
    """A script's value, or the default where it sets none."""
    return ROWS[flag][name] or ROWS[flag]["default"]


def number(flag: str, name: str) -> float:
    return float(value(flag, name))


def update(config: RunConfig, player: str) -> Update:
    (found,) = (u for u in config.updates if u.player == player)
    return found


def attention(flag: str, name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in value(flag, name).split("_") if part != "0")


def expected(name: str) -> dict[str, object]:
    """What the table asks of a preset; keys begin with the flags that they come from."""
    batch = int(number("batch_size", name))
    asked: dict[str, object] = {"batch_size": batch}
    asked["G_batch_size"] = max(int(number("G_batch_size", name)), batch)
    for flag in ("num_D_steps", "num_D_accumulations", "num_G_accumulations", "seed"):
        asked[flag] = int(number(flag, name))
    for flag in ("G_lr", "D_lr", "G_B2", "D_B2", "adam_eps", "BN_eps", "SN_eps"):
        asked[flag] = number(flag, name)
    for flag in ("G_ch", "D_ch", "dim_z", "shared_dim", "save_every", "test_every"):
        asked[flag] = int(number(flag, name))
    for flag in ("G_init", "D_init"):
        asked[flag] = INITS[value(flag, name)]
    for flag in ("G_attn", "D_attn"):
        asked[flag] = attention(flag, name)
    for flag in ("load_in_mem", "ema"):
        asked[flag] = ON[value(flag, name)]
    asked["hier"] = ON[value("hier", name)]
    asked["G_shared"] = ON[value("G_shared", name)]
    asked["num_best_copies"] = int(number("num_best_copies", name))
    asked["G_ortho"] = number("G_ortho", name)
    asked["D_thin"] = value("D_thin", name) == "on"
    asked["model"] = value("model", name)
    asked["ema_start"] = int(number("ema_start", name)) if asked["ema"] else 0
    if asked["model"] == "BigGANdeep":
        asked |= {flag: int(number(flag, name)) for flag in ("G_depth", "D_depth")}
    return asked


def found(config: RunConfig) -> dict[str, object]:
    """The same of a preset."""
    g, d, optim = config.generator, config.discriminator, config.optim
    d_update, g_update = update(config, "d"), update(config, "g")
    (average,) = config.controllers or (None,)
    assert average is None or isinstance(average, Ema)
    assert optim.g.eps == optim.d.eps
    assert g.spectral_norm_eps == d.spectral_norm_eps
    is_deep = type(g).__name__ == "BigGanDeepGenerator"
    shared_dim = getattr(g, "shared_dim", 0)
    values: dict[str, object] = {
        "batch_size": config.batch_size,
        "G_batch_size": g_update.num_latents or config.batch_size,
        "num_D_steps": d_update.repeats,
        "num_D_accumulations": d_update.accumulate,
        "num_G_accumulations": g_update.accumulate,
        "seed": config.seed,
        "G_lr": optim.g.lr,
        "D_lr": optim.d.lr,
        "G_B2": optim.g.betas[1],
        "D_B2": optim.d.betas[1],
        "adam_eps": optim.g.eps,
        "BN_eps": g.batch_norm_eps,
        "SN_eps": g.spectral_norm_eps,
        "G_ch": g.width,
        "D_ch": d.width,
        "dim_z": g.z_dim,
        "shared_dim": shared_dim,
        "G_shared": shared_dim > 0,
        "hier": is_deep or getattr(g, "skip_z", False),
        "save_every": config.intervals.save,
        "test_every": config.intervals.evaluate,
        "num_best_copies": config.keep_best,
        "G_init": g.init,
        "D_init": d.init,
        "G_attn": getattr(g, "attention", ()),
        "D_attn": getattr(d, "attention", ()),
        "load_in_mem": config.data.in_memory,
        "ema": average is not None,
        "ema_start": average.start_step if average else 0,
        "G_ortho": sum(part.strength for part in g_update.direct),
        "D_thin": not getattr(d, "wide", True),
        "model": "BigGANdeep" if is_deep else "BigGAN",
    }
    return values | ({"G_depth": g.depth, "D_depth": d.depth} if is_deep else {})


def test_the_table_is_whole():
    assert len(ROWS) > 40
    assert len(NAMES) == 7
    compared = set().union(*(expected(name) for name in NAMES))
    assert compared | NOT_IN_A_PRESET == set(ROWS)
    assert compared.isdisjoint(NOT_IN_A_PRESET)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_its_launch_script(name: str):
    config = presets.get(name)()
    assert found(config) == expected(name)
    d, g = update(config, "d"), update(config, "g")
    assert (d.terms, g.terms) == ((HingeD(),), (HingeG(),))
    assert d.forwards == "joint"
    assert config.optim.g.betas[0] == config.optim.d.betas[0] == 0.0
    assert config.intervals.singular_values == 10
    assert config.num_evaluate == 50_000
    assert config.metrics == ("is", "fid")
    for part in config.controllers:
        assert (part.decay, part.buffers, part.after) == (0.9999, "average", "g")
    assert (config.data.resolution, config.data.flip) == (32 if "cifar" in name else 128, False)


@pytest.mark.parametrize("name", ["sagan-imagenet128", "sngan-imagenet128", "biggan-cifar10"])
def test_steps_are_the_scripts_epochs(name: str):
    config = presets.get(name)()
    images = 50_000 if name == "biggan-cifar10" else 1_281_167
    an_epoch = images // int(config.images_per_step())
    assert config.steps == an_epoch * int(number("num_epochs", name))


# Parameters of (generator, discriminator) with 1,000 classes, 10 for CIFAR (reference-systems A.2).
SIZES = {
    "biggan-imagenet128-bs256x8": (70_433_988, 87_982_370),
    "biggan-imagenet128-ch64": (31_978_628, 39_448_258),
    "biggan-deep-imagenet128": (50_244_484, 34_590_210),
    "sagan-imagenet128": (42_017_412, 39_448_258),
    "sngan-imagenet128": (41_996_931, 30_005_013),
    "biggan-cifar10": (4_304_387, 4_207_361),
    "biggan-paper-imagenet128": (70_433_988, 87_982_370),
    "biggan-paper-imagenet256": (82_097_604, 99_191_330),
    "biggan-paper-imagenet512": (82_296_804, None),
}


@pytest.mark.parametrize("name", SIZES)
def test_networks_have_the_references_sizes(name: str):
    config = presets.get(name)()
    shape = (3, config.data.resolution, config.data.resolution)
    classes = 10 if "cifar" in name else 1000
    for network, size in zip((config.generator, config.discriminator), SIZES[name], strict=True):
        with torch.device("meta"):
            built = network.build(shape, classes)
        count = sum(p.numel() for p in built.parameters())
        assert count > 1_000_000
        assert size in (None, count)


# --- the paper ----------------------------------------------------------------

LADDER = {
    "biggan-ladder-batch256": None,
    "biggan-ladder-batch512": {"batch_size"},
    "biggan-ladder-batch1024": {"batch_size"},
    "biggan-ladder-batch2048": {"batch_size"},
    "biggan-ladder-width96": {"generator.width", "discriminator.width"},
    "biggan-ladder-shared": {"generator.shared_dim"},
    "biggan-ladder-skip-z": {"generator.skip_z"},
    "biggan-ladder-ortho": {"updates.1.direct"},
    "biggan-paper-imagenet128": {"steps"},
}


def test_each_rung_differs_from_the_one_before_in_one_thing():
    rungs = {name: encode(presets.get(name)()) for name in LADDER}
    before = None
    for name, changed in LADDER.items():
        if before is not None:
            assert set(differences(before, rungs[name])) == {"name", *(changed or ())}, name
        before = rungs[name]
    sizes = [rungs[name]["batch_size"] for name in list(LADDER)[:4]]
    assert sizes == [256, 512, 1024, 2048]


@pytest.mark.parametrize(("resolution", "z_dim"), [(128, 120), (256, 140), (512, 128)])
def test_the_papers_recipe(resolution: int, z_dim: int):
    config = presets.get(f"biggan-paper-imagenet{resolution}")()
    g, d, optim = config.generator, config.discriminator, config.optim
    assert (config.data.resolution, config.batch_size) == (resolution, 2048)
    assert (g.width, d.width, g.z_dim, g.shared_dim, g.skip_z) == (96, 96, z_dim, 128, True)
    assert g.norm == "cross_replica"
    assert (g.batch_norm_eps, g.output_norm_eps) == (1e-4, None)
    assert (optim.g.lr, optim.d.lr) == (5e-5, 2e-4)
    assert update(config, "d").repeats == 2
    assert update(config, "g").direct == (
        Orthogonal(strength=1e-4, variant="modified", exclude=("shared",)),
    )
    assert update(config, "d").direct == ()
    assert config.controllers == (Ema(decay=0.9999, start_step=0),)
    assert config.standing_passes > 0


# --- MMGeneration's recipes (reference-systems C.3) -----------------------------

# resolution, (widths), z_dim, lr of G and D, beta1, D steps, batch, steps of G, average or None.
# Its iterations count D's steps: 500,000 are 125,000 passes of four, or 100,000 of five.
AVERAGE = {"buffers": "copy", "after": "g"}
MMGENERATION = {
    "biggan-cifar10-mmgen": (
        32, (64, 64), 128, (2e-4, 2e-4), 0.0, 4, 50, 500_000 // 4,
        Ema(decay=0.9999, start_step=4000 // 4, **AVERAGE),
    ),
    "sagan-imagenet128-mmgen": (
        128, (64, 64), 128, (1e-4, 4e-4), 0.0, 1, 256, 1_000_000,
        Ema(decay=0.999, start_step=2000, **AVERAGE),
    ),
    "sngan-cifar10-mmgen": (32, (256, 128), 128, (2e-4, 2e-4), 0.5, 5, 64, 500_000 // 5, None),
}  # fmt: skip


@pytest.mark.parametrize("name", MMGENERATION)
def test_mmgenerations_recipes(name: str):
    config = presets.get(name)()
    g, d, optim = config.generator, config.discriminator, config.optim
    assert optim.g.betas == optim.d.betas
    assert optim.g.betas[1] == 0.999
    assert {u.accumulate for u in config.updates} == {1}
    assert update(config, "d").forwards == "fake_then_real"
    assert (*config.controllers, None)[0] == MMGENERATION[name][-1]
    assert MMGENERATION[name][:-1] == (
        config.data.resolution, (g.width, d.width), g.z_dim, (optim.g.lr, optim.d.lr),
        optim.g.betas[0], update(config, "d").repeats, config.batch_size, config.steps,
    )  # fmt: skip


def test_mmgenerations_cifar_biggan_is_initialized_as_the_script():
    g = presets.get("biggan-cifar10-mmgen")().generator
    assert (g.init, g.spectral_norm_eps, g.shared_dim) == ("normal", 1e-8, 0)
    assert not presets.get("sagan-imagenet128-mmgen")().data.flip  # "noaug"
