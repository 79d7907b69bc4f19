"""Pickles of progressive_growing_of_gans: snapshots (G, D, Gs) and single networks.

Those of the TensorFlow code (any protocol) and of the Theano code before it. Such a file holds,
for each network, the source text of its program, which the originals run, the arguments of the
function that builds it, and its variables. Here the text is data that nobody looks into: limner
builds its own networks from the arguments, and every variable has to fit them. Karras et al. 2018.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.checkpoints.foreign import Importer
from limner.checkpoints.importers.fitting import fitted, listed, require_fit
from limner.checkpoints.importers.pggan_names import Role, to_limner, to_reference
from limner.checkpoints.importers.pggan_theano import as_tensorflow, said
from limner.checkpoints.model_folder import MAX_CLASSES, MAX_SIZE, ModelConfig, ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError, ConfigError, RefusedFile
from limner.core.files import sha256_of
from limner.core.undrawn import without_memory
from limner.formats.pickles import Name, Record, read_pickle, shown
from limner.formats.weights import plain
from limner.models import PgganDiscriminator, PgganGenerator

CLASSES = {Name("tfutil", "Network"), Name("network", "Network")}
SNAPSHOT = ("G", "D", "Gs")
WANTED = "a .pkl of progressive_growing_of_gans: a network-snapshot or one of its networks"
WHERE: dict[str, Role] = {"G": "generator", "D": "discriminator", "Gs": "generator"}
FUNCTIONS: dict[str, Role] = {"G_paper": "generator", "D_paper": "discriminator"}
FUNCTION_OF = {role: function for function, role in FUNCTIONS.items()}
VERSION = 2  # of what tfutil.Network saves
SOURCES = {  # sha256 of the networks.py and network.py that were published
    "b56798bb349dad2138a45fae6a15b01075e8906fabcb0dbc8ee877f97fb711e7": "release of 2018-02-23",
    "0ebc0f8f8776f274bc67073ce43720a59eda14e5b6ee564c13c7ee28175070c8": "release of 2018-04-04",
    "5432ae0e8f4cfee4cb031b1a121ba81e76aafc9637cfafbcb1d15e4c28447f43": "release of 2017-10-27",
}

# Arguments of G_paper and D_paper: name -> (default, limner's field or "" where it is no field of
# the network's config).
COMMON: dict[str, tuple[Any, str]] = {
    "num_channels": (1, ""),
    "resolution": (32, ""),
    "label_size": (0, ""),
    "fmap_base": (8192, "fmap_base"),
    "fmap_decay": (1.0, "fmap_decay"),
    "fmap_max": (512, "fmap_max"),
    "use_wscale": (True, "equalized"),
    "fused_scale": (True, "fused_scale"),
}
ARGUMENTS: dict[Role, dict[str, tuple[Any, str]]] = {
    "generator": {
        **COMMON,
        "latent_size": (None, "z_dim"),
        "normalize_latents": (True, "normalize_latents"),
        "use_pixelnorm": (True, "pixel_norm"),
        "pixelnorm_epsilon": (1e-8, "pixel_norm_eps"),
        "use_leakyrelu": (True, "leaky"),
    },
    "discriminator": {**COMMON, "mbstd_group_size": (4, "group_size")},
}
# About how the original computes, not what: its numbers are float32 here, levels always skipped.
SETTINGS = ("dtype", "structure", "is_template_graph", "func")
LIMITS = {"num_channels": MAX_SIZE, "resolution": MAX_SIZE, "label_size": MAX_CLASSES}
MAX_MAPS = 2**16


class Pggan(Config, Importer, frozen=True):
    """A .pkl of progressive_growing_of_gans: (G, D, Gs), (G, D) or one network.

    Gs becomes the generator, G the generator before averaging (the generator where no Gs is taken),
    D the discriminator.

    Attributes:
        net: networks to take: Gs, G, D or several as Gs,D.
    """

    net: str = "all"

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`; ConfigError where `net` names no networks."""
        tree = _records(read_pickle(source, wanted=WANTED), source)
        records, size = _chosen(tree, self.net, source), source.stat().st_size
        networks = {
            name: _network(record, name, size, f"{source}: {name}")
            for name, record in records.items()
        }
        generator = networks.get("Gs") or networks.get("G")
        if generator is None:
            raise CheckpointError(
                f"{source}: D alone makes no pictures, and a model folder needs a generator; take "
                "Gs or G"
            )
        for name, network in networks.items():
            _require_alike(generator, network, f"{source}: {name}")
        raw, d = networks.get("G"), networks.get("D")
        assert isinstance(generator.config, PgganGenerator)
        config = ModelConfig(
            generator=generator.config,
            discriminator=None if d is None else d.config,
            image_shape=generator.image_shape,
            num_classes=generator.num_classes,
            origin={
                "file": source.name,
                "sha256": sha256_of(source),
                "networks": list(networks),
                **generator.facts,
            },
        )
        return ModelRecord(
            config,
            generator.state,
            None if raw is None or raw is generator else raw.state,
            None if d is None else d.state,
        )


def _require_alike(generator: "_Network", network: "_Network", where: str) -> None:
    """A model folder has one size of pictures, one number of classes and one kind of generator."""
    about = lambda n: (n.image_shape, n.num_classes)  # noqa: E731
    if about(network) != about(generator):
        raise CheckpointError(
            f"{where}: it is for {_pictures(network)}, the generator for {_pictures(generator)}; "
            "take one of them with --set net=Gs"
        )
    if isinstance(network.config, PgganGenerator) and network.config != generator.config:
        raise CheckpointError(
            f"{where}: built with other arguments than Gs; take one of them with --set net=Gs"
        )


def _pictures(network: "_Network") -> str:
    return f"pictures {list(network.image_shape)} of {network.num_classes} classes"


# --- the file ----------------------------------------------------------------


def _records(tree: Any, path: Path) -> dict[str, Record]:
    """The networks of a file by their names in a snapshot; one alone is called by its function."""
    held = list(tree) if isinstance(tree, (tuple, list)) else [tree]
    if not 1 <= len(held) <= len(SNAPSHOT):
        raise CheckpointError(
            f"{path}: it holds {len(held)} values; a snapshot is (G, D, Gs), or one network"
        )
    for value in held:
        if isinstance(value, Record) and value.of in CLASSES:
            continue
        what = f"a {value.of}" if isinstance(value, Record) else f"a {type(value).__name__}"
        raise CheckpointError(
            f"{path}: it holds {what}, not networks of progressive_growing_of_gans "
            f"({', '.join(sorted(map(str, CLASSES)))}); other programs have their own importers"
        )
    if len(held) > 1:
        return dict(zip(SNAPSHOT, held, strict=False))
    return {_name_alone(held[0].state): held[0]}


def _name_alone(state: Any) -> str:
    if not isinstance(state, dict):
        return "Gs"
    theano = state.get("build_func_spec")
    function = theano.get("func") if isinstance(theano, dict) else state.get("build_func_name")
    if isinstance(function, str) and function.startswith("D"):
        return "D"
    return "G" if state.get("name") == "G" else "Gs"


def _chosen(records: dict[str, Record], net: str, path: Path) -> dict[str, Record]:
    if net == "all":
        return records
    names = net.split(",") if isinstance(net, str) else [str(net)]
    for name in names:
        if name not in SNAPSHOT:
            raise ConfigError(f"--set net={net}: '{name}' is none of {', '.join(SNAPSHOT)}")
        if name not in records:
            raise CheckpointError(f"{path}: it has no {name}, only {', '.join(records)}")
    return {name: records[name] for name in SNAPSHOT if name in names}


# --- one network -------------------------------------------------------------


@dataclasses.dataclass
class _Network:
    config: PgganGenerator | PgganDiscriminator
    image_shape: tuple[int, int, int]
    num_classes: int
    state: dict[str, Tensor]
    facts: dict[str, Any]


def _network(record: Record, name: str, size: int, where: str) -> _Network:
    state = record.state
    if not isinstance(state, dict):
        raise CheckpointError(f"{where}: it is a network without a state")
    theano = "version" not in state and "build_func_spec" in state
    try:
        _require_held(state, size)
        plain = as_tensorflow(state) if theano else state
        if not theano and plain.get("version") != VERSION:
            version = said(plain.get("version"))
            raise CheckpointError(f"its version is {version}, only {VERSION} is read")
        role = _role(plain.get("build_func_name"), name)
        return _of_state(plain, role, _facts(state, theano), where)
    except RefusedFile as error:
        raise RefusedFile(f"{where}: {error}") from None
    except (CheckpointError, ConfigError) as error:
        line = str(error)
        raise CheckpointError(line if line.startswith(where) else f"{where}: {line}") from None


def _require_held(state: Mapping[str, Any], size: int) -> None:
    """An array that is used over and over would fill the memory from a small file."""
    held = [state.get("param_values"), state.get("variables")]
    values = [value for values in held if isinstance(values, list) for value in values]
    values += [item for value in values if isinstance(value, (tuple, list)) for item in value]
    if sum(value.nbytes for value in values if isinstance(value, np.ndarray)) > size:
        raise RefusedFile("it has more numbers in its variables than bytes in all; not read")


def _role(function: Any, name: str) -> Role:
    if not isinstance(function, str) or function not in FUNCTIONS:
        raise CheckpointError(
            f"its function {said(function)} is missing in limner, which knows "
            f"{' and '.join(FUNCTIONS)}; take the file's other networks with --set net=, "
            "for example net=Gs"
        )
    if FUNCTIONS[function] != WHERE[name]:
        raise CheckpointError(f"it is a {function}, but in its place belongs a {WHERE[name]}")
    return FUNCTIONS[function]


def _facts(state: Mapping[str, Any], theano: bool) -> dict[str, Any]:
    """What is worth to be known later: the program's era, and a trace of its source."""
    source = state.get("build_module_src")
    facts: dict[str, Any] = {"program": "Theano, 2017" if theano else "TensorFlow, 2018"}
    if source is not None and not isinstance(source, str):
        raise RefusedFile(f"its source is {said(source)}, not text; not read")
    if source is not None:
        digest = hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
        facts["source"] = SOURCES.get(digest, f"not a published one (sha256 {digest}); not run")
    return facts


def _of_state(plain: Mapping[str, Any], role: Role, facts: dict[str, Any], where: str) -> _Network:
    arguments, ignored = _arguments(plain.get("static_kwargs"), role)
    fields = {field: arguments[name] for name, (_, field) in ARGUMENTS[role].items() if field}
    if role == "generator":
        config: PgganGenerator | PgganDiscriminator = PgganGenerator(**fields)
    else:
        fields["group_size"] *= fields["group_size"] > 1  # of one picture: none, as the original
        config = PgganDiscriminator(**fields)
    side, num_classes = arguments["resolution"], arguments["label_size"]
    image_shape = (arguments["num_channels"], side, side)
    arrays = _arrays(plain.get("variables"))
    _require_fit(arrays, role, config, image_shape, num_classes)
    variables = {name: _tensor(array, name) for name, array in arrays.items()}
    state = fitted(to_limner(role, config, variables), config, image_shape, num_classes, where)
    highest = side.bit_length() - 3
    lod = float(state["lod"])
    if not 0.0 <= lod <= highest:
        raise CheckpointError(f"its lod is {lod}; at {side} px it is 0 to {highest}")
    facts["lod"] = lod
    if ignored:
        facts["warning"] = (
            f"arguments that the published {plain['build_func_name']} does not have, ignored as "
            f"it does: {listed(ignored)}"
        )
    return _Network(config, image_shape, num_classes, state, facts)


# --- arguments ---------------------------------------------------------------


def _arguments(given: Any, role: Role) -> tuple[dict[str, Any], list[str]]:
    """All arguments of the role's function, defaults filled in, and the names of others given."""
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise CheckpointError("it has no static_kwargs")
    known = ARGUMENTS[role]
    arguments = {name: default for name, (default, _) in known.items()}
    for name in known:
        if name in given:
            arguments[name] = _argument(name, given[name], known[name][0])
    # The arguments of one network's function are known to the other's, which passes over them.
    passed = {*ARGUMENTS["generator"], *ARGUMENTS["discriminator"], *SETTINGS}
    return arguments, [name for name in given if name not in passed]


def _argument(name: str, value: Any, default: Any) -> Any:
    """Of the type that the argument has; whole numbers may come as floats, truth as 0 and 1."""
    if name == "latent_size" and value is None:
        return None
    if isinstance(default, bool) and isinstance(value, (bool, int)) and value in (0, 1):
        return bool(value)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and isinstance(default, float) and abs(value) < 1e6:
        return float(value)
    if number and not isinstance(default, (bool, float)):
        lowest, highest = (0 if name in ("label_size", "mbstd_group_size") else 1), LIMITS.get(name)
        if lowest <= value <= (highest or MAX_MAPS) and value == math.floor(value):
            return int(value)
    raise CheckpointError(f"its argument {name} is {said(value)}, which it cannot be")


# --- variables ---------------------------------------------------------------


def _arrays(given: Any) -> dict[str, np.ndarray]:
    """The variables by name."""
    if not isinstance(given, list):
        raise CheckpointError("it has no list of variables")
    arrays: dict[str, np.ndarray] = {}
    for entry in given:
        if not (isinstance(entry, (tuple, list)) and len(entry) == 2 and isinstance(entry[0], str)):
            raise CheckpointError("an entry of its variables is no pair of a name and an array")
        name, value = entry
        value = np.array(value) if isinstance(value, float) else value
        if name in arrays:
            raise CheckpointError(f"it has the variable '{shown(name)}' twice")
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            raise CheckpointError(
                f"its variable '{shown(name)}' is {said(value)}, not of floating point"
            )
        arrays[name] = value
    return plain(arrays, "its variables")


def _tensor(value: np.ndarray, name: str) -> Tensor:
    with np.errstate(over="ignore"):  # it is then found not finite
        array = value.astype(np.float32, order="C")
    if not np.isfinite(array).all():
        raise CheckpointError(f"its variable '{name}' holds a number that is not finite")
    return torch.from_numpy(array)


def _require_fit(
    arrays: Mapping[str, np.ndarray],
    role: Role,
    config: PgganGenerator | PgganDiscriminator,
    image_shape: tuple[int, int, int],
    num_classes: int,
) -> None:
    """Every variable that the arguments make is there in its shape, and no other."""
    with without_memory():
        network = config.build(image_shape, num_classes)
    needed = to_reference(role, config, network.state_dict())
    require_fit(needed, arrays, "its variables", FUNCTION_OF[role])
