"""Presets: functions that return a complete RunConfig and read like the paper's algorithm box, and
variants of them: another preset with some settings changed. Some fit themselves to the pictures and
to the machine.

The table names functions as "module:function", so that listing imports neither torch nor a family.
No module has the name of a preset's function: `limner.presets.NAME` would then be either of them.

Examples:
    >>> limner.presets.biggan_cifar10().data.resolution
    32
"""

import ast
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.config import override
from limner.core.errors import ConfigError, nearest
from limner.core.facts import Machine, Pictures
from limner.presets.fitted import Choice, Fitted
from limner.presets.progressive_variants import PROGRESSIVE, PROGRESSIVE_ABLATIONS
from limner.presets.stylegan2_variants import STYLEGAN2
from limner.presets.variants import (
    BIGGAN,
    BIGGAN_PAPER,
    DCGAN,
    LADDER,
    LSGAN_AND_GGAN,
    SAGAN_AND_SNGAN,
    WGAN_GP,
    Variant,
)

if TYPE_CHECKING:
    from limner.engine.config import RunConfig

Preset = str | Variant | Fitted

# What `limner presets` lists them under; the last group only with --all.
GROUPS: dict[str, dict[str, Preset]] = {
    "start here": {
        "photos": Fitted(
            "limner.presets.own_pictures:photos", "limner.presets.own_pictures:choices"
        ),
        "digits": "limner.presets.handwritten:digits",
        "digits-tiny": "limner.presets.handwritten:digits_tiny",
    },
    "DCGAN": {"dcgan-celeba64": "limner.presets.dcgan:dcgan_celeba64", **DCGAN},
    "WGAN-GP, LSGAN and GGAN": {
        "wgan-gp-celeba128": "limner.presets.wgan:wgan_gp_celeba128",
        **WGAN_GP,
        **LSGAN_AND_GGAN,
    },
    "BigGAN": {
        "biggan-imagenet128-bs256x8": "limner.presets.biggan:biggan_imagenet128_bs256x8",
        "biggan-cifar10": "limner.presets.biggan:biggan_cifar10",
        **BIGGAN,
        **BIGGAN_PAPER,
    },
    "SAGAN and SNGAN": {
        "sagan-imagenet128": "limner.presets.sagan:sagan_imagenet128",
        "sagan-cifar10-mmgen": "limner.presets.sagan:sagan_cifar10_mmgen",
        "sngan-imagenet128": "limner.presets.sngan:sngan_imagenet128",
        "sngan-cifar10-mmgen": "limner.presets.sngan:sngan_cifar10_mmgen",
        **SAGAN_AND_SNGAN,
    },
    "progressive growing": {
        "pggan-v2-1gpu": "limner.presets.progressive:pggan_v2_1gpu",
        **PROGRESSIVE,
    },
    "R3GAN": {
        "r3gan-cifar10": "limner.presets.r3gan:r3gan_cifar10",
        "r3gan-ffhq64": "limner.presets.r3gan:r3gan_ffhq64",
        "r3gan-ffhq256": "limner.presets.r3gan:r3gan_ffhq256",
        "r3gan-imagenet32": "limner.presets.r3gan:r3gan_imagenet32",
        "r3gan-imagenet64": "limner.presets.r3gan:r3gan_imagenet64",
    },
    "StyleGAN2": {
        "stylegan2": "limner.presets.stylegan2_ada:stylegan2",
        "stylegan2-auto": Fitted(
            "limner.presets.stylegan2_ada:stylegan2_auto", "limner.presets.stylegan2_ada:choices"
        ),
        "stylegan2-cifar": "limner.presets.stylegan2_ada:stylegan2_cifar",
        **STYLEGAN2,
    },
    "StyleGAN3": {
        name: Fitted(f"limner.presets.stylegan3:{function}", "limner.presets.stylegan3:choices")
        for name, function in (("stylegan3-t", "stylegan3_t"), ("stylegan3-r", "stylegan3_r"))
    },
    "ablations": {
        "biggan-ladder-batch256": "limner.presets.biggan:biggan_ladder_batch256",
        **LADDER,
        **PROGRESSIVE_ABLATIONS,
    },
}
PRESETS: dict[str, Preset] = {
    name: preset for group in GROUPS.values() for name, preset in group.items()
}

# Those made for built-in data; every other needs pictures that the user names.
BUILT_IN_DATA = dict.fromkeys(("digits", "digits-tiny", "pggan-digits"), "digits")
# By the kind of a model's generator, the preset whose recipe fine-tuning takes.
FAMILIES = {
    "DcganGenerator": "dcgan-celeba64",
    "SnganGenerator": "sngan-cifar10-mmgen",
    "SaganGenerator": "sagan-cifar10-mmgen",
    "BigGanGenerator": "biggan-ladder-batch256",
    "BigGanDeepGenerator": "biggan-deep-imagenet128",
    "PgganGenerator": "pggan-v2-1gpu",
    "StyleGan2Generator": "stylegan2-auto",
    "StyleGan3Generator": "stylegan3-t",
}
FITTED = {name: preset for name, preset in PRESETS.items() if isinstance(preset, Fitted)}


def get(name: str) -> "Callable[[], RunConfig]":
    """The function of a preset's name.

    Raises:
        ConfigError: there is no such preset; names the nearest.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset '{name}'{nearest(name, PRESETS)}")
    preset = PRESETS[name]
    if isinstance(preset, Variant):
        return _changed(name, preset)
    return _found(preset.function if isinstance(preset, Fitted) else preset)


def _found(name: str) -> Callable[..., Any]:
    """What "module:function" names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def fit(
    name: str, pictures: Pictures, machine: Machine, assignments: Sequence[str] = ()
) -> "tuple[RunConfig, list[Choice]]":
    """One of FITTED for pictures and machine, with settings changed, and what was picked.

    Args:
        assignments: "dotted.key=value"; what depends on data.resolution follows it.

    Raises:
        ConfigError: an unknown key, or a value of the wrong type.
    """
    preset = FITTED[name]
    config = _found(preset.function)(pictures, machine)
    side = min(override(config, assignments).data.size)
    if side != config.data.resolution:
        pictures = replace(pictures, side=side, is_final=True)
        config = _found(preset.function)(pictures, machine)
    config = override(config, assignments)
    return config, _found(preset.choices)(config, pictures, machine)


def _changed(name: str, variant: Variant) -> "Callable[[], RunConfig]":
    def preset() -> "RunConfig":
        return override(get(variant.base)(), [f"name={name}", *variant.changes])

    preset.__doc__ = variant.summary
    return preset


def summary(name: str) -> str:
    """One line about a preset; of a function the first of its docstring, without importing it."""
    preset = PRESETS[name]
    if isinstance(preset, Variant):
        return preset.summary
    target = preset.function if isinstance(preset, Fitted) else preset
    module, _, function = target.partition(":")
    spec = importlib.util.find_spec(module)
    assert spec is not None, preset
    assert spec.origin is not None, preset
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    raise AssertionError(f"{module} has no function {function}")


def __dir__() -> list[str]:
    return sorted([*globals(), *(name.replace("-", "_") for name in PRESETS)])


def __getattr__(name: str) -> "Callable[[], RunConfig]":
    """limner.presets.pggan_celeba is the function of the preset pggan-celeba."""
    if (preset := name.replace("_", "-")) in PRESETS:
        return get(preset)
    raise AttributeError(f"limner.presets has no preset function '{name}'")
