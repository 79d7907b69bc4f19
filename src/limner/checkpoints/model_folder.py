"""The model folder: config.json and model.safetensors, the layout that model hubs expect.

Tensors are `generator.*` (the moving average where there is one), `generator_raw.*` and
`discriminator.*`; names below that are those of the modules' state dicts. `standing.*` are batch
norm statistics of the generator for several truncations, one row each.
"""

import dataclasses
import itertools
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from limner.checkpoints.manifest import sha256_of_bytes
from limner.checkpoints.model_place import CONFIG_NAME, WEIGHTS_NAME, is_model, model_place
from limner.checkpoints.protocol import (
    TEMPORARY,
    protocol_point,
    remove_tree,
    require_space,
    settled,
    swap_in,
    write_file,
)
from limner.checkpoints.run_directory import RunDirectory
from limner.checkpoints.state import load_state, unpack_tensors
from limner.core.config import Config, decode, from_json, nearest, to_json
from limner.core.errors import CheckpointError, ConfigError, DiskError
from limner.core.files import make_directory, read_json, sync_directory, write_problem
from limner.core.protocols import NetworkConfig

MODEL_FORMAT_VERSION = 1
MAX_SIZE, MAX_CLASSES = 2**16, 2**20  # beyond, a file is damaged or means harm
MAX_TRUNCATIONS = 4096
NETWORKS = ("generator", "generator_raw", "discriminator")
GROUPS = (*NETWORKS, "standing")


class ModelConfig(Config, frozen=True, kw_only=True):
    """What config.json of a model folder says.

    Attributes:
        image_shape: channels, height, width.
        num_classes: 0 for an unconditional model.
        class_names: one a class, or none at all.
        truncations: ascending, those that the rows of the standing statistics belong to.
        statistics_rule: how rows are interpolated: "linear", or with the weights of the two rows
            swapped, as pytorch-pretrained-BigGAN does ("huggingface").
        statistics: numbers that belong to the model, as plain JSON, for example class counts.
        origin: where it comes from: {"kind": "run", "name", "step", "nimg", "data_sha256"}, or an
            importer's name with the hashes of its files; `weights_sha256` once it is written.
    """

    generator: NetworkConfig
    discriminator: NetworkConfig | None = None
    image_shape: tuple[int, int, int]
    num_classes: int = 0
    class_names: tuple[str, ...] = ()
    truncations: tuple[float, ...] = ()
    statistics_rule: Literal["linear", "huggingface"] = "linear"
    statistics: dict = {}
    origin: dict = {}
    format_version: int = MODEL_FORMAT_VERSION

    def __post_init__(self) -> None:
        if not 1 <= min(self.image_shape) <= max(self.image_shape) <= MAX_SIZE:
            raise ConfigError(
                f"image_shape must be positive, at most {MAX_SIZE}, got {list(self.image_shape)}"
            )
        if not 0 <= self.num_classes <= MAX_CLASSES:
            raise ConfigError(f"num_classes must be 0 to {MAX_CLASSES}, got {self.num_classes}")
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ConfigError(
                f"class_names has {len(self.class_names)} names for {self.num_classes} classes"
            )
        given = self.truncations
        ascending = all(first < second for first, second in itertools.pairwise(given))
        if not (ascending and all(0 <= item < math.inf for item in given)):
            raise ConfigError(
                f"truncations must be finite, not negative and ascending, got {list(given)[:5]}"
            )
        if len(given) > MAX_TRUNCATIONS:
            raise ConfigError(f"truncations has {len(given)} entries, at most {MAX_TRUNCATIONS}")


@dataclasses.dataclass
class ModelRecord:
    """A model as configs and state dicts, before any module is built.

    `generator` is the one to sample from: the moving average where there is one, and then
    `generator_raw` are the weights that were trained. `sha256` identifies the weights: it is that
    of model.safetensors, computed on first use for a record that comes from elsewhere.
    """

    config: ModelConfig
    generator: dict[str, Tensor]
    generator_raw: dict[str, Tensor] | None = None
    discriminator: dict[str, Tensor] | None = None
    standing: dict[str, Tensor] | None = None
    file_sha256: str = ""

    @property
    def sha256(self) -> str:
        if not self.file_sha256:
            self.file_sha256 = sha256_of_bytes(_packed(self))
        return self.file_sha256


def _packed(record: ModelRecord) -> bytes:
    """The bytes of model.safetensors."""
    tensors = {}
    for group in GROUPS:
        for name, tensor in (getattr(record, group) or {}).items():
            if not isinstance(tensor, Tensor):
                raise CheckpointError(
                    f"{group}.{name}: not a tensor; a model folder holds only those"
                )
            tensors[f"{group}.{name}"] = tensor.detach().to("cpu", copy=True).contiguous()
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def write_model(folder: str | Path, record: ModelRecord) -> Path:
    """Write a model folder; one that exists is replaced as a whole, other files in it stay.

    After a crash `read_model` finds the old model or the new one.

    Raises:
        CheckpointError: the folder holds something else, or could not be written; standing
            statistics that do not fit.
    """
    folder = Path(folder)
    existing = settled(folder)
    is_empty = existing.is_dir() and not any(existing.iterdir())
    if existing.exists() and not is_empty and not is_model(existing):
        raise CheckpointError(f"{folder}: it exists and is not a model folder; give another path")
    check_standing(record, "standing statistics")
    weights = _packed(record)
    digest = sha256_of_bytes(weights)
    config = record.config.replace(origin={**record.config.origin, "weights_sha256": digest})
    temporary = folder.with_name(TEMPORARY + folder.name)
    try:
        make_directory(folder.parent)
        remove_tree(temporary)
        require_space(folder.parent, len(weights))
        temporary.mkdir()
        _carry_over(existing, temporary)
        write_file(temporary / WEIGHTS_NAME, weights)
        write_file(temporary / CONFIG_NAME, to_json(config).encode())
        sync_directory(temporary)
        protocol_point("temporary model flushed")
        swap_in(temporary, folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        line = write_problem(error, folder, len(weights))
        raise DiskError(f"{line}; the model was not written, an earlier one is untouched") from None
    return folder


def _carry_over(old: Path, new: Path) -> None:
    """Copy what the user put beside a model (a README, pictures)."""
    for entry in sorted(old.iterdir()) if old.is_dir() else ():
        if entry.is_dir():
            shutil.copytree(entry, new / entry.name)
        elif entry.name not in (CONFIG_NAME, WEIGHTS_NAME):
            shutil.copy2(entry, new / entry.name)


def read_model(folder: str | Path, import_modules: bool = False) -> ModelRecord:
    """Read a model folder: the config checked, the weights compared with their sha256 if it is
    known. Shapes are checked by `fill`, when there are modules to fill.

    Args:
        import_modules: import the module of a user's own network class. Only for folders whose
            config the user trusts; without it, only modules already imported are used.

    Raises:
        CheckpointError, ConfigError: name the file and what is wrong with it.
    """
    folder = Path(folder)
    place = settled(folder)
    _require_known_format(read_json(place / CONFIG_NAME, {}), place / CONFIG_NAME)
    config_bytes = _file_bytes(place / CONFIG_NAME)
    config = from_json(ModelConfig, config_bytes, str(place / CONFIG_NAME), import_modules)
    weights_path = place / WEIGHTS_NAME
    weights = _file_bytes(weights_path)
    digest = sha256_of_bytes(weights)
    if config.origin.get("weights_sha256", digest) != digest:
        raise CheckpointError(
            f"{weights_path}: its sha256 is not the one in config.json; restore the file, or "
            "remove origin.weights_sha256 if you changed it on purpose"
        )
    groups = _grouped(unpack_tensors(weights, weights_path), weights_path)
    if not groups["generator"]:
        raise CheckpointError(f"{weights_path}: it holds no tensor 'generator.*'")
    if groups["discriminator"] and config.discriminator is None:
        raise CheckpointError(
            f"{weights_path}: it holds a discriminator, but config.json describes none"
        )
    record = ModelRecord(
        config=config,
        generator=groups["generator"],
        generator_raw=groups["generator_raw"] or None,
        discriminator=groups["discriminator"] or None,
        standing=groups["standing"] or None,
        file_sha256=digest,
    )
    check_standing(record, str(weights_path))
    return record


def check_standing(record: ModelRecord, where: str) -> None:
    """Raises CheckpointError unless standing statistics fit the generator and the config: a set
    without truncations or the reverse, a buffer that the generator lacks, a wrong shape, a value
    that is not finite, a negative variance."""
    standing, num = record.standing or {}, len(record.config.truncations)
    if bool(standing) != bool(num):
        raise CheckpointError(
            f"{where}: {len(standing)} tensors 'standing.*' for {num} truncations in "
            f"{CONFIG_NAME}; both or none belong to a model"
        )
    for name, rows in standing.items():
        own = record.generator.get(name)
        if own is None:
            hint = nearest(name, list(record.generator))
            raise CheckpointError(f"{where}: 'standing.{name}' is no buffer of the generator{hint}")
        shape = [num, *own.shape]
        if list(rows.shape) != shape or not rows.is_floating_point():
            raise CheckpointError(
                f"{where}: 'standing.{name}' is {rows.dtype} {list(rows.shape)}, expected floating "
                f"point {shape}: a row for each truncation"
            )
        negative = name.endswith("_var") and bool((rows < 0).any())
        if negative or not bool(torch.isfinite(rows).all()):
            what = "a negative variance" if negative else "a value that is not finite"
            raise CheckpointError(f"{where}: 'standing.{name}' holds {what}; restore the file")


def _require_known_format(plain: Mapping[str, Any], path: Path) -> None:
    """Before anything else is looked at: a newer format may have keys that are unknown here."""
    version = plain.get("format_version")
    if version != MODEL_FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {version}, this limner reads {MODEL_FORMAT_VERSION}; "
            "if the folder comes from a newer limner, update; if from elsewhere, import it"
        )


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file; a model folder holds {CONFIG_NAME} and {WEIGHTS_NAME}"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None


def _grouped(tensors: Mapping[str, Tensor], where: Path) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in GROUPS}
    for full_name, tensor in tensors.items():
        group, _, name = full_name.partition(".")
        if group not in groups or not name:
            raise CheckpointError(
                f"{where}: unknown tensor '{full_name}'; names begin with "
                + ", ".join(f"'{known}.'" for known in GROUPS)
            )
        groups[group][name] = tensor
    return groups


def record_from_state(
    run_config: Mapping[str, Any],
    data_info: Mapping[str, Any],
    tree: Mapping[str, Any],
    import_modules: bool = False,
) -> ModelRecord:
    """The model that a training state holds.

    Args:
        run_config, data_info: config.json and data.json of the run, as plain JSON values.
        tree: has the state dicts "generator", "discriminator" and "generator_ema" (or None), and
            "progress" with step and nimg.

    Raises:
        ConfigError: the run's networks cannot be found or built.
        CheckpointError: the state holds no generator.
    """
    progress = tree.get("progress")
    progress = progress if isinstance(progress, Mapping) else {}
    num_classes = run_config.get("num_classes")
    names = data_info.get("class_names")
    names = names if isinstance(names, (list, tuple)) else []
    if num_classes is None:
        num_classes = data_info["num_classes"]
    plain = {
        "generator": run_config["generator"],
        "discriminator": run_config.get("discriminator"),
        "image_shape": data_info["image_shape"],
        "num_classes": num_classes,
        "class_names": list(names) if len(names) == num_classes else [],
        "statistics": {},
        "origin": {
            "kind": "run",
            "name": run_config.get("name"),
            "step": progress.get("step"),
            "nimg": progress.get("nimg"),
            "data_sha256": data_info.get("sha256"),
        },
    }
    raw, ema = _state_dict(tree, "generator"), _state_dict(tree, "generator_ema")
    if raw is None:
        raise CheckpointError("the training state holds no 'generator'; it is of another program")
    return ModelRecord(
        config=decode(ModelConfig, plain, import_modules),
        generator=raw if ema is None else ema,
        generator_raw=None if ema is None else raw,
        discriminator=_state_dict(tree, "discriminator"),
    )


def _state_dict(tree: Mapping[str, Any], key: str) -> dict[str, Tensor] | None:
    """A copy of a module's state dict in a training state; None where there is none."""
    state = tree.get(key)
    if not state:
        return None
    named = isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    )
    if not named:
        raise CheckpointError(f"'{key}' of the training state is not tensors with names")
    return dict(state)


def find_model(spec: str | Path, import_modules: bool = False) -> ModelRecord:
    """The model that a user names: a model folder, or a run with what to take of it.

    Args:
        spec: "RUN" (its newest whole checkpoint, the moving average), "RUN@best-fid",
            "RUN@step-20000", "RUN:raw" or "RUN@step-400:raw" for the weights without moving
            average, or a model folder (":raw" as well).

    Raises:
        CheckpointError: there is no such thing; says what was looked for.
    """
    place = model_place(spec)
    if place.run is None:
        record = read_model(place.path, import_modules)
    else:
        record = _from_run(place.run, place.selector, import_modules)
    if not place.raw:
        return record
    if record.generator_raw is None:
        raise CheckpointError(
            f"{place.path}: it has no moving average, so ':raw' says nothing; leave it out"
        )
    return dataclasses.replace(  # the standing statistics are those of the moving average
        record,
        config=record.config.replace(truncations=()),
        generator=record.generator_raw,
        generator_raw=None,
        standing=None,
        file_sha256="",
    )


def _from_run(run: RunDirectory, selector: str, import_modules: bool) -> ModelRecord:
    config, data = run.read_config("generator"), run.read_data("image_shape", "num_classes")
    state = run.select(selector)
    tree = load_state(state, keys=(*NETWORKS, "generator_ema", "progress"))
    try:
        return record_from_state(config, data, tree, import_modules)
    except CheckpointError as error:
        raise CheckpointError(f"{state}: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{run.config}: {error}") from None
