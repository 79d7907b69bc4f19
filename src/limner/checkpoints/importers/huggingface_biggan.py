"""HuggingFace's pytorch-pretrained-BigGAN: BigGAN-deep 128, 256 and 512 as config.json and a .bin.

A port of the TF-Hub modules in PyTorch, with batch norm statistics for 51 truncations. Spectral
norm divides by u W v of the vectors as they are stored.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from limner.checkpoints.foreign import Importer
from limner.checkpoints.importers.deep import DeepShape, Rule, record_of
from limner.checkpoints.importers.fitting import listed, require_names
from limner.checkpoints.importers.folding import folded_by_iterating, folded_by_stored
from limner.checkpoints.model_folder import MAX_CLASSES, MAX_TRUNCATIONS, ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError
from limner.core.files import sha256_of
from limner.formats.torch_files import read_torch
from limner.formats.weights import unwrapped

WEIGHTS_NAME, CONFIG_NAME = "pytorch_model.bin", "config.json"
MAX_CONFIG_BYTES, MAX_BLOCKS, MAX_CHANNELS = 2**20, 64, 2**16
WHAT = "BigGAN-deep of pytorch-pretrained-BigGAN"
ATTENTION = ("theta", "phi", "g", "o_conv")
VECTORS = ("weight_u", "weight_v")


class HuggingfaceBiggan(Config, Importer, frozen=True):
    """A BigGAN-deep of pytorch-pretrained-BigGAN: a folder with config.json and pytorch_model.bin,
    or the .bin with its config beside it; names that begin with the model's, as the published files
    have, are found too.

    Attributes:
        statistics_rule: "linear" interpolates the statistics rightly; "huggingface" as the port
            does, with the weights of the two rows swapped.
    """

    statistics_rule: Rule = "linear"

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`."""
        weights_path, config_path = _files(source)
        shape = read_shape(config_path)
        tree = read_torch(weights_path, f"the {WEIGHTS_NAME} of pytorch-pretrained-BigGAN")
        tree = unwrapped(tree, weights_path, keep=())
        if not isinstance(tree, dict) or not all(isinstance(t, Tensor) for t in tree.values()):
            raise CheckpointError(f"{weights_path}: holds other things than tensors by name")
        record, computed = record_from(tree, shape, self.statistics_rule, str(weights_path))
        origin: dict[str, Any] = {
            "file": source.name,
            "sha256": {file.name: sha256_of(file) for file in (config_path, weights_path)},
        }
        if computed:
            origin["warning"] = (
                f"{len(computed)} layers lack the vectors of spectral norm; sigma was computed "
                f"anew for {listed(computed)}"
            )
        record.config = record.config.replace(origin=origin)
        return record


def _files(path: Path) -> tuple[Path, Path]:
    """Weights and config."""
    if path.is_dir():
        found = sorted(path.glob(f"*{WEIGHTS_NAME}"))
        if len(found) != 1:
            names = ", ".join(file.name for file in found)
            raise CheckpointError(
                f"{path}: no {WEIGHTS_NAME} in it"
                if not found
                else f"{path}: several weights in it; give one of {names}"
            )
        path = found[0]
    elif not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    own = path.with_name(path.name.removesuffix(WEIGHTS_NAME) + CONFIG_NAME)
    if path.name.endswith(WEIGHTS_NAME) and own.is_file():
        return path, own
    if path.with_name(CONFIG_NAME).is_file():
        return path, path.with_name(CONFIG_NAME)
    raise CheckpointError(
        f"{path}: no {own.name} beside it; it says which blocks the weights belong to"
    )


# --- config.json -------------------------------------------------------------


def read_shape(path: Path) -> DeepShape:
    """What a config.json says of the network. Raises CheckpointError where it cannot be read, or as
    `shape_from`."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        plain = json.loads(content) if len(content) <= MAX_CONFIG_BYTES else None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        plain = None
    if not isinstance(plain, dict):
        raise CheckpointError(f"{path}: not a JSON object; download it again")
    return shape_from(plain, str(path))


def shape_from(plain: Mapping[str, Any], where: str) -> DeepShape:
    """The same from plain JSON values; CheckpointError where a value is missing or impossible."""
    width = _whole(plain, "channel_width", MAX_CHANNELS, where)
    _whole(plain, "num_classes", MAX_CLASSES, where)
    _whole(plain, "n_stats", MAX_TRUNCATIONS, where)
    layers = plain.get("layers")
    if not isinstance(layers, list) or not 1 <= len(layers) <= MAX_BLOCKS:
        raise CheckpointError(f"{where}: layers must be a list of 1 to {MAX_BLOCKS}")
    blocks = []
    for i, layer in enumerate(layers):
        if not (
            isinstance(layer, list)
            and len(layer) == 3
            and isinstance(layer[0], bool)
            and all(type(size) is int and 1 <= size * width <= MAX_CHANNELS for size in layer[1:])
        ):
            raise CheckpointError(
                f"{where}: layers[{i}] must be [true or false, channels, channels]"
            )
        blocks.append((layer[0], layer[1] * width, layer[2] * width))
    at = plain.get("attention_layer_position")
    eps = plain.get("eps")
    if type(at) is not int or not isinstance(eps, (int, float)) or not 0 < eps < math.inf:
        raise CheckpointError(
            f"{where}: attention_layer_position must be an integer, eps a positive number"
        )
    z_dim = _whole(plain, "z_dim", MAX_CHANNELS, where)
    attention = at if 0 <= at < len(blocks) else None
    return DeepShape(z_dim, tuple(blocks), attention, float(eps))


def _whole(plain: Mapping[str, Any], key: str, most: int, where: str) -> int:
    value = plain.get(key)
    if type(value) is not int or not 1 <= value <= most:
        raise CheckpointError(f"{where}: {key} must be an integer of 1 to {most}")
    return value


# --- weights -----------------------------------------------------------------


def record_from(
    values: Mapping[str, Tensor], shape: DeepShape, rule: Rule, where: str
) -> tuple[ModelRecord, list[str]]:
    """The record, and the layers whose sigma had to be computed. Raises CheckpointError where names
    are missing or left over, or shapes do not fit."""
    layers, others = names_of(shape)
    needed = list(others.values())
    for theirs, has_bias in layers.values():
        needed += [f"{theirs}.weight_orig"] + [f"{theirs}.bias"] * has_bias
    known = {f"{theirs}.{kind}" for theirs, _ in layers.values() for kind in VECTORS}
    known.update(needed)
    foreign = [name for name in values if name not in known]
    require_names(needed, values, foreign, where, WHAT)
    parts = {name: values[theirs].float() for name, theirs in others.items()}
    computed = []
    for name, (theirs, has_bias) in layers.items():
        weight = values[f"{theirs}.weight_orig"].float()
        vectors = [values[f"{theirs}.{k}"].float() for k in VECTORS if f"{theirs}.{k}" in values]
        try:
            if len(vectors) == len(VECTORS):
                parts[f"{name}.weight"] = folded_by_stored(weight, *vectors)
            else:
                parts[f"{name}.weight"] = folded_by_iterating(weight)
                computed.append(theirs)
        except (RuntimeError, IndexError, CheckpointError) as error:
            reason = str(error).splitlines()[0][:200]
            raise CheckpointError(f"{where}: '{theirs}' does not fit: {reason}") from None
        if has_bias:
            parts[f"{name}.bias"] = values[f"{theirs}.bias"].float()
    return record_of(parts, shape, rule, where), computed


def names_of(shape: DeepShape) -> tuple[dict[str, tuple[str, bool]], dict[str, str]]:
    """Part -> the port's layer with spectral norm and whether it has a bias; part -> its tensor,
    for all that has no spectral norm."""
    layers = {"first": ("generator.gen_z", True), "rgb": ("generator.conv_to_rgb", True)}
    others = {
        "embeddings.weight": "embeddings.weight",
        "last.weight": "generator.bn.weight",
        "last.bias": "generator.bn.bias",
        "last.means": "generator.bn.running_means",
        "last.variances": "generator.bn.running_vars",
    }
    at = shape.attention
    for i in range(len(shape.blocks)):
        theirs = f"generator.layers.{i + 1 if at is not None and i >= at else i}"
        for j in range(4):
            layers[f"blocks.{i}.conv_{j}"] = (f"{theirs}.conv_{j}", True)
            for kind in ("scale", "offset"):
                layers[f"blocks.{i}.bn_{j}.{kind}"] = (f"{theirs}.bn_{j}.{kind}", False)
            others[f"blocks.{i}.bn_{j}.means"] = f"{theirs}.bn_{j}.running_means"
            others[f"blocks.{i}.bn_{j}.variances"] = f"{theirs}.bn_{j}.running_vars"
    if at is not None:
        others["attention.gamma"] = f"generator.layers.{at}.gamma"
        for name in ATTENTION:
            layers[f"attention.{name}"] = (f"generator.layers.{at}.snconv1x1_{name}", False)
    return layers, others
