"""MMGeneration's SN-GAN, SA-GAN, BigGAN and BigGAN-deep as limner's networks of that family."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from limner.checkpoints.importers.folding import channels_first, condition_first
from limner.checkpoints.importers.mmgen_names import State, num_entries, stored_layers, to_limner
from limner.checkpoints.importers.mmgen_recipes import Said
from limner.checkpoints.importers.network_pickles import Built, checked_config
from limner.core.errors import CheckpointError
from limner.models import (
    BigGanDeepDiscriminator,
    BigGanDeepGenerator,
    BigGanDiscriminator,
    BigGanGenerator,
)
from limner.models.building import BOTTOM

EARLY_END = 32  # pixels of the images whose discriminator ends at 8 pixels, not 4


def generator(theirs: Mapping[str, Tensor], said: Said, where: str) -> Built:
    """KeyError names a tensor that is missing and tells a size."""
    state = to_limner(theirs)
    deep = "blocks.0.conv4.weight" in state
    num_blocks = num_entries("blocks", state)
    depth = said.depth if deep else 1
    if not num_blocks or num_blocks % depth:
        raise CheckpointError(f"{where}: {num_blocks} blocks, not {depth} at every resolution")
    shared = state["shared.weight"].shape if "shared.weight" in state else None
    gain = state["blocks.0.norm1.gain.weight"] if _conditional(state) else None
    fields = _widths(_outputs(state, num_blocks, depth, "conv4" if deep else "conv2"))
    fields |= _common(state, said) | {
        "batch_norm_eps": said.norm_eps,
        "attention": [2 * BOTTOM << i // depth for i in _attentive(state)],
    }
    num_inputs = state["linear.weight"].shape[1]
    if deep:
        if shared is None:
            raise CheckpointError(f"{where}: a BigGAN-deep without shared_embedding")
        fields |= {"depth": depth, "shared_dim": shared[1], "z_dim": num_inputs - shared[1]}
        _reorder(state, num_inputs - shared[1])
        num_classes = shared[0]
    else:
        skip_z = shared is not None and gain is not None and gain.shape[1] > shared[1]
        fields |= {
            "skip_z": skip_z,
            "shared_dim": 0 if shared is None else shared[1],
            "z_dim": num_inputs * (num_blocks + 1) if skip_z else num_inputs,
            "gain_around_one": said.gain_around_one,
            "normalized_tables": shared is None and "blocks.0.norm1.gain.u0" in state,
        }
        num_classes = shared[0] if shared is not None else 0 if gain is None else gain.shape[0]
    kind = BigGanDeepGenerator if deep else BigGanGenerator
    config = checked_config(kind, fields, where)
    side = BOTTOM << num_blocks // depth
    return Built(config, (state["output.weight"].shape[0], side, side), num_classes, state)


def discriminator(
    theirs: Mapping[str, Tensor], said: Said, where: str, image_shape: tuple[int, int, int]
) -> Built:
    """Of a generator that makes images of this shape; errors as `generator`'s."""
    state = to_limner(theirs)
    deep = "first.weight" in state
    depth = said.depth if deep else 1
    num_blocks = num_entries("blocks", state)
    num_stages = num_blocks // depth if deep else num_blocks + 1
    to_bottom = (image_shape[1] // BOTTOM).bit_length() - 1
    if deep:
        num_halvings = min(to_bottom - (image_shape[1] == EARLY_END), num_stages)
    else:
        is_biggan = not any(key.startswith("from_rgb.") for key in theirs)
        num_halvings = _halvings(state, to_bottom if is_biggan else num_stages)
    last = "conv4" if deep else "conv2"
    outputs = [
        state[f"blocks.{i}.{last}.weight"].shape[0] for i in range(depth - 1, num_blocks, depth)
    ]
    first = state["first.weight" if deep else "first.conv2.weight"].shape[0]
    fields = _widths([first, *outputs]) | _common(state, said)
    attentive = [i // depth + (not deep) for i in _attentive(state)]
    attentive = [*([0] if "first.attention.gamma" in state else []), *attentive]
    fields |= _attention(
        attentive, [image_shape[1] >> min(i + 1, num_halvings) for i in range(num_stages)]
    )
    fields |= {
        "bottom": image_shape[1] >> num_halvings,
        "num_last_blocks": num_stages - num_halvings,
        "relu_shortcut": said.inplace_relu,
    }
    fields |= {"depth": depth} if deep else {"wide": _is_wide(state, num_blocks)}
    kind = BigGanDeepDiscriminator if deep else BigGanDiscriminator
    num_classes = state["embed.weight"].shape[0] if "embed.weight" in state else 0
    return Built(checked_config(kind, fields, where), image_shape, num_classes, state)


def _conditional(state: State) -> bool:
    return "blocks.0.norm1.gain.weight" in state


def _common(state: State, said: Said) -> dict[str, Any]:
    return {
        "spectral_norm": any(key.endswith(".u0") for key in state),
        "spectral_norm_eps": said.sn_eps,
        "stored_vectors": stored_layers(state),
    }


def _widths(channels: list[int]) -> dict[str, Any]:
    """Channels from full resolution down, as a width and its multiples."""
    width = math.gcd(*channels)
    return {"width": width, "multipliers": [size // width for size in channels]}


def _outputs(state: State, num_blocks: int, depth: int, last: str) -> list[int]:
    """Channels of a generator from full resolution down, those that it begins with last."""
    bottom = state["blocks.0.conv1.weight"].shape[1]
    blocks = range(depth - 1, num_blocks, depth)
    return [bottom, *(state[f"blocks.{i}.{last}.weight"].shape[0] for i in blocks)][::-1]


def _attentive(state: State) -> list[int]:
    """Numbers of the blocks with attention."""
    found = (re.fullmatch(r"blocks\.(\d+)\.attention\.gamma", key) for key in state)
    return sorted(int(match[1]) for match in found if match)


def _attention(blocks: list[int], sizes: list[int]) -> dict[str, Any]:
    """By resolution, where that says which blocks are meant."""
    chosen = [sizes[i] for i in blocks if i < len(sizes)]
    if [i for i, size in enumerate(sizes) if size in chosen] == blocks:
        return {"attention": chosen}
    return {"attention_after": blocks}


def _halvings(state: State, most: int) -> int:
    """Of a discriminator; the tensors show none, but that a block that halves has a shortcut. As
    BigGAN's end at 4 pixels or more, the last of them may also have one for its channels; SN-GAN's
    of 64 pixels end at 2."""
    num = 1
    while f"blocks.{num - 1}.shortcut.weight" in state:
        num += 1
    return min(num, most)


def _is_wide(state: State, num_blocks: int) -> bool:
    pairs = [
        (state[f"blocks.{i}.conv{j}.weight"].shape[0] for j in (1, 2)) for i in range(num_blocks)
    ]
    return all(first == second for first, second in pairs)


def _reorder(state: State, z_dim: int) -> None:
    """From [z, class] to [class, z], and the first layer's pixels from height, width, channel."""
    for key in state:
        layer, _, leaf = key.rpartition(".")
        if leaf in ("weight", "v0") and (layer == "linear" or layer.endswith((".gain", ".bias"))):
            state[key] = condition_first(state[key], z_dim)
    rows = state["linear.weight"].shape[0] // BOTTOM**2
    for leaf in ("weight", "bias"):
        state[f"linear.{leaf}"] = channels_first(state[f"linear.{leaf}"], rows)
    if "linear.u0" in state:
        state["linear.u0"] = channels_first(state["linear.u0"][0], rows)[None]
