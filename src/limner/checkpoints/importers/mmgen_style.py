"""MMGeneration's StyleGAN2 as limner's: NVIDIA's function under other names."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from limner.checkpoints.importers import stylegan2_names
from limner.checkpoints.importers.mmgen_names import State, num_entries
from limner.checkpoints.importers.mmgen_recipes import Said
from limner.checkpoints.importers.network_pickles import Built, checked_config
from limner.core.errors import CheckpointError
from limner.layers import BINOMIAL, fir_filter
from limner.layers.mapping import MappingNetwork
from limner.models import StyleGan2Discriminator, StyleGan2Generator

BOTTOM = 4
NUM_FOR_MEAN = 4096  # latents, as the original averages them when it truncates
SEED = 0
LAYER = {
    "conv.weight_orig": "weight",
    "conv.style_modulation.linear.weight_orig": "affine.weight",
    "conv.style_modulation.bias": "affine.bias",
    "noise_injector.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",
}
# (pattern of theirs, NVIDIA's) of the discriminator, but for the blocks.
ENDS = [
    (r"convs\.0\.0\.conv\.weight_orig", "fromrgb.weight"),
    (r"convs\.0\.1\.bias", "fromrgb.bias"),
    (r"final_conv\.0\.conv\.weight_orig", "b4.conv.weight"),
    (r"final_conv\.1\.bias", "b4.conv.bias"),
    (r"final_linear\.0\.linear\.weight_orig", "b4.fc.weight"),
    (r"final_linear\.0\.bias", "b4.fc.bias"),
    (r"final_linear\.1\.linear\.weight_orig", "b4.out.weight"),
    (r"final_linear\.1\.bias", "b4.out.bias"),
]
BLOCK = {
    "conv1.0.conv.weight_orig": "conv0.weight",
    "conv1.1.bias": "conv0.bias",
    "conv2.1.conv.weight_orig": "conv1.weight",
    "conv2.2.bias": "conv1.bias",
    "skip.1.conv.weight_orig": "skip.weight",
}


def generator(state: Mapping[str, Tensor], said: Said, where: str) -> Built:
    """KeyError names a tensor that is missing and tells a size."""
    named: State = {}
    for key, value in state.items():
        if _is_filter(key, value, where):
            continue
        name = _generators(key)
        if name.endswith((".const", ".weight")) and value.ndim in (4, 5) and len(value) == 1:
            value = value[0]
        elif name.endswith(".noise_strength"):
            value = value.reshape(())
        elif name.endswith(".noise_const"):
            value = value.reshape(value.shape[2:])
        elif name.endswith(".torgb.bias"):
            value = value.flatten()
        named[name] = value
    sizes = [BOTTOM << i for i in range(1 + num_entries("to_rgbs", state))]
    channels = [named[f"synthesis.b{size}.conv1.weight"].shape[0] for size in sizes]
    w_dim, z_dim = named["mapping.fc0.weight"].shape
    num_mapping = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", key)) for key in named)
    fields = _formula(channels, sizes) | {
        "z_dim": z_dim,
        "w_dim": w_dim,
        "num_mapping": num_mapping,
        "clamp": None,
    }
    config = checked_config(StyleGan2Generator, fields, where)
    ours = stylegan2_names.to_limner("generator", config, named)
    ours["mean_style"] = _mean_style(config, ours, where)
    facts = {"mean_style": f"of {NUM_FOR_MEAN} latents drawn here; such files hold none"}
    num_colors = named["synthesis.b4.torgb.weight"].shape[0]
    return Built(config, (num_colors, sizes[-1], sizes[-1]), 0, ours, facts)


def discriminator(
    state: Mapping[str, Tensor], said: Said, where: str, image_shape: tuple[int, int, int]
) -> Built:
    """Errors as `generator`'s."""
    side = BOTTOM << num_entries("convs", state) - 1
    named = {
        _discriminators(key, side): value
        for key, value in state.items()
        if not _is_filter(key, value, where)
    }
    sizes = [BOTTOM << i for i in range(side.bit_length()) if BOTTOM << i <= side]
    channels = [named[f"b{size}.conv0.weight"].shape[0] for size in sizes[1:]]
    bottom = named["b4.conv.weight"].shape
    fields = _formula([bottom[0], *channels], sizes)
    fields |= {"clamp": None, "features": bottom[1] - bottom[0]}
    config = checked_config(StyleGan2Discriminator, fields, where)
    ours = stylegan2_names.to_limner("discriminator", config, named)
    num_colors = named[f"b{side}.fromrgb.weight"].shape[1]
    return Built(config, (num_colors, side, side), 0, ours)


def _generators(key: str) -> str:
    if key == "constant_input.input":
        return "synthesis.b4.const"
    match = re.fullmatch(r"style_mapping\.(\d{1,3})\.(?:linear\.(weight)_orig|(bias))", key)
    if match is not None:
        return f"mapping.fc{int(match[1]) - 1}.{match[2] or match[3]}"
    match = re.fullmatch(r"injected_noise_(\d{1,3})", key)
    if match is not None:
        return f"{_layer(int(match[1]))}.noise_const"
    match = re.fullmatch(r"(conv1|convs\.(\d{1,3}))\.(.+)", key)
    if match is not None:
        number = 0 if match[2] is None else int(match[2]) + 1
        return f"{_layer(number)}.{LAYER.get(match[3], match[3])}"
    match = re.fullmatch(r"(to_rgb1|to_rgbs\.(\d{1,3}))\.(.+)", key)
    if match is not None:
        size = BOTTOM if match[2] is None else 2 * BOTTOM << int(match[2])
        return f"synthesis.b{size}.torgb.{LAYER.get(match[3], match[3])}"
    return key


def _layer(number: int) -> str:
    """Convolutions count from the one at 4 pixels, then two a resolution."""
    level, place = divmod(number + 1, 2)
    return f"synthesis.b{BOTTOM << level}.conv{place if number else 1}"


def _discriminators(key: str, side: int) -> str:
    for pattern, name in ENDS:
        if re.fullmatch(pattern, key):
            return f"b{side}.{name}" if name.startswith("fromrgb") else name
    match = re.fullmatch(r"convs\.(\d{1,3})\.(.+)", key)
    if match is None:
        return key
    return f"b{side >> int(match[1]) - 1}.{BLOCK.get(match[2], match[2])}"


def _is_filter(key: str, value: Tensor, where: str) -> bool:
    """Whether it is a resampling filter, which limner's config names; CheckpointError where it is
    another one than [1, 3, 3, 1]."""
    if not key.endswith(".kernel"):
        return False
    expected = fir_filter(BINOMIAL)
    gain = value.sum()
    if value.shape != expected.shape or not torch.allclose(value.float() / gain, expected):
        raise CheckpointError(f"{where}: its filter '{key}' is not that of {list(BINOMIAL)}")
    return True


def _formula(channels: list[int], sizes: list[int]) -> dict[str, Any]:
    """By min(base // r, most), or one by one."""
    most, base = max(channels), channels[-1] * sizes[-1]
    if [min(base // size, most) for size in sizes] == channels:
        return {"channel_base": base, "channel_max": most}
    return {"channels": channels}


def _mean_style(config: StyleGan2Generator, state: State, where: str) -> Tensor:
    mapper = MappingNetwork(config.z_dim, 0, config.w_dim, config.num_mapping, config.mapping_rate)
    own = {key.removeprefix("mapper."): state[key] for key in state if key.startswith("mapper.")}
    if {key: t.shape for key, t in own.items()} != {
        k: t.shape for k, t in mapper.state_dict().items()
    }:
        raise CheckpointError(
            f"{where}: its style_mapping is no chain of {config.num_mapping} layers"
        )
    mapper.load_state_dict(own)
    draws = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        return mapper(torch.randn(NUM_FOR_MEAN, config.z_dim, generator=draws)).mean(0)
