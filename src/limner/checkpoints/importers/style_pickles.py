"""StyleGAN2-ADA's and StyleGAN3's network-snapshots (NVlabs/stylegan2-ada-pytorch, stylegan3).

limner builds its own networks from the arguments in the file, and every tensor has to fit them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from limner.checkpoints.foreign import Importer, Training
from limner.checkpoints.importers import stylegan2_names, stylegan3_names
from limner.checkpoints.importers.fitting import require_fit
from limner.checkpoints.importers.network_pickles import (
    Built,
    Network,
    composed,
    finite,
    read_networks,
    training_of,
)
from limner.checkpoints.importers.style_arguments import config_of, kind_of
from limner.checkpoints.model_folder import ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError, ConfigError
from limner.core.undrawn import without_memory
from limner.models import StyleGan2Discriminator, StyleGan3Generator


class StylePickle:
    """What the two importers share: G_ema becomes the generator, G the generator before averaging,
    D the discriminator."""

    system: ClassVar[str]

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`."""
        networks, _ = read_networks(source, self.system)
        built = {name: _built(each, name, self.system) for name, each in networks.items()}
        return composed(built, source, {})

    def read_training(self, source: Path) -> tuple[ModelRecord, Training]:
        """See `Importer.read_training`. Such files hold neither recipe nor optimizers nor clock: as
        the original's --resume does, these begin anew."""
        record = self.read(source)
        generator, recipe = record.config.generator, "stylegan2-auto"
        if isinstance(generator, StyleGan3Generator):
            recipe = "stylegan3-r" if generator.radial else "stylegan3-t"
        return record, training_of(record, source, recipe)


class Stylegan2Ada(StylePickle, Config, Importer, frozen=True):
    """A network-snapshot .pkl of stylegan2-ada-pytorch, or the same as .safetensors."""

    system = "stylegan2-ada"


class Stylegan3(StylePickle, Config, Importer, frozen=True):
    """A network-snapshot .pkl of stylegan3 (t, r or its StyleGAN2), or the same as .safetensors."""

    system = "stylegan3"


def to_limner(
    config: Any, image_shape: tuple[int, int, int], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """An original's state dict as limner's, see the modules of names."""
    if isinstance(config, StyleGan3Generator):
        return stylegan3_names.to_limner(config, image_shape, state)
    return stylegan2_names.to_limner(_role(config), config, state)


def to_reference(
    config: Any, image_shape: tuple[int, int, int], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """And back."""
    if isinstance(config, StyleGan3Generator):
        return stylegan3_names.to_reference(config, image_shape, state)
    return stylegan2_names.to_reference(_role(config), config, state)


def _role(config: Any) -> stylegan2_names.Role:
    return "discriminator" if isinstance(config, StyleGan2Discriminator) else "generator"


def _built(network: Network, name: str, system: str) -> Built:
    kind = kind_of(network, name, system)
    config, image_shape, num_classes = config_of(kind, network)
    where = network.where
    try:
        with without_memory():
            empty = config.build(image_shape, num_classes).state_dict()
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from None
    expected, tensors = to_reference(config, image_shape, empty), network.tensors
    if not network.has_filters:
        own = {key: t for key, t in expected.items() if key.endswith("resample_filter")}
        tensors = own | dict(tensors)
    require_fit(expected, tensors, where, network.class_name)
    finite(tensors, where)
    facts = {"class": kind.class_name}
    unclamped = getattr(config, "clamp", None) is None
    facts |= {"clamp": "none" if unclamped else f"{config.clamp:g}"}
    return Built(config, image_shape, num_classes, to_limner(config, image_shape, tensors), facts)
