"""Files of NVIDIA's PyTorch GANs and of those that build on them: pickles, and one without pickle.

A network-snapshot .pkl is a dict of G, D and G_ema. Its objects bring the source text of their
classes, which the originals run; here that is text that nobody looks into. What is taken are class
names, constructor arguments, attributes that are plain values, and tensors. The other form is a
safetensors file: the original's names behind `G_ema.`, `G.` and `D.`, and in its metadata
`class_names` and `init_kwargs`, JSON objects from prefix to class name and arguments.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from limner.checkpoints.foreign import Training
from limner.checkpoints.importers import stylegan2_tensorflow
from limner.checkpoints.importers.fitting import fitted, listed
from limner.checkpoints.model_folder import ModelConfig, ModelRecord
from limner.core.config import decode, encode
from limner.core.errors import CheckpointError, ConfigError, RefusedFile
from limner.core.files import sha256_of
from limner.core.protocols import NetworkConfig
from limner.formats.pickles import Name, Record, shown
from limner.formats.torch_files import read_pickled_tensors
from limner.formats.weights import common_words, plain, single, unnested

NAMES = ("G_ema", "G", "D")
FILE = "network.safetensors"
RECONSTRUCT = "_reconstruct_persistent_obj"  # of torch_utils.persistence: meta -> object
VERSION = 6  # of what it saves
WANTED = "a network-snapshot .pkl, or a .safetensors with class_names and init_kwargs"


@dataclasses.dataclass(frozen=True)
class Network:
    """What a file says of one network.

    Attributes:
        where: the file and the network, for messages.
        class_name: as the original calls it, without its module.
        arguments: of its constructor; empty where the file has none.
        tensors: its state dict under the original's names.
        attributes: "dotted.name.attribute" -> number, text or truth value of its modules.
        has_filters: whether the tensors hold the filters that the arguments say.
    """

    where: str
    class_name: str
    arguments: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    has_filters: bool = True


@dataclasses.dataclass(frozen=True)
class Built:
    """limner's twin of a network: its config, what it is built for, its state and what is doubtful
    or worth to be known of it."""

    config: NetworkConfig
    image_shape: tuple[int, int, int]
    num_classes: int
    state: Mapping[str, Tensor]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_networks(path: Path, system: str) -> tuple[dict[str, Network], dict[str, Any]]:
    """Those of a file that are there, by their names, and what else a pickle holds.

    Raises:
        RefusedFile: it holds what no such file needs; nothing in it was run.
        CheckpointError: there is no such file, it is damaged, or it is something else.
    """
    if path.is_dir() and (path / FILE).exists():
        path = path / FILE  # as the exporters write it
    if path.suffix == ".safetensors":
        return _of_safetensors(path), {}
    tree = read_pickled_tensors(path, WANTED)
    tree = _plain(tree) if isinstance(tree, Record) else tree
    tree = unnested(tree)
    if isinstance(tree, tuple):
        return _of_tensorflow(tree, path, system), {}
    held = tree if isinstance(tree, dict) else {}
    found = {name: held[name] for name in NAMES if held.get(name) is not None}
    if not found:
        raise CheckpointError(
            f"{path}: {_kind(tree)} without the networks {', '.join(NAMES)}; give {WANTED}"
        )
    rest = {str(key): value for key, value in held.items() if key not in NAMES}
    return {name: _network(record, f"{path}: {name}") for name, record in found.items()}, rest


def _of_tensorflow(tree: tuple, path: Path, system: str) -> dict[str, Network]:
    tensorflow = stylegan2_tensorflow
    if system != "stylegan2-ada" or len(tree) != 3 or not all(map(tensorflow.is_network, tree)):
        raise CheckpointError(
            f"{path}: a tuple of {len(tree)}, as TensorFlow's programs save it, not {system}'s "
            "dict of G, D and G_ema; limner import stylegan2-ada reads (G, D, Gs) of StyleGAN2, "
            "and pggan those of PGGAN"
        )
    found = {}
    for name, record in zip(tensorflow.NAMES, tree, strict=True):
        where = f"{path}: {name}"
        found[name] = Network(where, *tensorflow.described(record, name, where), has_filters=False)
    return found


def composed(networks: Mapping[str, Built], path: Path, facts: Mapping[str, Any]) -> ModelRecord:
    """The model of a file: G_ema, or G where there is none, with the others beside it."""
    g = networks.get("G_ema") or networks.get("G")
    if g is None:
        raise CheckpointError(f"{path}: D alone makes no pictures; a model needs G_ema or G")
    for name, other in networks.items():
        same = (other.image_shape, other.num_classes) == (g.image_shape, g.num_classes)
        if not same or (name == "G" and other.config != g.config):
            raise CheckpointError(
                f"{path}: {name} is of {list(other.image_shape)} and {other.num_classes} classes, "
                f"the generator of {list(g.image_shape)} and {g.num_classes}, or of other layers"
            )
    states = {
        name: fitted(each.state, each.config, each.image_shape, each.num_classes, f"{path}: {name}")
        for name, each in networks.items()
    }
    d = networks.get("D")
    warnings = dict.fromkeys(
        each.facts["warning"] for each in networks.values() if "warning" in each.facts
    )
    origin = {
        "file": path.name,
        "sha256": sha256_of(path / FILE if path.is_dir() else path),
        "networks": ", ".join(networks),
    }
    origin |= {k: v for k, v in g.facts.items() if k != "warning"} | dict(facts)
    origin |= {"warning": "; ".join(warnings)} if warnings else {}
    config = ModelConfig(
        generator=g.config,
        discriminator=None if d is None else d.config,
        image_shape=g.image_shape,
        num_classes=g.num_classes,
        origin=origin,
    )
    raw = states.get("G") if "G_ema" in states else None
    generator = states["G_ema" if "G_ema" in states else "G"]
    return ModelRecord(config, generator, generator_raw=raw, discriminator=states.get("D"))


def training_of(record: ModelRecord, path: Path, recipe: str, nimg: int = 0) -> Training:
    """One that goes on from the networks of a file by a recipe of limner's, its optimizers new.

    Raises:
        CheckpointError: not all three networks are there.
    """
    config = record.config
    if record.generator_raw is None or record.discriminator is None:
        raise CheckpointError(
            f"{path}: holds {config.origin['networks']} alone, and training goes on with G, D and "
            "G_ema; give --out for a model"
        )
    assert config.discriminator is not None
    run = {
        "generator": encode(config.generator),
        "discriminator": encode(config.discriminator),
        "data.resolution": config.image_shape[1],
        "data.channels": config.image_shape[0],
        "data.labels": "classes" if config.num_classes else "none",
    }
    return Training(run, 0, {}, recipe=recipe, nimg=nimg)


# --- pickles -------------------------------------------------------------------


def _network(record: Any, where: str) -> Network:
    if not isinstance(record, Record):
        raise CheckpointError(f"{where}: is {_kind(record)}, not a network")
    class_name, state = _module(record, where)
    arguments = _plain(state.get("_init_kwargs", {}))
    if state.get("_init_args"):
        raise CheckpointError(
            f"{where}: it was made with arguments without names, which say not what they are"
        )
    if not isinstance(arguments, dict):
        raise CheckpointError(f"{where}: its arguments are {_kind(arguments)}")
    tensors, attributes = {}, {}
    for name, value in _flat(record, where):
        (tensors if isinstance(value, Tensor) else attributes)[name] = value
    taken = common_words(tensors, where)
    attributes = {name.removeprefix(taken): value for name, value in attributes.items()}
    tensors = {name.removeprefix(taken): single(value) for name, value in tensors.items()}
    return Network(where, class_name, arguments, tensors, attributes)


def _module(record: Record, where: str) -> tuple[str, dict[str, Any]]:
    """Class name and attributes of a module, saved with its source or by its name."""
    if record.of.name != RECONSTRUCT:
        if not isinstance(record.state, dict):
            raise CheckpointError(f"{where}: its {record.of} is no module with a state")
        return record.of.name, record.state
    meta = record.args[0] if len(record.args) == 1 else None
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise CheckpointError(f"{where}: a part of it is not described as a class")
    if meta.get("version") != VERSION:
        raise CheckpointError(
            f"{where}: saved by version {shown(str(meta.get('version')))} of "
            f"torch_utils.persistence, and {VERSION} is known"
        )
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(meta.get("module_src"), str):
        raise RefusedFile(f"{where}: the source of a class is no text; not read")
    if not isinstance(name, str) or not isinstance(state, dict):
        raise CheckpointError(f"{where}: a class in it has no name or no state")
    return name, state


def _flat(record: Record, where: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Tensors and plain attributes of a module and of those in it, by dotted names."""
    _, state = _module(record, where)
    for group in ("_parameters", "_buffers"):
        for name, value in _dictionary(state, group, where).items():
            if value is not None and not isinstance(value, Tensor):
                raise CheckpointError(
                    f"{where}: '{shown(f'{prefix}{name}')}' is {_kind(value)}, not a tensor"
                )
            if value is not None:
                yield f"{prefix}{name}", value
    for name, value in state.items():
        if value is None or isinstance(value, (bool, int, float, str)):
            yield f"{prefix}{name}", value
        elif isinstance(value, Name):
            yield f"{prefix}{name}", str(value)
    for name, child in _dictionary(state, "_modules", where).items():
        if child is None:
            continue
        if not isinstance(child, Record):
            raise CheckpointError(f"{where}: '{shown(f'{prefix}{name}')}' is no module")
        yield from _flat(child, where, f"{prefix}{name}.")


def _dictionary(state: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    value = _plain(state.get(name, {}))
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise CheckpointError(f"{where}: its {name} are {_kind(value)}")
    return value


def _plain(value: Any) -> Any:
    """Dictionaries of a class of their own (EasyDict) as dictionaries."""
    if isinstance(value, Record) and value.of.name == "EasyDict":
        return {key: _plain(each) for key, each in value.entries.items()}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


def _kind(value: Any) -> str:
    return f"a {value.of}" if isinstance(value, Record) else f"a {type(value).__name__}"


# --- without pickle --------------------------------------------------------------


def _of_safetensors(path: Path) -> dict[str, Network]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        tensors = plain(tensors, path, keep=NAMES)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from None
    classes, arguments = (_json(metadata, key, path) for key in ("class_names", "init_kwargs"))
    networks, rest = {}, dict(tensors)
    for name in NAMES:
        own = {k: rest.pop(k) for k in tensors if k.startswith(f"{name}.")}
        if not own:
            continue
        class_name, given = (
            found.get(name, found.get(f"{name}.")) for found in (classes, arguments)
        )
        if not isinstance(class_name, str) or not isinstance(given, dict):
            raise CheckpointError(
                f"{path}: its metadata say no class name and arguments of '{name}'; class_names "
                "and init_kwargs are JSON objects from prefix to either"
            )
        states = {key.removeprefix(f"{name}."): value for key, value in own.items()}
        states = plain(states, f"{path}: {name}")
        networks[name] = Network(f"{path}: {name}", class_name.rpartition(".")[2], given, states)
    if rest:
        raise CheckpointError(
            f"{path}: tensors of none of {', '.join(NAMES)}: {listed(list(rest))}"
        )
    if not networks:
        raise CheckpointError(f"{path}: holds none of the networks {', '.join(NAMES)}")
    return networks


def _json(metadata: Mapping[str, str], key: str, path: Path) -> dict[str, Any]:
    try:
        found = json.loads(metadata.get(key, ""))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: its metadata have no {key}, a JSON object; give {WANTED}")
    return found


# --- arguments -------------------------------------------------------------------


def checked_config(kind: type[NetworkConfig], fields: Mapping[str, Any], where: str) -> Any:
    """A config of what a file says; CheckpointError names the field that cannot be."""
    config: Any = kind
    try:
        return decode(config, {"type": kind.__name__, **fields})
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from None


def finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises CheckpointError where a number is not finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{where}: '{shown(name)}' holds a number that is not finite")
