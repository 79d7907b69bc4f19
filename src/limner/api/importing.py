"""Runs that go on from other programs' trainings, and models and runs given back to them."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from limner.api.training import resolved
from limner.checkpoints import ModelRecord, RunDirectory, fill, find_model, load_state
from limner.checkpoints.exporters import EXPORTERS
from limner.checkpoints.importers.biggan_pytorch import TrainingRecord, read_training
from limner.core.config import nearest, to_json
from limner.core.errors import CheckpointError, ConfigError, LimnerError
from limner.core.files import write_atomically
from limner.data import DataConfig, open_data
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Ema
from limner.engine.progress import Progress
from limner.objectives import HingeD, HingeG, Orthogonal
from limner.running.fit import Fit

Flags = Mapping[str, Any]


def import_run(
    source: str | Path,
    run: str | Path,
    data: str | Path,
    suffix: str | None = None,
    settings: Mapping[str, Any] | None = None,
    on_prepare: Callable[[int, int | None], None] | None = None,
) -> RunDirectory:
    """A run that goes on where BigGAN-PyTorch's training stopped.

    It begins with that training's networks, average, Adam moments and counters. Its noise, and the
    order of its pictures, are limner's own.

    Args:
        source: the folder weights/EXPERIMENT.
        run: a new run directory.
        data: the pictures, as `train` takes them.
        suffix, settings: see `importers.biggan_pytorch.read`.
        on_prepare: called with (pictures prepared, their number or None).

    Raises:
        LimnerError: a file is missing or damaged, the data does not fit, or the run exists.
    """
    record = read_training(source, suffix, settings)
    directory = RunDirectory(run)
    prepared = open_data(data, _data(record.flags), on_prepare)
    classes = record.model.config.num_classes
    if prepared.num_classes != classes:
        raise ConfigError(f"{data}: it has {prepared.num_classes} classes, the weights {classes}")
    config = run_config(record, record.model.config.origin["folder"], len(prepared))
    config = resolved(config, prepared)
    if prepared.image_shape != record.model.config.image_shape:
        raise ConfigError(f"{data}: its pictures are {list(prepared.image_shape)}")
    with directory.lock():
        if directory.exists():
            raise CheckpointError(f"{run}: a run was begun here already; give another --run")
        directory.create()
        directory.write_data(prepared, str(data))
        write_atomically(directory.config, to_json(config))
        fit = Fit(config, prepared, directory, torch.device("cpu"))
        try:
            take(fit, record)
            fit.save("imported", last=True)
        finally:
            fit.loader.close()
    return directory


def take(fit: Fit, record: TrainingRecord) -> None:
    """Put another program's training into a new run's trainer."""
    trainer, model = fit.trainer, record.model
    assert model.discriminator is not None
    fill(trainer.networks["g"], model.generator_raw or model.generator, "the generator")
    fill(trainer.networks["d"], model.discriminator, "the discriminator")
    if trainer.generator_ema is not None:
        fill(trainer.generator_ema, model.generator, "the average")
    for role, moments in record.optimizers.items():
        player = role[0]
        _fill_adam(trainer.optimizers[player], trainer.networks[player], moments)
    itr = record.counters["itr"]
    nimg = round(itr * trainer.config.images_per_step())
    trainer.progress = Progress(step=itr, nimg=nimg)


def _fill_adam(
    optimizer: torch.optim.Optimizer, network: torch.nn.Module, moments: Mapping[str, dict]
) -> None:
    """The saved moments; the settings stay this run's, which came from the same flags."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for number, (name, parameter) in enumerate(network.named_parameters()):
        if name not in moments:
            continue
        for key in ("exp_avg", "exp_avg_sq"):
            if moments[name][key].shape != parameter.shape:
                raise CheckpointError(f"{name}: its {key} has another shape than the parameter")
            # In the parameter's memory format, as fused Adam wants it.
            moments[name][key] = torch.empty_like(parameter).copy_(moments[name][key])
        state[number] = dict(moments[name])
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )


def run_config(record: TrainingRecord, name: str, num_images: int) -> RunConfig:
    """That program's flags as a run of its number of epochs.

    Args:
        record: the training.
        name: of the run.
        num_images: in the data.

    Raises:
        ConfigError: its latents have another deviation than 1.
    """
    flags, model = record.flags, record.model.config
    if flags["z_var"] != 1.0:
        raise ConfigError(f"z_var: {flags['z_var']}; limner trains on latents of deviation 1")
    if model.discriminator is None:
        raise CheckpointError("the training has no discriminator")
    config = RunConfig(
        name=name,
        generator=model.generator,
        discriminator=model.discriminator,
        data=_data(flags),
        updates=_updates(flags),
        optim=Players(
            g=_adam_of(flags, "G"),
            d=_adam_of(flags, "D"),
        ),
        controllers=_average(flags),
        batch_size=flags["batch_size"],
        steps=1,
        seed=flags["seed"],
        intervals=Intervals(save=flags["save_every"], sample=flags["save_every"]),
    )
    length = int(flags["num_epochs"] * num_images / config.images_per_step())
    return config.replace(steps=max(record.counters["itr"] + 1, length))


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


def _updates(flags: Flags) -> tuple[Update, ...]:
    d = Update(
        player="d",
        terms=(HingeD(),),
        direct=(Orthogonal(flags["D_ortho"], exclude=()),) if flags["D_ortho"] > 0 else (),
        repeats=flags["num_D_steps"],
        accumulate=flags["num_D_accumulations"],
        forwards="fake_then_real" if flags["split_D"] else "joint",
    )
    g = Update(
        player="g",
        terms=(HingeG(),),
        direct=(Orthogonal(flags["G_ortho"]),) if flags["G_ortho"] > 0 else (),
        accumulate=flags["num_G_accumulations"],
        num_latents=max(flags["G_batch_size"], flags["batch_size"]),
    )
    return d, g


def _adam_of(flags: Flags, player: str) -> Adam:
    betas = (flags[f"{player}_B1"], flags[f"{player}_B2"])
    return Adam(lr=flags[f"{player}_lr"], betas=betas, eps=flags["adam_eps"])


def _average(flags: Flags) -> tuple[Ema, ...]:
    if not flags["ema"]:
        return ()
    return (Ema(decay=flags["ema_decay"], start_step=flags["ema_start"]),)


# --- the way back ----------------------------------------------------------


def export(model: str | Path, name: str, out: str | Path) -> list[Path]:
    """Write a model or run in another program's files.

    Args:
        model: a run ("RUN", "RUN@step-400") or a model folder.
        name: of the format, one of `EXPORTERS`.
        out: the folder to write.

    Returns:
        the files.

    Raises:
        LimnerError: there is no such format, or the model does not go into it.
    """
    if name not in EXPORTERS:
        raise LimnerError(f"no format '{name}'{nearest(name, EXPORTERS)}; see limner export --help")
    exporter = importlib.import_module(EXPORTERS[name])
    record = find_model(model)
    tree, flags = _training_of(str(model), record)
    return exporter.write(record, out, tree, flags)


def _training_of(spec: str, record: ModelRecord) -> tuple[Any, dict[str, Any] | None]:
    """A run's training state and its flags; nothing for a model folder or weights alone."""
    if record.config.origin.get("kind") != "run" or spec.endswith(":raw"):
        return None, None
    path, _, selector = (spec, "", "") if Path(spec).is_dir() else spec.partition("@")
    run = RunDirectory(path)
    if not run.exists():
        return None, None
    config = run.config_as(RunConfig)
    keys = ("optimizer_g", "optimizer_d", "progress")
    return load_state(run.select(selector), keys=keys), flags_of_run(config)


def flags_of_run(config: RunConfig) -> dict[str, Any]:
    """The training flags that a run's config stands for, as far as that program has them."""
    flags: dict[str, Any] = {"batch_size": config.batch_size, "seed": config.seed}
    for update in config.updates:
        player = update.player.upper()
        flags[f"num_{player}_accumulations"] = update.accumulate
        if player == "D":
            flags |= {"num_D_steps": update.repeats, "split_D": update.forwards != "joint"}
        elif update.num_latents is not None:
            flags["G_batch_size"] = update.num_latents
        for part in update.direct:
            if isinstance(part, Orthogonal):
                flags[f"{player}_ortho"] = part.strength
    for player, adam in (("G", config.optim.g), ("D", config.optim.d)):
        flags |= {f"{player}_lr": adam.lr, "adam_eps": adam.eps}
        flags |= {f"{player}_B1": adam.betas[0], f"{player}_B2": adam.betas[1]}
    for controller in config.controllers:
        if isinstance(controller, Ema) and controller.decay is not None:
            flags |= {"ema_decay": controller.decay, "ema_start": controller.start_step}
    return flags
