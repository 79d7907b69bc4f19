"""Models and runs from other programs' checkpoints.

Torch is imported on first use, so that the command can show the formats without it.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from limner.checkpoints.foreign import Importer, Training
from limner.checkpoints.hub import PREFIX, HubPlace, fetched
from limner.checkpoints.importers import IMPORTERS
from limner.core.config import decode, encode, load_module, override, resolve_part, to_json
from limner.core.errors import CheckpointError, ConfigError, LimnerError

if TYPE_CHECKING:
    import torch

    from limner.checkpoints import ModelRecord
    from limner.engine import RunConfig
    from limner.running.fit import Fit

__all__ = ["IMPORTERS", "format_named", "import_model", "import_run", "importer_named"]

NUM_PREVIEW = 8  # images

Marker = TypeVar("Marker")


def format_named(
    marker: type[Marker], table: Mapping[str, str], name: str
) -> tuple[str, type[Marker]]:
    """The name that is saved, and the class, of a format.

    Args:
        marker: Importer or Exporter.
        name: one of the table (limner's own), "module:Class" or "FILE.py:Class".

    Raises:
        LimnerError: there is no such format, module or class.
    """
    tag = table.get(name, name)
    module, colon, cls = tag.rpartition(":")
    if not colon:
        raise LimnerError(
            f"no format '{name}'; the formats are {', '.join(table)}, and FILE.py:CLASS of your own"
        )
    if module.endswith(".py"):
        name = tag = f"{load_module(module).__name__}:{cls}"
    part: Any = marker  # none that a config holds, but found as those are
    return name, resolve_part(part, tag, "format", import_modules=True)


def importer_named(name: str) -> tuple[str, type[Importer]]:
    """`format_named` of an importer."""
    return format_named(Importer, IMPORTERS, name)


def import_model(
    name: str,
    source: str | Path,
    out: str | Path,
    settings: Mapping[str, Any] | None = None,
    fetched_from: str | None = None,
) -> "ModelRecord":
    """A model folder from another program's checkpoint.

    Args:
        name: of the format: one of `IMPORTERS`, or the "module:Class" of one outside of it.
        source: the checkpoint, a file or folder as the importer's docstring says, or one on the
            Hugging Face hub: hf:USER/NAME, hf:USER/NAME@REVISION/FILE.
        out: the folder to write; one that holds a model is replaced.
        fetched_from: where the file was fetched, for the origin of the model.

    Raises:
        LimnerError: there is no such format or option, a file is missing or damaged, or the folder
            holds something else.

    Examples:
        >>> old, best = "weights/EXPERIMENT", {"suffix": "best0"}
        >>> record = limner.import_model("biggan-pytorch", old, "models/best", best)
        >>> len(limner.load("models/best").sample(num=4))
        4
    """
    from limner.checkpoints import write_model

    path, place = local_source(source)
    name, importer = _importer(name, path, settings)
    with _named(source):
        record = _with_origin(name, importer.read(path), place or fetched_from)
    write_model(out, record)
    return record


def local_source(source: str | Path) -> tuple[Path, str | None]:
    """The file or folder on this machine, and where on the hub it was fetched, with its commit."""
    if not str(source).startswith(PREFIX):
        return Path(source), None
    found = fetched(HubPlace.of(str(source)))
    return found.path, str(found.place)


def save_preview(model: str | Path) -> Path:
    """A sheet of the first seeds' images beside a model folder, MODEL-preview.png."""
    from limner.sampling import load, save_png, sheet

    place = Path(model)
    path = place.with_name(f"{place.resolve().name}-preview.png")
    loaded = load(place)
    num = NUM_PREVIEW if max(loaded.image_shape[1:]) <= 256 else NUM_PREVIEW // 2
    save_png(sheet(loaded.sample(num=num)), path, {"Software": "limner"})
    return path


def import_run(
    name: str,
    source: str | Path,
    run: str | Path,
    data: str | Path,
    settings: Mapping[str, Any] | None = None,
    on_prepare: Callable[[int, int | None], None] | None = None,
) -> "ModelRecord":
    """A run that goes on where another program's training stopped; its model.

    It begins with that training's networks, average, Adam moments and counters. Its noise, and the
    order of its pictures, are limner's own.

    Args:
        name, source, settings: as for `import_model`.
        data, on_prepare: as for `train`.

    Raises:
        LimnerError: as `import_model`; the data does not fit, or the run exists.
    """
    import torch

    from limner.api.training import resolved
    from limner.checkpoints import RunDirectory, find_model
    from limner.core.files import write_atomically
    from limner.data import open_data
    from limner.running.fit import Fit

    path, _ = local_source(source)
    name, importer = _importer(name, path, settings)
    with _named(source):
        record, training = importer.read_training(path)
    directory = RunDirectory(run)
    config = _config_of(training, data, source)
    prepared = open_data(data, config.data, on_prepare)
    classes = record.config.num_classes
    if prepared.num_classes != classes:
        raise ConfigError(f"{data}: it has {prepared.num_classes} classes, the weights {classes}")
    if not training.recipe:
        length = int(training.epochs * len(prepared) / config.images_per_step())
        config = config.replace(steps=max(training.step + 1, length))
    config = resolved(config, prepared)
    if prepared.image_shape != record.config.image_shape:
        raise ConfigError(f"{data}: its pictures are {list(prepared.image_shape)}")
    with directory.lock():
        if directory.exists():
            raise CheckpointError(f"{run}: a run was begun here already; give another --run")
        directory.create()
        directory.write_data(prepared, str(data))
        write_atomically(directory.config, to_json(config))
        fit = Fit(config, prepared, directory, torch.device("cpu"))
        try:
            _take(fit, record, training)
            fit.save("imported", last=True)
        finally:
            fit.loader.close()
    return find_model(directory.path)


def _config_of(training: Training, data: str | Path, source: str | Path) -> "RunConfig":
    """The config that a foreign training goes on with, its length aside."""
    from limner.api.configs import is_fitted, preset_config
    from limner.engine import RunConfig

    if not training.recipe:
        return decode(RunConfig, {**training.run, "steps": training.step + 1})
    begin = "" if training.moments else "; optimizers begin anew"
    warnings.warn(
        f"{source}: holds no recipe; the run goes on by limner's preset '{training.recipe}'{begin}",
        stacklevel=3,
    )
    networks = {key: value for key, value in training.run.items() if "." not in key}
    settings = [f"{key}={value}" for key, value in training.run.items() if "." in key]
    if is_fitted(training.recipe):
        from limner.api.fitting import fitted

        config = fitted(training.recipe, data, assignments=settings)[0]
    else:
        config = override(preset_config(training.recipe), settings)
    return decode(RunConfig, {**encode(config), **networks, "num_classes": None})


def _importer(
    name: str, source: str | Path, settings: Mapping[str, Any] | None
) -> tuple[str, Importer]:
    name, cls = importer_named(name)
    try:
        importer = cls.of(settings or {})
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    if not Path(source).exists():
        raise LimnerError(f"{source}: no such file")
    return name, importer


@contextlib.contextmanager
def _named(source: str | Path) -> Iterator[None]:
    """A network that cannot be, as the file describes it, is the file's fault."""
    try:
        yield
    except ConfigError as error:
        raise CheckpointError(f"{source}: {error}") from None


def _with_origin(name: str, record: "ModelRecord", place: str | None) -> "ModelRecord":
    origin = {"kind": "import", "importer": name, "fetched_from": place or ""}
    origin = {key: value for key, value in origin.items() if value} | record.config.origin
    record.config = record.config.replace(origin=origin)
    return record


def _take(fit: "Fit", record: "ModelRecord", training: Training) -> None:
    """Put another program's training into a new run's trainer."""
    from limner.checkpoints import fill
    from limner.engine.progress import Progress

    trainer = fit.trainer
    assert record.discriminator is not None
    fill(trainer.networks["g"], record.generator_raw or record.generator, "the generator")
    fill(trainer.networks["d"], record.discriminator, "the discriminator")
    if trainer.generator_ema is not None:
        fill(trainer.generator_ema, record.generator, "the average")
    for player, moments in training.moments.items():
        _fill_adam(trainer.optimizers[player], trainer.networks[player], moments)
    of_step = trainer.config.images_per_step()
    nimg = training.nimg or round(training.step * of_step)
    step = training.step or round(nimg / of_step)
    trainer.progress = Progress(step=step, nimg=nimg, num_drawn=nimg)


def _fill_adam(
    optimizer: "torch.optim.Optimizer",
    network: "torch.nn.Module",
    moments: Mapping[str, Mapping[str, "torch.Tensor"]],
) -> None:
    """The saved moments; the settings stay this run's, which came from the same flags."""
    import torch

    state: dict[int, dict[str, torch.Tensor]] = {}
    for number, (name, parameter) in enumerate(network.named_parameters()):
        if name not in moments:
            continue
        state[number] = dict(moments[name])
        for key in ("exp_avg", "exp_avg_sq"):
            if moments[name][key].shape != parameter.shape:
                raise CheckpointError(f"{name}: its {key} has another shape than the parameter")
            # In the parameter's memory format, as fused Adam wants it.
            state[number][key] = torch.empty_like(parameter).copy_(moments[name][key])
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
