"""MMGeneration's PGGAN as limner's, whose fields carry where its function is another one."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from limner.checkpoints.importers.mmgen_names import State, num_entries
from limner.checkpoints.importers.mmgen_recipes import Said
from limner.checkpoints.importers.network_pickles import Built, checked_config
from limner.core.errors import CheckpointError
from limner.models import PgganDiscriminator, PgganGenerator

BASE = 4  # pixels on a side of the first level
LATENT_EPS, PIXEL_EPS = 1e-6, 1e-5
UNUSED = "conv_blocks.0."  # of the discriminator, which its forward never runs


def generator(state: Mapping[str, Tensor], said: Said, where: str) -> Built:
    """KeyError names a tensor that is missing and tells a size."""
    found: State = {}
    for key, value in state.items():
        name = _renamed(key, r"torgb_layers\.(\d+)\.conv\.", "outputs")
        if name == "noise2feat.bias":
            value, name = value.flatten(), "blocks.0.linear.bias"
        if re.fullmatch(r"blocks\.[1-9]\d*\.conv1\.weight", name) and said.fused_upconv:
            value = value.transpose(0, 1).flip(2, 3)  # of a transposed convolution
        found[name.replace("noise2feat.linear.", "blocks.0.linear.")] = value
    channels = _channels(found, "outputs", dim=1)
    config = checked_config(
        PgganGenerator,
        _formula(channels, where)
        | {
            "z_dim": found["blocks.0.linear.weight"].shape[1],
            "pixel_norm_eps": PIXEL_EPS,
            "pixel_norm_outside": True,
            "latent_norm_eps": LATENT_EPS,
            "fused_scale": said.fused_upconv,
            "doubling_fan": "outputs" if said.fused_upconv else "inputs",
        },
        where,
    )
    return Built(config, _shape(found["outputs.0.weight"].shape[0], channels), 0, found)


def discriminator(
    state: Mapping[str, Tensor], said: Said, where: str, image_shape: tuple[int, int, int]
) -> Built:
    """Errors as `generator`'s."""
    found: State = {}
    for key, value in state.items():
        if key.startswith(UNUSED):
            continue
        name = _renamed(key, r"fromrgb_layers\.(\d+)\.conv\.", "inputs")
        name = re.sub(r"^decision\.linear0\.", "blocks.0.linear.", name)
        found[re.sub(r"^decision\.linear1\.", "output.", name)] = value
    num_outputs = found["output.weight"].shape[0]
    if num_outputs != 1:
        raise CheckpointError(
            f"{where}: it has {num_outputs} outputs, of a PGGAN with labels; only those without "
            "are read"
        )
    channels = _channels(found, "inputs", dim=0)
    fields = _formula(channels, where) | {"last_conv": False}
    shape = _shape(found["inputs.0.weight"].shape[1], channels)
    return Built(checked_config(PgganDiscriminator, fields, where), shape, 0, found)


def lod_of(extras: Mapping[str, Any], image_shape: tuple[int, int, int], where: str) -> float:
    """The level of detail of a file's scale and transition weight; 0 where it says neither."""
    scale, weight = (
        extras[name].item()
        if isinstance(extras.get(name), Tensor) and extras[name].numel() == 1
        else other
        for name, other in (
            ("_curr_scale_int", image_shape[1]),
            ("_curr_transition_weight", 1.0),
        )
    )
    sizes = [BASE << i for i in range(image_shape[1].bit_length()) if BASE << i <= image_shape[1]]
    if scale not in sizes or not 0.0 <= weight <= 1.0:
        raise CheckpointError(
            f"{where}: _curr_scale_int {scale:g} and _curr_transition_weight {weight:g} are no "
            f"scale of {sizes} and no weight"
        )
    lod = math.log2(image_shape[1] / scale)
    return lod + (1.0 - weight if scale > BASE else 0.0)


def _renamed(key: str, images: str, ours: str) -> str:
    """Common to both networks: convolutions, and the layers of the images of each level."""
    name = re.sub(rf"^{images}", rf"{ours}.\1.", key)
    name = re.sub(r"\.weight_orig$", ".weight", name)
    match = re.fullmatch(r"conv_blocks\.(\d{1,3})\.conv\.(weight|bias)", name)
    if match is None:
        return name
    level, place = divmod(int(match[1]) + 1, 2)
    layer = f"conv{place + 1}" if level else "conv"
    return f"blocks.{level}.{layer}.{match[2]}"


def _channels(state: State, images: str, dim: int) -> list[int]:
    """Of the levels, the base first."""
    num = num_entries(images, state)
    if not num:
        raise KeyError(f"{images}.0.weight")
    return [state[f"{images}.{level}.weight"].shape[dim] for level in range(num)]


def _formula(channels: list[int], where: str) -> dict[str, Any]:
    """Level s, counted from 1, has min(base / 2^s, most) channels."""
    most = max(channels)
    base = channels[-1] << len(channels)
    if [min(base >> s, most) for s in range(1, len(channels) + 1)] != channels:
        raise CheckpointError(f"{where}: its channels {channels} are no min(base / 2^s, most)")
    return {"fmap_base": base, "fmap_max": most}


def _shape(num_colors: int, channels: list[int]) -> tuple[int, int, int]:
    side = BASE << len(channels) - 1
    return num_colors, side, side
