"""Names and sizes of MMGeneration's DCGAN, as limner's."""

import re
from collections.abc import Mapping

from torch import Tensor

from limner.core.errors import CheckpointError
from limner.models.dcgan import BOTTOM, DcganDiscriminator, DcganGenerator

LEAKY_SLOPE = 0.01  # the default of the layer that MMGeneration builds; the paper has 0.2
State = dict[str, Tensor]

# --- names -----------------------------------------------------------------


def rename_generator(state: Mapping[str, Tensor]) -> State:
    """MMGeneration's names of a generator's tensors to limner's; unknown names stay as they are."""
    next_block = lambda match: f"blocks.{int(match[1]) + 1}"  # noqa: E731
    return {_renamed(re.sub(r"^upsampling\.(\d+)", next_block, k)): v for k, v in state.items()}


def rename_discriminator(state: Mapping[str, Tensor]) -> State:
    """The same for a discriminator."""
    return {_renamed(k): v for k, v in state.items()}


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
