"""R3GAN's network-snapshots (brownvc/R3GAN), whose sizes follow from the shapes."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.checkpoints.foreign import Importer, Training
from limner.checkpoints.importers.fitting import require_fit
from limner.checkpoints.importers.network_pickles import (
    Built,
    Network,
    checked_config,
    composed,
    finite,
    read_networks,
    training_of,
)
from limner.checkpoints.importers.r3gan_names import (
    KERNEL,
    Role,
    sizes_of,
    to_limner,
    to_reference,
)
from limner.checkpoints.model_folder import ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError, ConfigError
from limner.core.undrawn import without_memory
from limner.formats.pickles import shown
from limner.models import R3ganDiscriminator, R3ganGenerator

# Preset whose recipe goes on -> the largest side of its pictures.
RECIPES = {"r3gan-cifar10": 32, "r3gan-ffhq64": 64, "r3gan-ffhq256": 2**16}
MAX_NIMG = 2**53


class R3ganPickle(Config, Importer, frozen=True):
    """A network-snapshot .pkl of R3GAN, or the same as .safetensors.

    G_ema becomes the generator, G the generator before averaging, D the discriminator.
    """

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`."""
        return self._read(source)[0]

    def read_training(self, source: Path) -> tuple[ModelRecord, Training]:
        """See `Importer.read_training`; the clock goes on, and Adam where its state is there."""
        record, networks, rest = self._read(source)
        side, nimg = record.config.image_shape[1], rest.get("cur_nimg", 0)
        if type(nimg) is not int or not 0 <= nimg < MAX_NIMG:
            raise CheckpointError(f"{source}: its cur_nimg is {shown(repr(nimg))}, no number")
        recipe = next(name for name, most in RECIPES.items() if side <= most)
        moments = {
            player: found
            for player, name in (("g", "G"), ("d", "D"))
            if name in networks and (found := _moments(networks[name], name, rest))
        }
        training = training_of(record, source, recipe, nimg)
        return record, dataclasses.replace(training, moments=moments)

    def _read(self, source: Path) -> tuple[ModelRecord, dict[str, Network], dict[str, Any]]:
        networks, rest = read_networks(source, "R3GAN")
        built = {name: _built(each, name) for name, each in networks.items()}
        record = composed(built, source, {"class": "training.networks of R3GAN"})
        return record, networks, rest


def _built(network: Network, name: str) -> Built:
    role: Role = "discriminator" if name == "D" else "generator"
    where = network.where
    if network.class_name.lower() != role:
        raise CheckpointError(
            f"{where}: is a {shown(network.class_name)}, in whose place a {role} of R3GAN is "
            "expected"
        )
    fields, image_shape, num_classes = sizes_of(role, network.tensors, where)
    stages = _lower_stages(network)
    fields |= {} if stages is None else {"bfloat16_stages": stages}
    kind = R3ganGenerator if role == "generator" else R3ganDiscriminator
    config = checked_config(kind, fields, where)
    try:
        with without_memory():
            empty = config.build(image_shape, num_classes).state_dict()
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from None
    require_fit(to_reference(role, empty), network.tensors, where, f"R3GAN {role}")
    finite(network.tensors, where)
    return Built(config, image_shape, num_classes, to_limner(role, network.tensors))


def _lower_stages(network: Network) -> int | None:
    """Stages in half precision: of the arguments, or those that say so themselves."""
    if isinstance(network.arguments.get("FP16Stages"), (list, tuple)):
        return len(network.arguments["FP16Stages"])
    types = [v for k, v in network.attributes.items() if k.endswith(".DataType")]
    return sum(str(each).endswith("bfloat16") for each in types) if types else None


def _moments(
    network: Network, name: str, rest: Mapping[str, Any]
) -> dict[str, dict[str, Tensor]] | None:
    """Adam's state by limner's names of the parameters; None where the file holds none.

    Raises:
        CheckpointError: it is not that of this network.
    """
    saved = rest.get(f"{name}_opt_state")
    role: Role = "discriminator" if name == "D" else "generator"
    if saved is None:
        return None
    names = [key for key in network.tensors if not key.endswith(KERNEL)]
    states = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(states, dict) or not set(states) <= set(range(len(names))):
        raise CheckpointError(
            f"{network.where}: its optimizer's state is not that of {len(names)} parameters"
        )
    found: dict[str, dict[str, Tensor]] = {}
    for kind in ("step", "exp_avg", "exp_avg_sq"):
        values = {names[number]: _moment(each, kind, network) for number, each in states.items()}
        for ours, value in to_limner(role, values).items():
            found.setdefault(ours, {})[kind] = value
    return found


def _moment(state: Any, kind: str, network: Network) -> Tensor:
    value = state.get(kind) if isinstance(state, dict) else None
    if kind == "step" and isinstance(value, (int, float)):
        value = torch.tensor(float(value))
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{network.where}: its optimizer's state has no {kind}")
    return value.float()
