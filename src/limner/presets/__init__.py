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
    from limner.engine.config import RunConfig

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
    "pggan-v2-1gpu": "limner.presets.progressive:pggan_v2_1gpu",
    "pggan-v2-2gpus": "limner.presets.progressive:pggan_v2_2gpus",
    "pggan-v2-4gpus": "limner.presets.progressive:pggan_v2_4gpus",
    "pggan-v2-8gpus": "limner.presets.progressive:pggan_v2_8gpus",
    "pggan-v1-1gpu": "limner.presets.progressive:pggan_v1_1gpu",
    "pggan-celeba": "limner.presets.progressive:pggan_celeba",
    "pggan-lsun": "limner.presets.progressive:pggan_lsun",
    "pggan-cifar10": "limner.presets.progressive:pggan_cifar10",
    "pggan-cifar100": "limner.presets.progressive:pggan_cifar100",
    "pggan-svhn": "limner.presets.progressive:pggan_svhn",
    "pggan-mnist": "limner.presets.progressive:pggan_mnist",
    "pggan-mnistrgb": "limner.presets.progressive:pggan_mnistrgb",
    "pggan-syn1024rgb": "limner.presets.progressive:pggan_syn1024rgb",
    "pggan-cond": "limner.presets.progressive:pggan_cond",
    "pggan-cond1": "limner.presets.progressive:pggan_cond1",
    "pggan-cifar10-cond": "limner.presets.progressive:pggan_cifar10_cond",
    "pggan-cifar100-cond": "limner.presets.progressive:pggan_cifar100_cond",
    "pggan-svhn-cond": "limner.presets.progressive:pggan_svhn_cond",
    "pggan-mnist-cond": "limner.presets.progressive:pggan_mnist_cond",
    "pggan-nogrowing": "limner.presets.progressive:pggan_nogrowing",
    "pggan-nopixelnorm": "limner.presets.progressive:pggan_nopixelnorm",
    "pggan-nowscale": "limner.presets.progressive:pggan_nowscale",
    "pggan-noleakyrelu": "limner.presets.progressive:pggan_noleakyrelu",
    "pggan-nosmoothing": "limner.presets.progressive:pggan_nosmoothing",
    "pggan-norepeat": "limner.presets.progressive:pggan_norepeat",
    "pggan-noreset": "limner.presets.progressive:pggan_noreset",
    "pggan-bfloat16": "limner.presets.progressive:pggan_bfloat16",
    "pggan-benchmark": "limner.presets.progressive:pggan_benchmark",
    "pggan-benchmark0": "limner.presets.progressive:pggan_benchmark0",
    "pggan-cifar10-theano": "limner.presets.progressive:pggan_cifar10_theano",
    "pggan-digits": "limner.presets.progressive:pggan_digits",
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
