"""StyleGAN2's pickles of the TensorFlow programs (NVlabs/stylegan2, stylegan2-ada) as the networks
that stylegan2-ada-pytorch would have made of them.

A tuple (G, D, Gs) of dnnlib.tflib.network.Network: arguments, variables by name, components. Their
source text is not looked at. Dense weights are [in, out], those of convolutions [k, k, in, out], of
those that double also turned round; the bias of a style lacks its 1.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import CheckpointError
from limner.formats.pickles import Record, shown

CLASS, NAMES, VERSION = "Network", ("G", "D", "G_ema"), 4
# Argument -> (path of stylegan2-ada-pytorch's, TensorFlow's default).
COMMON: dict[str, tuple[str, Any]] = {
    "label_size": ("c_dim", 0),
    "resolution": ("img_resolution", 1024),
    "num_channels": ("img_channels", 3),
}
GENERATOR = COMMON | {
    "latent_size": ("z_dim", 512),
    "dlatent_size": ("w_dim", 512),
    "mapping_layers": ("mapping_kwargs.num_layers", 8),
    "mapping_lrmul": ("mapping_kwargs.lr_multiplier", 0.01),
    "mapping_nonlinearity": ("mapping_kwargs.activation", "lrelu"),
    "w_avg_beta": ("mapping_kwargs.w_avg_beta", 0.995),
    "fmap_base": ("synthesis_kwargs.channel_base", 16384),
    "fmap_max": ("synthesis_kwargs.channel_max", 512),
    "conv_clamp": ("synthesis_kwargs.conv_clamp", None),
    "architecture": ("synthesis_kwargs.architecture", "skip"),
    "resample_kernel": ("synthesis_kwargs.resample_filter", [1, 3, 3, 1]),
    "use_noise": ("synthesis_kwargs.use_noise", True),
    "nonlinearity": ("synthesis_kwargs.activation", "lrelu"),
}
DISCRIMINATOR = COMMON | {
    "fmap_base": ("channel_base", 16384),
    "fmap_max": ("channel_max", 512),
    "conv_clamp": ("conv_clamp", None),
    "architecture": ("architecture", "resnet"),
    "resample_kernel": ("block_kwargs.resample_filter", [1, 3, 3, 1]),
    "nonlinearity": ("block_kwargs.activation", "lrelu"),
    "mbstd_group_size": ("epilogue_kwargs.mbstd_group_size", None),
    "mbstd_num_features": ("epilogue_kwargs.mbstd_num_channels", 1),
}
OF_LABELS: dict[str, tuple[str, Any]] = {
    "mapping_layers": ("mapping_kwargs.num_layers", 0),
    "mapping_lrmul": ("mapping_kwargs.lr_multiplier", 0.1),
}
# About training, sampling and speed: no part of what a network computes here.
PASSED = {
    *("num_fp16_res", "truncation_psi", "truncation_cutoff", "style_mixing_prob", "structure"),
    *("randomize_noise", "fused_modconv", "dtype", "mapping_layers", "mapping_lrmul"),
}
LAYERS = {
    "Const": "", "Conv": "conv1", "Conv0_up": "conv0", "Conv0": "conv0", "Conv1": "conv1",
    "Conv1_down": "conv1", "ToRGB": "torgb", "FromRGB": "fromrgb", "Skip": "skip",
}  # fmt: skip
ENDS = {"4x4/Conv": "b4.conv", "4x4/Dense0": "b4.fc", "Output": "b4.out"}


def is_network(value: Any) -> bool:
    """Whether a pickle holds such a network there."""
    return isinstance(value, Record) and value.of.name == CLASS


def described(
    record: Record, name: str, where: str
) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """Class, arguments and tensors (without filters) of a network, as stylegan2-ada-pytorch has
    them; `name` is of NAMES.

    Raises:
        CheckpointError: another version, an argument that is not known, a variable that is none.
    """
    state = record.state if isinstance(record.state, dict) else {}
    version, given = state.get("version"), _entries(state.get("static_kwargs"))
    if type(version) is not int or version < VERSION or given is None:
        raise CheckpointError(
            f"{where}: a network of TensorFlow's version {shown(repr(version))}; from {VERSION} on "
            "they are read, and StyleGAN1 is not"
        )
    role = "discriminator" if name == "D" else "generator"
    arguments = _arguments(given, role, where)
    tensors = {}
    for path, array in _variables(record, where):
        for theirs, tensor in _converted(path, array, role):
            tensors[theirs] = tensor
    return role.capitalize(), arguments, tensors


def _entries(value: Any) -> dict[str, Any] | None:
    """Of a dictionary, or of one of a class of its own."""
    entries = value.entries if isinstance(value, Record) else value
    return dict(entries) if isinstance(entries, dict) else None


def _arguments(given: Mapping[str, Any], role: str, where: str) -> dict[str, Any]:
    table = GENERATOR if role == "generator" else DISCRIMINATOR
    if role == "discriminator" and given.get("label_size"):
        table = table | OF_LABELS
    for key in given:
        if key not in table and key not in PASSED:
            raise CheckpointError(f"{where}: its argument '{shown(str(key))}' is not known")
    found: dict[str, Any] = {}
    for key, (path, default) in table.items():
        value = given.get(key, default)
        if key == "fmap_base" and type(value) is int:
            value *= 2  # that program halves once more
        value = 1.0 if key == "w_avg_beta" and value is None else value
        place, (*groups, last) = found, path.split(".")
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return found


def _variables(record: Record, where: str, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Those of a network and, behind their names, of its components."""
    state = record.state if isinstance(record.state, dict) else {}
    variables = state.get("variables")
    for entry in variables if isinstance(variables, list) else ():
        name, value = (
            entry if isinstance(entry, (tuple, list)) and len(entry) == 2 else (None, None)
        )
        if not isinstance(name, str) or not isinstance(value, (np.ndarray, float, np.generic)):
            raise CheckpointError(f"{where}: a variable of it is no pair of a name and an array")
        yield f"{prefix}{name}", np.asarray(value)
    for name, component in (_entries(state.get("components")) or {}).items():
        if not is_network(component) or prefix.count("/") > 3:
            raise CheckpointError(f"{where}: its component '{shown(str(name))}' is no network")
        yield from _variables(component, where, f"{prefix}{name}/")


def _converted(path: str, array: np.ndarray, role: str) -> Iterator[tuple[str, Tensor]]:
    tensor = torch.from_numpy(np.array(array, np.float32))
    name, _, leaf = path.rpartition("/")
    mapped = re.fullmatch(r"(?:mapping/)?(?:(LabelEmbed)|(?:Dense|Mapping)(\d{1,3}))", name)
    if path == "dlatent_avg":
        yield "mapping.w_avg", tensor
    elif mapped is not None:
        layer = "embed" if mapped[1] else f"fc{mapped[2]}"
        yield f"mapping.{layer}.{leaf}", _turned(tensor, leaf)
    elif (noise := re.fullmatch(r"synthesis/noise(\d{1,3})", path)) is not None:
        number = int(noise[1])
        size = 4 << (number + 1) // 2
        place = (number + 1) % 2 if number else 1
        yield f"synthesis.b{size}.conv{place}.noise_const", tensor.reshape(tensor.shape[-2:])
    elif role == "discriminator" and name in ENDS:
        yield f"{ENDS[name]}.{leaf}", _turned(tensor, leaf)
    else:
        yield _in_block(path, tensor, role)


def _in_block(path: str, tensor: Tensor, role: str) -> tuple[str, Tensor]:
    """A name that is none stays as it is, and is then told."""
    match = re.fullmatch(r"(?:synthesis/)?(\d{1,5})x\1/(\w+)/(\w+)", path)
    if match is None or match[2] not in LAYERS:
        return path, tensor
    size, kind, leaf = match[1], match[2], match[3]
    block = f"synthesis.b{size}" if role == "generator" else f"b{size}"
    if kind == "Const":
        return f"{block}.const", tensor.reshape(tensor.shape[-3:])
    layer = f"{block}.{LAYERS[kind]}"
    if leaf == "mod_weight":
        return f"{layer}.affine.weight", tensor.t()
    if leaf == "mod_bias":
        return f"{layer}.affine.bias", tensor + 1.0
    if leaf == "weight" and role == "generator" and kind in ("Conv0_up", "Skip"):
        return f"{layer}.weight", _turned(tensor, leaf).flip(2, 3)
    return f"{layer}.{leaf}", _turned(tensor, leaf)


def _turned(tensor: Tensor, leaf: str) -> Tensor:
    """Weights with outputs first."""
    if leaf != "weight":
        return tensor
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.mT
