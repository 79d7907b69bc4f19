"""Configs of runs by name: presets, files, and functions of the user's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from limner import presets
from limner.core.config import from_json, load_module, override
from limner.core.errors import ConfigError

if TYPE_CHECKING:
    from limner.engine import RunConfig


def list_presets() -> dict[str, str]:
    """The name of each preset -> what it is, in a line; no preset is built.

    Examples:
        >>> "photos" in limner.list_presets()
        True
    """
    return {name: presets.summary(name) for name in presets.PRESETS}


def preset_config(name: str) -> "RunConfig":
    """The config of a preset; without one a ConfigError that names the nearest."""
    return presets.get(name)()


def is_fitted(name: str) -> bool:
    """Whether it is a preset that fits itself to the pictures and to the machine."""
    return name in presets.FITTED


def named_data(preset: str, data: "str | Path | None") -> "str | Path":
    """The data that the user named; for the presets of the built-in digits they may be left out.

    Raises:
        ConfigError: none were named.
    """
    if data is not None:
        return data
    if preset not in presets.BUILT_IN_DATA:
        raise ConfigError(
            f"{preset}: on which pictures? give --data with a folder, a zip or any other source "
            "(`limner presets --for DATA` looks at them first); --data digits takes the built-in "
            "scans"
        )
    return presets.BUILT_IN_DATA[preset]


def check_config(name: str) -> None:
    """Refuse a preset or JSON file that is not there, before a run directory is made for it."""
    if name.endswith(".json"):
        if not Path(name).is_file():
            raise ConfigError(f"{name}: no such file")
    elif not name.rpartition(":")[0].endswith(".py") and name not in presets.PRESETS:
        presets.get(name)


def load_config(name: str, data: str | Path | None = None) -> "RunConfig":
    """A RunConfig from a preset's name, CONFIG.json, or FILE.py:FUNCTION, which is called.

    Args:
        data: the pictures, as for `train`, that a preset which fits itself is to follow.

    Raises:
        ConfigError: there is none, or it cannot be read; names the key or the function.

    Examples:
        >>> limner.load_config("digits").batch_size
        80
        >>> limner.load_config("runs/digits/config.json").data.resolution
        8
        >>> limner.load_config("photos", data="photos/").data.resolution
        32
    """
    if data is not None and is_fitted(name):
        from limner.api.fitting import fitted

        return fitted(name, data)[0]
    file, colon, function = name.rpartition(":")
    if colon and file.endswith(".py"):
        return _made_by(file, function)
    if name.endswith(".json"):
        from limner.engine import RunConfig

        check_config(name)
        return from_json(RunConfig, Path(name).read_bytes(), name, import_modules=True)
    return preset_config(name)


def _made_by(file: str, function: str) -> "RunConfig":
    from limner.engine import RunConfig

    maker = getattr(load_module(file), function, None)
    if not callable(maker):
        raise ConfigError(f"{file}: has no function '{function}'")
    config = maker()
    if not isinstance(config, RunConfig):
        raise ConfigError(
            f"{file}:{function}: returned {type(config).__name__}; it must return a limner "
            "RunConfig"
        )
    return config


def composed(
    name: str,
    assignments: Sequence[str] = (),
    steps: int | None = None,
    kimg: float | None = None,
    seed: int | None = None,
    base: "RunConfig | None" = None,
) -> "RunConfig":
    """A config with settings changed, as `limner train` takes them.

    Args:
        name: see `load_config`.
        assignments: "dotted.key=value", as for --set.
        steps, kimg: the length, in steps or thousands of real images; at most one of them.
        base: instead of that name's.

    Raises:
        ConfigError: an unknown key (names the nearest), a value out of range, two lengths.
    """
    config = override(base or load_config(name), assignments)
    if steps is not None and kimg is not None:
        raise ConfigError("give either --steps or --kimg, not both")
    if steps is not None:
        config = config.replace(steps=steps, kimg=None)
    if kimg is not None:
        config = config.replace(kimg=kimg, steps=None)
    return config if seed is None else config.replace(seed=seed)
