"""BigGAN-PyTorch's flags: as a file gives them, as shapes tell them, and as limner's configs."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from limner.checkpoints.importers.biggan_names import FamilyConfig
from limner.checkpoints.model_folder import ModelConfig
from limner.core.config import encode, tag_of
from limner.core.errors import CheckpointError, ConfigError
from limner.data import DataConfig
from limner.formats.pickles import Record, shown
from limner.models import (
    BigGanDeepDiscriminator,
    BigGanDeepGenerator,
    BigGanDiscriminator,
    BigGanGenerator,
)
from limner.models.building import BOTTOM, DISCRIMINATOR_TABLE, GENERATOR_TABLE
from limner.objectives import HingeD, HingeG, Orthogonal

Flags = dict[str, Any]
State = Mapping[str, Tensor]

# Every flag that decides what a network or a training is, with the program's own default. Two more
# are derived from the data set there: resolution and n_classes.
DEFAULTS: Flags = {
    "model": "BigGAN", "resolution": 0, "n_classes": 0, "G_ch": 64, "D_ch": 64, "G_depth": 1,
    "D_depth": 1, "D_wide": True, "G_shared": False, "shared_dim": 0, "dim_z": 128, "z_var": 1.0,
    "hier": False, "cross_replica": False, "mybn": False, "norm_style": "bn", "G_nl": "relu",
    "D_nl": "relu", "G_attn": "64", "D_attn": "64", "G_param": "SN", "D_param": "SN",
    "G_init": "ortho", "D_init": "ortho", "SN_eps": 1e-8, "BN_eps": 1e-5, "num_G_SVs": 1,
    "num_D_SVs": 1, "num_G_SV_itrs": 1, "num_D_SV_itrs": 1,
    "dataset": "", "augment": False, "seed": 0, "G_lr": 5e-5, "D_lr": 2e-4, "G_B1": 0.0,
    "D_B1": 0.0, "G_B2": 0.999, "D_B2": 0.999, "adam_eps": 1e-8, "batch_size": 64,
    "G_batch_size": 0, "num_G_accumulations": 1, "num_D_accumulations": 1, "num_D_steps": 2,
    "split_D": False, "num_epochs": 100, "ema": False, "ema_decay": 0.9999, "ema_start": 0,
    "use_ema": False, "G_ortho": 0.0, "D_ortho": 0.0, "save_every": 2000, "test_every": 5000,
}  # fmt: skip
FOR_TRAINING = tuple(DEFAULTS)[tuple(DEFAULTS).index("G_lr") : -2]
UNSEEN = ("SN_eps", "BN_eps")  # they differ between recipes, and no shape tells them
OUTPUT_NORM_EPS = 1e-5  # whatever BN_eps says
DEEP_RESOLUTIONS = (32, 64, 128, 256)
RELU = ("relu", "inplace_relu", "ir")
INITS = {"ortho": "orthogonal", "N02": "normal", "xavier": "xavier", "glorot": "xavier"}


def checked(given: Mapping[str, Any], where: str) -> Flags:
    """The flags among `given` that limner knows; others are about paths and displays. Raises
    CheckpointError where one has another type than there, or an activation is no ReLU."""
    flags = {}
    for name, default in DEFAULTS.items():
        if name not in given:
            continue
        value = given[name]
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(default):
            raise CheckpointError(
                f"{where}: {name} is {shown(repr(value))}, a {type(default).__name__} is needed"
            )
        flags[name] = value
    for name in ("G_activation", "D_activation"):
        activation = given.get(name)
        of = activation.of.name if isinstance(activation, Record) else activation
        if of is not None and not str(of).startswith("ReLU"):
            raise CheckpointError(
                f"{where}: {name} is {shown(str(of))}; the program and limner know ReLU only"
            )
    return flags


def require(known: Collection[str], needed: Collection[str], where: str) -> None:
    """Raises CheckpointError that names every needed flag which is not known."""
    missing = [name for name in needed if name not in known]
    if missing:
        examples = " ".join(f"--set {name}={DEFAULTS[name]}" for name in missing)
        raise CheckpointError(
            f"{where}: there is no state_dict file, and the weights cannot tell "
            f"{', '.join(missing)}; give them, for example with that program's defaults: {examples}"
        )


# --- flags to configs ------------------------------------------------------


def generator_config(flags: Flags) -> FamilyConfig:
    """The generator that the flags ask for; ConfigError for a value that the program itself cannot
    train with."""
    deep, side = is_deep(flags), flags["resolution"]
    num_blocks = max(1, (side // BOTTOM).bit_length() - 1)
    z_dim, skip_z = flags["dim_z"], flags["hier"] and not deep
    shared_dim = (flags["shared_dim"] or z_dim) if flags["G_shared"] else 0
    if (deep or skip_z) and not (shared_dim and flags["hier"]):
        raise ConfigError("hier, and BigGANdeep, need --hier and --G_shared in BigGAN-PyTorch")
    if skip_z:
        z_dim = z_dim // (num_blocks + 1) * (num_blocks + 1)
    common: dict[str, Any] = {
        "width": flags["G_ch"],
        "z_dim": z_dim,
        "shared_dim": shared_dim,
        "attention": places(flags["G_attn"], [2 * BOTTOM << i for i in range(num_blocks)]),
        "norm": _norm(flags),
        "spectral_norm": flags["G_param"] == "SN",
        "batch_norm_eps": flags["BN_eps"],
        "output_norm_eps": OUTPUT_NORM_EPS,
        **_power(flags, "G"),
    }
    if deep:
        return BigGanDeepGenerator(depth=flags["G_depth"], **common)
    return BigGanGenerator(skip_z=skip_z, **common)


def discriminator_config(flags: Flags) -> FamilyConfig:
    """The discriminator that the flags ask for. Raises ConfigError as `generator_config`."""
    side = flags["resolution"]
    sizes = [side >> i for i in range(1, 16) if side >> i >= BOTTOM]
    attention = places(flags["D_attn"], sizes)
    if side == 32:  # its table calls the size after each of the four blocks 16; it is 16 and 8
        attention = (16, 8) if places(flags["D_attn"], [16]) else ()
    common: dict[str, Any] = {
        "width": flags["D_ch"],
        "attention": attention,
        "spectral_norm": flags["D_param"] == "SN",
        **_power(flags, "D"),
    }
    if is_deep(flags):
        return BigGanDeepDiscriminator(depth=flags["D_depth"], **common)
    return BigGanDiscriminator(wide=flags["D_wide"], **common)


def is_deep(flags: Flags) -> bool:
    """Raises ConfigError for a model of somebody's own."""
    if flags["model"] not in ("BigGAN", "BigGANdeep"):
        raise ConfigError(f"model: '{shown(flags['model'])}' is not BigGAN or BigGANdeep")
    return flags["model"] == "BigGANdeep"


def places(flag: str, allowed: Collection[int]) -> tuple[int, ...]:
    """Resolutions of "32_64", those that there are; "0" is none."""
    if not re.fullmatch(r"\d{1,6}(_\d{1,6})*", flag):
        raise ConfigError(f"attention: '{shown(flag)}' is not of the form 64 or 32_64")
    wanted = {int(part) for part in flag.split("_")}
    return tuple(size for size in allowed if size in wanted)


def _norm(flags: Flags) -> str:
    if flags["cross_replica"]:
        return "cross_replica"
    if flags["mybn"]:
        return "moments"
    known = {"bn": "batch", "nonorm": "none"}
    if flags["norm_style"] not in known:
        raise ConfigError(
            f"norm_style: '{shown(flags['norm_style'])}' cannot be imported, only bn and nonorm"
        )
    return known[flags["norm_style"]]


def _power(flags: Flags, player: str) -> dict[str, Any]:
    init = flags[f"{player}_init"]
    if init not in INITS:
        raise ConfigError(f"{player}_init: '{shown(init)}' is none of {', '.join(INITS)}")
    if flags[f"{player}_nl"] not in RELU:
        raise ConfigError(f"{player}_nl: '{shown(flags[f'{player}_nl'])}' is no ReLU")
    return {
        "num_singular_values": flags[f"num_{player}_SVs"],
        "num_iterations": flags[f"num_{player}_SV_itrs"],
        "spectral_norm_eps": flags["SN_eps"],
        "init": INITS[init],
    }


# --- flags to a run, and back -----------------------------------------------


def run_of_flags(flags: Flags, model: ModelConfig, name: str) -> dict[str, Any]:
    """The same training as config.json holds it, without its length; ConfigError where its latents
    have another deviation than 1."""
    if flags["z_var"] != 1.0:
        raise ConfigError(f"z_var: {flags['z_var']}; limner trains on latents of deviation 1")
    d = {
        "player": "d",
        "terms": [encode(HingeD())],
        "direct": _orthogonal(flags["D_ortho"], exclude=()),
        "repeats": flags["num_D_steps"],
        "accumulate": flags["num_D_accumulations"],
        "forwards": "fake_then_real" if flags["split_D"] else "joint",
    }
    g = {
        "player": "g",
        "terms": [encode(HingeG())],
        "direct": _orthogonal(flags["G_ortho"]),
        "accumulate": flags["num_G_accumulations"],
        "num_latents": max(flags["G_batch_size"], flags["batch_size"]),
    }
    average = {"type": "Ema", "decay": flags["ema_decay"], "start_step": flags["ema_start"]}
    return {
        "name": name,
        "generator": encode(model.generator),
        "discriminator": encode(model.discriminator),
        "data": encode(_data(flags)),
        "updates": [d, g],
        "optim": {"g": _adam(flags, "G"), "d": _adam(flags, "D")},
        "controllers": [average] if flags["ema"] else [],
        "batch_size": flags["batch_size"],
        "seed": flags["seed"],
        "intervals": {"save": flags["save_every"], "sample": flags["save_every"]},
    }


def _data(flags: Flags) -> DataConfig:
    """Without augmentation centred squares, resized as PIL's bilinear does, never mirrored."""
    small = flags["dataset"] in ("C10", "C100")
    augment = flags["augment"]
    return DataConfig(
        resolution=flags["resolution"],
        channels=3,
        filter="bilinear",
        flip=augment,
        crop="random" if augment and not small else "center",
        pad=4 if augment and small else 0,
    )


def _orthogonal(strength: float, **settings: Any) -> list[dict[str, Any]]:
    return [encode(Orthogonal(strength, **settings))] if strength > 0 else []


def _adam(flags: Flags, player: str) -> dict[str, Any]:
    betas = [flags[f"{player}_B1"], flags[f"{player}_B2"]]
    return {"lr": flags[f"{player}_lr"], "betas": betas, "eps": flags["adam_eps"]}


def flags_of_run(run: Mapping[str, Any]) -> Flags:
    """The training flags that a run's config.json stands for, as far as that program has them."""
    flags: Flags = {"batch_size": run["batch_size"], "seed": run["seed"]}
    for update in run["updates"]:
        player = update["player"].upper()
        flags[f"num_{player}_accumulations"] = update["accumulate"]
        if player == "D":
            flags |= {"num_D_steps": update["repeats"], "split_D": update["forwards"] != "joint"}
        elif update["num_latents"] is not None:
            flags["G_batch_size"] = update["num_latents"]
        for part in update["direct"]:
            if part["type"] == tag_of(Orthogonal):
                flags[f"{player}_ortho"] = part["strength"]
    for player, adam in (("G", run["optim"]["g"]), ("D", run["optim"]["d"])):
        flags |= {f"{player}_lr": adam["lr"], "adam_eps": adam["eps"]}
        flags |= {f"{player}_B1": adam["betas"][0], f"{player}_B2": adam["betas"][1]}
    for controller in run["controllers"]:
        if controller["type"] == "Ema" and controller["decay"] is not None:
            flags |= {"ema_decay": controller["decay"], "ema_start": controller["start_step"]}
    return flags


# --- shapes to flags -------------------------------------------------------


def flags_of_shapes(g: State, d: State | None, where: str) -> Flags:
    """What the shapes of a generator (and discriminator) in the program's names tell;
    CheckpointError where they are none of that program."""
    try:
        flags = _of_generator(g)
        if d is not None:
            flags |= _of_discriminator(d, flags["resolution"])
    except (KeyError, IndexError, ValueError) as error:
        problem = f"there is no tensor {error}" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"{where}: not networks of BigGAN-PyTorch: {problem}") from None
    return flags


def _of_generator(g: State) -> Flags:
    num_stages, _ = _counted(g)
    deep, depth = "blocks.0.0.conv4.weight" in g, 1
    if deep:
        num_stages, depth = _deep_stages(
            [g[f"blocks.{i}.0.conv1.weight"].shape[1] for i in range(num_stages)]
        )
    shared = g["shared.weight"].shape if "shared.weight" in g else None
    num_inputs, gain = g["linear.weight"].shape[1], g["blocks.0.0.bn1.gain.weight"].shape
    hier = shared is not None and gain[1] > shared[1]
    shared_dim = 0 if shared is None else shared[1]
    resolution = BOTTOM << num_stages
    multiplier = _in_table(GENERATOR_TABLE, resolution)[0]
    z_dim = num_inputs - shared_dim if deep else num_inputs * (num_stages + 1 if hier else 1)
    return {
        "model": "BigGANdeep" if deep else "BigGAN",
        "resolution": resolution,
        "n_classes": gain[0] if shared is None else shared[0],
        "G_ch": g["output_layer.2.weight"].shape[1] // multiplier,
        "G_depth": depth,
        "G_shared": shared is not None,
        "shared_dim": shared_dim,
        "hier": hier,
        "dim_z": z_dim,
        "G_attn": _attention(g, [2 * BOTTOM << i // depth for i in range(num_stages * depth)], 1),
        "cross_replica": "output_layer.0.bn.running_mean" in g,
        "mybn": "output_layer.0.bn.stored_mean" in g,
        "norm_style": "bn" if any("mean" in key for key in g) else "nonorm",
        "G_param": "SN" if "linear.u0" in g else "None",
        "num_G_SVs": max(1, sum(f"linear.u{i}" in g for i in range(64))),
    }


def _of_discriminator(d: State, resolution: int) -> Flags:
    num_stages, depth = _counted(d)
    first, second = d["blocks.0.0.conv1.weight"].shape[0], d["blocks.0.0.conv2.weight"].shape[0]
    sizes = [resolution >> (i + 1) for i in range(num_stages)]
    return {
        "D_ch": d["linear.weight"].shape[1] // _in_table(DISCRIMINATOR_TABLE, resolution)[-1],
        "D_depth": depth,
        "D_wide": "input_conv.weight" in d or first == second,
        "D_attn": _attention(d, sizes, depth),
        "D_param": "SN" if "linear.u0" in d else "None",
        "num_D_SVs": max(1, sum(f"linear.u{i}" in d for i in range(64))),
    }


def _counted(state: State) -> tuple[int, int]:
    """Stages, and blocks of each."""
    found = [re.fullmatch(r"blocks\.(\d{1,3})\.(\d{1,3})\.conv1\.weight", key) for key in state]
    pairs = [(int(match[1]), int(match[2])) for match in found if match]
    if not pairs:
        raise KeyError("blocks.0.0.conv1.weight")
    return max(pairs)[0] + 1, max(index for _, index in pairs) + 1


def _deep_stages(widths: list[int]) -> tuple[int, int]:
    """Stages and blocks of each, of a deep generator, whose blocks are counted through: from the
    channels that they take."""
    for resolution in DEEP_RESOLUTIONS:
        num_stages = (resolution // BOTTOM).bit_length() - 1
        stages = [*reversed(GENERATOR_TABLE[resolution])][:num_stages]
        stages = [stages[0]] * (num_stages - len(stages)) + stages
        depth, rest = divmod(len(widths), num_stages)
        unit = widths[0] // stages[0]
        if not rest and widths == [unit * stage for stage in stages for _ in range(depth)]:
            return num_stages, depth
    raise ValueError("its channels are those of no BigGANdeep")


def _in_table(table: Mapping[int, tuple[int, ...]], resolution: int) -> tuple[int, ...]:
    if resolution not in table:
        raise ValueError(f"it makes images of {resolution} pixels")
    return table[resolution]


def _attention(state: State, sizes: list[int], depth: int) -> str:
    found = [str(s) for i, s in enumerate(sizes) if f"blocks.{i}.{depth}.theta.weight" in state]
    return "_".join(found) or "0"
