"""R3GAN's network-snapshots (brownvc/R3GAN), whose sizes follow from the shapes."""

from pathlib import Path

from limner.checkpoints.foreign import Importer
from limner.checkpoints.importers.fitting import require_fit
from limner.checkpoints.importers.network_pickles import (
    Built,
    Network,
    checked_config,
    composed,
    finite,
    read_networks,
)
from limner.checkpoints.importers.r3gan_names import Role, sizes_of, to_limner, to_reference
from limner.checkpoints.model_folder import ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError, ConfigError
from limner.core.undrawn import without_memory
from limner.formats.pickles import shown
from limner.models import R3ganDiscriminator, R3ganGenerator


class R3ganPickle(Config, Importer, frozen=True):
    """A network-snapshot .pkl of R3GAN, or the same as .safetensors.

    G_ema becomes the generator, G the generator before averaging, D the discriminator.
    """

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`."""
        networks = read_networks(source, "R3GAN")
        built = {name: _built(each, name) for name, each in networks.items()}
        return composed(built, source, {"class": "training.networks of R3GAN"})


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
