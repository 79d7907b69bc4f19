"""Presets: functions that return a complete RunConfig and read like the paper's algorithm box.

The table names them as "module:function", so that listing them imports neither torch nor a family.
No module has the name of a preset's function: `limner.presets.NAME` would then be either of them.
"""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.config import nearest
from limner.core.errors import ConfigError

if TYPE_CHECKING:
    from limner.training.config import RunConfig

PRESETS: dict[str, str] = {
    "digits": "limner.presets.handwritten:digits",
    "digits-tiny": "limner.presets.handwritten:digits_tiny",
    "dcgan-celeba64": "limner.presets.dcgan:dcgan_celeba64",
    "dcgan-mnist": "limner.presets.dcgan:dcgan_mnist",
    "biggan-imagenet128-bs256x8": "limner.presets.biggan:biggan_imagenet128_bs256x8",
    "biggan-imagenet128-bs512x4": "limner.presets.biggan:biggan_imagenet128_bs512x4",
    "biggan-imagenet128-ch64": "limner.presets.biggan:biggan_imagenet128_ch64",
    "biggan-deep-imagenet128": "limner.presets.biggan_deep:biggan_deep_imagenet128",
    "sagan-imagenet128": "limner.presets.sagan:sagan_imagenet128",
    "sngan-imagenet128": "limner.presets.sngan:sngan_imagenet128",
    "biggan-cifar10": "limner.presets.biggan:biggan_cifar10",
    "biggan-paper-imagenet128": "limner.presets.biggan_paper:biggan_paper_imagenet128",
    "biggan-paper-imagenet256": "limner.presets.biggan_paper:biggan_paper_imagenet256",
    "biggan-paper-imagenet512": "limner.presets.biggan_paper:biggan_paper_imagenet512",
    "biggan-ladder-batch256": "limner.presets.biggan_paper:biggan_ladder_batch256",
    "biggan-ladder-batch512": "limner.presets.biggan_paper:biggan_ladder_batch512",
    "biggan-ladder-batch1024": "limner.presets.biggan_paper:biggan_ladder_batch1024",
    "biggan-ladder-batch2048": "limner.presets.biggan_paper:biggan_ladder_batch2048",
    "biggan-ladder-width96": "limner.presets.biggan_paper:biggan_ladder_width96",
    "biggan-ladder-shared": "limner.presets.biggan_paper:biggan_ladder_shared",
    "biggan-ladder-skip-z": "limner.presets.biggan_paper:biggan_ladder_skip_z",
    "biggan-ladder-ortho": "limner.presets.biggan_paper:biggan_ladder_ortho",
    "biggan-cifar10-mmgen": "limner.presets.biggan:biggan_cifar10_mmgen",
    "sagan-cifar10-mmgen": "limner.presets.sagan:sagan_cifar10_mmgen",
    "sagan-imagenet128-mmgen": "limner.presets.sagan:sagan_imagenet128_mmgen",
    "sngan-cifar10-mmgen": "limner.presets.sngan:sngan_cifar10_mmgen",
    "sngan-imagenet128-mmgen": "limner.presets.sngan:sngan_imagenet128_mmgen",
}


def get(name: str) -> "Callable[[], RunConfig]":
    """The function of a preset's name.

    Raises:
        ConfigError: there is no such preset; names the nearest.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset '{name}'{nearest(name, PRESETS)}")
    module, _, function = PRESETS[name].partition(":")
    return getattr(importlib.import_module(module), function)


def __getattr__(name: str) -> "Callable[[], RunConfig]":
    for target in PRESETS.values():
        if target.endswith(f":{name}"):
            return get(next(key for key, value in PRESETS.items() if value == target))
    raise AttributeError(f"limner.presets has no preset function '{name}'")
