"""Networks under the names of NVIDIA's and R3GAN's programs, in a file without pickle.

network.safetensors has the tensors behind `G_ema.`, `G.` and `D.`, and in its metadata
`class_names` and `init_kwargs`: JSON objects from prefix to the original's class and arguments,
from which its own code builds the networks. The importers of the same names read it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import save
from torch import Tensor

from limner.checkpoints.foreign import Exporter, Training
from limner.checkpoints.importers import r3gan_names, style_pickles
from limner.checkpoints.importers.style_arguments import KINDS, arguments_of
from limner.checkpoints.model_folder import ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError
from limner.core.files import write_atomically
from limner.models import R3ganDiscriminator, R3ganGenerator
from limner.models.r3gan import widths_of

FILE = "network.safetensors"
Described = tuple[str, dict[str, Any], dict[str, Tensor]]  # class, arguments, tensors


class NetworkFile:
    """What the three exporters share."""

    describe: ClassVar[Callable[..., Described]]

    def write(self, record: ModelRecord, folder: Path, training: Training | None) -> list[Path]:
        """See `Exporter.write`; of a training the networks alone."""
        config = record.config
        networks: dict[str, Any] = {"G_ema": (config.generator, record.generator)}
        if record.generator_raw is not None:
            networks["G"] = (config.generator, record.generator_raw)
        if record.discriminator is not None:
            networks["D"] = (config.discriminator, record.discriminator)
        tensors, classes, arguments = {}, {}, {}
        for name, (network, state) in networks.items():
            sizes = config.image_shape, config.num_classes
            class_name, given, held = type(self).describe(network, *sizes, state)
            classes[f"{name}."], arguments[f"{name}."] = class_name, given
            tensors |= {f"{name}.{key}": value.contiguous() for key, value in held.items()}
        metadata = {"class_names": json.dumps(classes), "init_kwargs": json.dumps(arguments)}
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, save(tensors, metadata))
        return [folder / FILE]


def _of_styles(system: str) -> Callable[..., Described]:
    def describe(
        config: Any, image_shape: tuple[int, int, int], num_classes: int, state: dict[str, Tensor]
    ) -> Described:
        kind = next((k for k in KINDS[system].values() if type(config) is k.config), None)
        if kind is None:
            raise CheckpointError(
                f"{type(config).__name__}: {system}'s program has no such network"
            )
        arguments = arguments_of(kind, config, image_shape, num_classes)
        return kind.class_name, arguments, style_pickles.to_reference(config, image_shape, state)

    return describe


def _of_r3gan(
    config: Any, image_shape: tuple[int, int, int], num_classes: int, state: dict[str, Tensor]
) -> Described:
    if not isinstance(config, (R3ganGenerator, R3ganDiscriminator)):
        raise CheckpointError(f"{type(config).__name__}: R3GAN's program has no such network")
    is_generator = isinstance(config, R3ganGenerator)
    role: r3gan_names.Role = "generator" if is_generator else "discriminator"
    theirs = r3gan_names.to_reference(role, state)
    fields, _, _ = r3gan_names.sizes_of(role, theirs, "the model")
    widths = widths_of(config, image_shape)
    inner = [width * config.expansion for width in widths]
    lists = {
        "WidthPerStage": widths,
        "CardinalityPerStage": [
            i // group for i, group in zip(inner, fields["group_widths"], strict=True)
        ],
        "BlocksPerStage": fields["blocks"],
    }
    arguments: dict[str, Any] = {
        **{key: value if is_generator else value[::-1] for key, value in lists.items()},
        "ExpansionFactor": config.expansion,
        "FP16Stages": list(range(len(widths)))[::-1][: config.bfloat16_stages]
        if is_generator
        else list(range(min(config.bfloat16_stages, len(widths)))),
        "c_dim": num_classes,
        "img_resolution": image_shape[1],
    }
    if isinstance(config, R3ganGenerator):
        arguments["NoiseDimension"] = config.z_dim
    if num_classes:
        arguments["ConditionEmbeddingDimension"] = fields["embedding_dim"]
    return f"training.networks.{role.capitalize()}", arguments, theirs


class Stylegan2Ada(NetworkFile, Config, Exporter, frozen=True):
    """For stylegan2-ada-pytorch."""

    describe = staticmethod(_of_styles("stylegan2-ada"))


class Stylegan3(NetworkFile, Config, Exporter, frozen=True):
    """For stylegan3."""

    describe = staticmethod(_of_styles("stylegan3"))


class R3gan(NetworkFile, Config, Exporter, frozen=True):
    """For R3GAN."""

    describe = staticmethod(_of_r3gan)
