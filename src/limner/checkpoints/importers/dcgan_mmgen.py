"""MMGeneration's DCGAN checkpoints: iter_N.pth with state_dict {generator.*, discriminator.*}.

Only tensors are read, without running anything (torch_files.py). The sizes follow from the shapes.
These models were trained on BGR images; the order is kept unless the caller asks for a swap.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from limner.checkpoints.foreign import Importer
from limner.checkpoints.importers.fitting import fitted
from limner.checkpoints.model_folder import ModelConfig, ModelRecord
from limner.core.config import Config
from limner.core.errors import CheckpointError, ConfigError, RefusedFile
from limner.core.files import sha256_of
from limner.formats.pickles import Record, shown
from limner.formats.torch_files import read_torch
from limner.formats.weights import unwrapped
from limner.models.dcgan import BOTTOM, DcganDiscriminator, DcganGenerator

LEAKY_SLOPE = 0.01  # the default of the layer that MMGeneration builds; the paper has 0.2
WANTED = "an iter_N.pth of MMGeneration"
State = dict[str, Tensor]


class DcganMmgen(Config, Importer, frozen=True):
    """An iter_N.pth of MMGeneration, of a DCGAN.

    Attributes:
        bgr: the checkpoint was trained in BGR: swap its color channels, so that images are RGB.
    """

    bgr: bool = False

    def read(self, source: Path) -> ModelRecord:
        """See `Importer.read`."""
        groups = _groups(_state_dict(source), source)
        try:
            g_config, image_shape = generator_config(groups["generator"])
            d_config = discriminator_config(groups["discriminator"], image_shape)
        except (KeyError, CheckpointError, ConfigError) as error:
            missing = isinstance(error, KeyError)
            problem = f"the tensor {error} is missing" if missing else str(error)
            raise CheckpointError(
                f"{source}: not a DCGAN of MMGeneration: {problem}; give an iter_N.pth of one"
            ) from None
        configs = {"generator": g_config, "generator_ema": g_config, "discriminator": d_config}
        states = {
            name: fitted(RENAMED[name](group), configs[name], image_shape, 0, f"{source}: {name}")
            for name, group in groups.items()
            if group
        }
        for state in states.values() if self.bgr else ():
            _swap_colors(state, image_shape[0], source)
        config = ModelConfig(
            generator=g_config,
            discriminator=d_config,
            image_shape=image_shape,
            num_classes=0,
            origin={
                "file": source.name,
                "sha256": sha256_of(source),
                "channel_order": _channel_order(image_shape[0], self.bgr),
            },
        )
        g, d = states["generator"], states["discriminator"]
        if "generator_ema" not in states:
            return ModelRecord(config=config, generator=g, discriminator=d)
        return ModelRecord(config, states["generator_ema"], generator_raw=g, discriminator=d)


def _channel_order(num_channels: int, bgr: bool) -> str:
    if num_channels != 3:
        return "as trained"
    return "RGB (swapped from the trained BGR)" if bgr else "BGR (as trained)"


# --- reading ---------------------------------------------------------------


def _state_dict(path: Path) -> Mapping[str, Any]:
    try:
        loaded = read_torch(path, WANTED)
    except RefusedFile as error:
        raise RefusedFile(
            f"{error}; it holds more than tensors and plain values: save its state_dict alone with "
            "the program that made it"
        ) from None
    state = unwrapped(loaded, path, keep=RENAMED)
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{path}: holds no state_dict; give {WANTED}")
    return state


def _groups(state: Mapping[str, Any], path: Path) -> dict[str, State]:
    groups: dict[str, State] = {prefix: {} for prefix in RENAMED}
    for key, value in state.items():
        prefix, _, name = str(key).partition(".")
        if prefix not in groups or not isinstance(value, Tensor):
            what = f"a {value.of}" if isinstance(value, Record) else f"a {type(value).__name__}"
            raise CheckpointError(
                f"{path}: unexpected entry '{shown(str(key))}' in state_dict ({what}); "
                "a DCGAN of MMGeneration holds tensors generator.* and discriminator.* only"
            )
        groups[prefix][name] = value
    return groups


# --- names -----------------------------------------------------------------


def rename_generator(state: Mapping[str, Tensor]) -> State:
    """MMGeneration's names of a generator's tensors to limner's; unknown names stay as they are."""
    next_block = lambda match: f"blocks.{int(match[1]) + 1}"  # noqa: E731
    return {_renamed(re.sub(r"^upsampling\.(\d+)", next_block, k)): v for k, v in state.items()}


def rename_discriminator(state: Mapping[str, Tensor]) -> State:
    """The same for a discriminator."""
    return {_renamed(k): v for k, v in state.items()}


RENAMED = {
    "generator": rename_generator,
    "generator_ema": rename_generator,
    "discriminator": rename_discriminator,
}


def _renamed(key: str) -> str:
    key = re.sub(r"^noise2feat\.", "blocks.0.", key)
    key = re.sub(r"^downsamples\.", "blocks.", key)
    key = re.sub(r"^output_layer\.conv\.", "output.", key)
    return re.sub(r"\.bn\.", ".norm.", key)


# --- sizes -----------------------------------------------------------------


def generator_config(state: Mapping[str, Tensor]) -> tuple[DcganGenerator, tuple[int, int, int]]:
    """Config and image shape of a generator, from the shapes of its tensors; KeyError where one is
    missing that tells a size."""
    num_ups = _count(state, "upsampling")
    z_dim, top = _conv_sizes(state, "noise2feat.conv.weight")
    width, num_channels = _conv_sizes(state, "output_layer.conv.weight")
    side = BOTTOM << (num_ups + 1)
    config = DcganGenerator(width=width, z_dim=z_dim, max_channels=top)
    return config, (num_channels, side, side)


def discriminator_config(
    state: Mapping[str, Tensor], image_shape: tuple[int, int, int]
) -> DcganDiscriminator:
    """The same of a discriminator; CheckpointError where it gives more than one logit, or is made
    for other images."""
    width, num_channels = _conv_sizes(state, "downsamples.0.conv.weight")
    num_logits, top = _conv_sizes(state, "output_layer.conv.weight")
    side = BOTTOM << _count(state, "downsamples")
    if num_logits != 1:
        raise CheckpointError(f"its discriminator has {num_logits} outputs, limner's has one")
    if (num_channels, side, side) != image_shape:
        raise CheckpointError(
            f"its generator makes images {list(image_shape)}, "
            f"its discriminator takes {[num_channels, side, side]}"
        )
    return DcganDiscriminator(width=width, max_channels=top, leaky_slope=LEAKY_SLOPE)


def _count(state: Mapping[str, Tensor], name: str) -> int:
    return sum(re.fullmatch(rf"{name}\.\d+\.conv\.weight", key) is not None for key in state)


def _conv_sizes(state: Mapping[str, Tensor], key: str) -> tuple[int, int]:
    shape = state[key].shape
    if len(shape) != 4:
        raise CheckpointError(f"'{key}' is {list(shape)}, not a convolution")
    return shape[0], shape[1]


def _swap_colors(state: State, num_channels: int, path: Path) -> None:
    if num_channels != 3:
        raise CheckpointError(f"{path}: its images have {num_channels} channels; leave --bgr out")
    if "blocks.0.conv.bias" in state:  # a discriminator: images come in through its first block
        state["blocks.0.conv.weight"] = state["blocks.0.conv.weight"].flip(1)
    else:
        state["output.weight"] = state["output.weight"].flip(1)
        state["output.bias"] = state["output.bias"].flip(0)
