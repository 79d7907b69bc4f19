"""Constructor arguments of NVIDIA's style networks, as limner's fields, and back.

stylegan2-ada-pytorch nests those of a generator (mapping_kwargs, synthesis_kwargs); stylegan3 has
them flat, and a copy of StyleGAN2 with other defaults.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from limner.checkpoints.importers.network_pickles import Network, checked_config
from limner.checkpoints.model_folder import MAX_CLASSES, MAX_SIZE
from limner.core.errors import CheckpointError, nearest
from limner.formats.pickles import shown
from limner.models import StyleGan2Discriminator, StyleGan2Generator, StyleGan3Generator

# How the originals compute, and training alone: no part of what a network computes in float32.
PASSED = {
    "num_fp16_res", "fp16_channels_last", "fused_modconv_default", "use_fp16", "freeze_layers",
}  # fmt: skip
# What limner has in one form only: argument -> the values that are that form.
FIXED: dict[str, tuple[Any, ...]] = {
    "activation": ("lrelu",),
    "kernel_size": (3,),
    "embed_features": (None,),
    "layer_features": (None,),
}
IMAGE = ("c_dim", "img_resolution", "img_channels")
MAPPING = {"num_layers": "num_mapping", "lr_multiplier": "mapping_rate"}
STYLES = {**MAPPING, "w_avg_beta": "mean_style_decay"}
WIDTHS = {"channel_base": "channel_base", "channel_max": "channel_max"}
CONVOLUTIONS = {**WIDTHS, "conv_clamp": "clamp", "architecture": "architecture"}
ALIAS_FREE = {
    **WIDTHS,
    "conv_clamp": "clamp",
    "num_layers": "num_layers",
    "num_critical": "num_critical",
    "first_cutoff": "first_cutoff",
    "first_stopband": "first_stopband",
    "last_stopband_rel": "last_stopband",
    "margin_size": "margin",
    "output_scale": "output_scale",
    "conv_kernel": "kernel",
    "filter_size": "filter_size",
    "lrelu_upsampling": "oversampling",
    "use_radial_filters": "radial",
    "magnitude_ema_beta": "magnitude_decay",
}


class Kind(NamedTuple):
    """A class of networks of a repository.

    Attributes:
        config: limner's.
        fields: path of an argument -> limner's field.
        defaults: limner's fields where the class has other defaults than limner's config.
        class_name: its full one.
    """

    config: Any
    fields: Mapping[str, str]
    defaults: Mapping[str, Any]
    class_name: str


def _under(group: str, fields: Mapping[str, str]) -> dict[str, str]:
    return {f"{group}.{name}": field for name, field in fields.items()}


FIR = {"resample_filter": "filter"}
SYNTHESIS = {**CONVOLUTIONS, **FIR, "use_noise": "noise"}
GENERATOR = {"z_dim": "z_dim", "w_dim": "w_dim", **_under("mapping_kwargs", STYLES)}
DISCRIMINATOR = {
    **CONVOLUTIONS,
    "cmap_dim": "label_dim",
    **_under("block_kwargs", FIR),
    **_under("mapping_kwargs", MAPPING),
    "epilogue_kwargs.mbstd_group_size": "group_size",
    "epilogue_kwargs.mbstd_num_channels": "features",
}
UNCLAMPED = {"clamp": None}
KINDS: dict[str, dict[str, Kind]] = {
    "stylegan2-ada": {
        "StyleGAN2's generator": Kind(
            StyleGan2Generator,
            {**GENERATOR, **_under("synthesis_kwargs", SYNTHESIS)},
            UNCLAMPED,
            "training.networks.Generator",
        ),
        "StyleGAN2's discriminator": Kind(
            StyleGan2Discriminator, DISCRIMINATOR, UNCLAMPED, "training.networks.Discriminator"
        ),
    },
    "stylegan3": {
        "StyleGAN3's generator": Kind(
            StyleGan3Generator,
            {**GENERATOR, **ALIAS_FREE},
            {},
            "training.networks_stylegan3.Generator",
        ),
        "StyleGAN2's generator": Kind(
            StyleGan2Generator,
            {**GENERATOR, **SYNTHESIS},
            {"mean_style_decay": 0.998},
            "training.networks_stylegan2.Generator",
        ),
        "StyleGAN2's discriminator": Kind(
            StyleGan2Discriminator,
            DISCRIMINATOR,
            {},
            "training.networks_stylegan2.Discriminator",
        ),
    },
}


def kind_of(network: Network, name: str, system: str) -> Kind:
    """Which class of a repository a network is of; CheckpointError where it is none, or of another
    repository."""
    what = "discriminator" if name == "D" else "generator"
    found = _found(network, what)
    if network.class_name.lower() != what or found is None:
        raise CheckpointError(
            f"{network.where}: is a {shown(network.class_name)}, in whose place a {what} of "
            f"{system} is expected"
        )
    nested = "synthesis_kwargs" in network.arguments
    own = "stylegan2-ada" if nested else "stylegan3"
    # A discriminator is the same in both, and so are arguments that are all left out.
    flat = {*SYNTHESIS, *ALIAS_FREE} & set(network.arguments)
    if found not in KINDS[system] or (what == "generator" and own != system and (nested or flat)):
        raise CheckpointError(
            f"{network.where}: is {found} of {own}'s program, not of {system}'s; "
            f"limner import {own} reads it"
        )
    return KINDS[system][found]


def _found(network: Network, what: str) -> str | None:
    """By the tensors that only it has."""
    if what == "discriminator":
        return "StyleGAN2's discriminator" if "b4.fc.weight" in network.tensors else None
    if any(key.startswith("synthesis.input.") for key in network.tensors):
        return "StyleGAN3's generator"
    if "synthesis.b4.const" in network.tensors:
        return "StyleGAN2's generator"
    return None


def config_of(kind: Kind, network: Network) -> tuple[Any, tuple[int, int, int], int]:
    """limner's config, image shape and number of classes of a network's arguments.

    Raises:
        CheckpointError: an argument is unknown or cannot be.
    """
    where = network.where
    given = _flattened(network.arguments, kind, where)
    sizes = {}
    for name, most in zip(IMAGE, (MAX_CLASSES, MAX_SIZE, MAX_SIZE), strict=True):
        value = given.pop(name, None)
        if type(value) is not int or not 0 <= value <= most:
            raise CheckpointError(f"{where}: its argument {name} is {shown(repr(value))}")
        sizes[name] = value
    fields = dict(kind.defaults)
    for path, value in given.items():
        fields[kind.fields[path]] = list(value) if isinstance(value, tuple) else value
    _take_attributes(fields, network)
    config = checked_config(kind.config, fields, where)
    side = sizes["img_resolution"]
    return config, (sizes["img_channels"], side, side), sizes["c_dim"]


def _flattened(arguments: Mapping[str, Any], kind: Kind, where: str) -> dict[str, Any]:
    """Arguments by their paths, those that say nothing about limner's network left out."""
    found: dict[str, Any] = {}
    groups = {path.partition(".")[0] for path in kind.fields if "." in path}
    for name, value in arguments.items():
        if name == "class_name":
            continue
        pairs = {name: value}
        if name in groups:
            if not isinstance(value, dict):
                raise CheckpointError(f"{where}: its argument {name} is no dictionary")
            pairs = {f"{name}.{inner}": each for inner, each in value.items()}
        for path, each in pairs.items():
            last = path.rpartition(".")[2]
            if path in kind.fields or path in IMAGE:
                found[path] = each
            elif last in FIXED and each not in FIXED[last]:
                raise CheckpointError(
                    f"{where}: its argument {shown(path)} is {shown(repr(each))}; limner has "
                    f"{' or '.join(map(repr, FIXED[last]))} alone"
                )
            elif last not in FIXED and last not in PASSED:
                raise CheckpointError(
                    f"{where}: its argument '{shown(path)}' is not known"
                    f"{nearest(path, [*kind.fields, *IMAGE])}"
                )
    return found


def _take_attributes(fields: dict[str, Any], network: Network) -> None:
    """What the objects themselves say goes before arguments and defaults."""
    for path, value in network.attributes.items():
        module, _, name = path.rpartition(".")
        layer = module.rpartition(".")[2]
        if name == "conv_clamp" and (layer == "conv1" or re.fullmatch(r"L\d+_\d+_\d+", layer)):
            fields["clamp"] = value
        elif path == "b4.mbstd.group_size":
            fields["group_size"] = value
        elif path == "mapping.w_avg_beta" and value is not None:
            fields["mean_style_decay"] = value


def arguments_of(
    kind: Kind, config: Any, image_shape: tuple[int, int, int], num_classes: int
) -> dict[str, Any]:
    """The arguments from which the original builds a network; CheckpointError where it has none."""
    if getattr(config, "channels", ()):
        raise CheckpointError(
            "channels: the original has min(channel_base // r, channel_max) alone, and not "
            f"{list(config.channels)}"
        )
    arguments: dict[str, Any] = {
        "c_dim": num_classes,
        "img_resolution": image_shape[1],
        "img_channels": image_shape[0],
        "num_fp16_res": 0,
    }
    if "synthesis_kwargs.channel_base" in kind.fields:
        arguments["synthesis_kwargs"] = {"num_fp16_res": arguments.pop("num_fp16_res")}
    for path, field in kind.fields.items():
        value = getattr(config, field)
        *groups, name = path.split(".")
        place = arguments
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = list(value) if isinstance(value, tuple) else value
    return arguments
