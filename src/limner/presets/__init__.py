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
