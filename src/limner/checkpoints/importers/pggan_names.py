"""Names of PGGAN's tensors: the TensorFlow variables and limner's, key for key.

TensorFlow counts levels of detail down to 0 at full resolution (`ToRGB_lod0`) and names blocks by
their resolution (`16x16/Conv1`); limner counts levels up from the base grid (`outputs.2`,
`blocks.2.conv2`). Layouts differ too, so values are turned: convolutions [h, w, in, out] to
[out, in, h, w], dense layers [in, out] to [out, in], and the kernels of fused doublings, which are
those of a transposed convolution, [h, w, out, in] to [out, in, h, w] with height and width flipped.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from limner.models import PgganDiscriminator, PgganGenerator

Role = Literal["generator", "discriminator"]
PgganConfig = PgganGenerator | PgganDiscriminator

# (TensorFlow, limner) of the layers of a block
FIRST = {"Dense": "blocks.0.linear", "Conv": "blocks.0.conv"}
LAST = {"Conv": "blocks.0.conv", "Dense0": "blocks.0.linear", "Dense1": "output"}
IMAGES = {"generator": ("ToRGB", "outputs"), "discriminator": ("FromRGB", "inputs")}


def to_limner(role: Role, config: PgganConfig, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """TensorFlow's variables of a network as limner's state dict.

    A name that the reference does not have stays as it is, value too, so that whoever fills a
    network with the result says which it is. The variable "lod" keeps its name.

    Args:
        config: only `base` and `fused_scale` matter.
        state: tensors, or anything that `torch.as_tensor` takes, by variable name without the
            network's own ("4x4/Conv/weight").
    """
    num_levels = _num_levels(rf"{IMAGES[role][0]}_lod\d+/weight", state)
    names = {theirs: ours for ours, theirs in _pairs(role, config, num_levels)}
    return {
        names.get(name, name): _turned(torch.as_tensor(value), name)
        if name in names
        else torch.as_tensor(value)
        for name, value in state.items()
    }


def to_reference(role: Role, config: PgganConfig, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """limner's state dict as TensorFlow's variables, in the order that it creates them in."""
    names = _pairs(role, config, _num_levels(rf"{IMAGES[role][1]}\.\d+\.weight", state))
    named = {
        theirs: _turned(torch.as_tensor(state[ours]), theirs, back=True)
        for ours, theirs in names
        if ours in state
    }
    known = {ours for ours, _ in names}
    return named | {key: torch.as_tensor(v) for key, v in state.items() if key not in known}


def _num_levels(pattern: str, state: Mapping[str, Any]) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _pairs(role: Role, config: PgganConfig, num_levels: int) -> list[tuple[str, str]]:
    """(limner, TensorFlow) of every tensor, in the order that TensorFlow creates them in."""
    layers: list[tuple[str, str]] = []
    for level in range(num_levels):
        theirs, ours = IMAGES[role]
        image = (f"{ours}.{level}", f"{theirs}_lod{num_levels - 1 - level}")
        block = _block(role, config, level)
        layers += [*block, image] if role == "generator" else [*block[::-1], image]
    if role == "discriminator":
        layers.reverse()
    names = [(f"{o}.{leaf}", f"{t}/{leaf}") for o, t in layers for leaf in ("weight", "bias")]
    return [("lod", "lod"), *names]


def _block(role: Role, config: PgganConfig, level: int) -> list[tuple[str, str]]:
    resolution = "x".join(str(side << level) for side in config.base)
    if level == 0:
        layers = FIRST if role == "generator" else LAST
        return [(ours, f"{resolution}/{theirs}") for theirs, ours in layers.items()]
    fused = config.fused_scale
    if role == "generator":
        convs = ("Conv0_up" if fused else "Conv0", "Conv1")
    else:
        convs = ("Conv0", "Conv1_down" if fused else "Conv1")
    return [(f"blocks.{level}.conv{i + 1}", f"{resolution}/{conv}") for i, conv in enumerate(convs)]


def _turned(value: Tensor, theirs: str, back: bool = False) -> Tensor:
    if value.ndim == 2:
        return value.t().contiguous()
    if value.ndim != 4:
        return value
    if "Conv0_up" in theirs:
        spatial = (0, 1) if not back else (2, 3)
        return value.flip(spatial).permute(2, 3, 0, 1).contiguous()
    return value.permute((2, 3, 1, 0) if back else (3, 2, 0, 1)).contiguous()
