"""Parts of a config that another class can replace: their markers, and their names in JSON."""

import importlib
import sys
from pathlib import Path
from typing import ClassVar, TypeVar

import msgspec

from limner.core.errors import ConfigError, nearest

PartType = TypeVar("PartType", bound="Part")


class Part:
    """Base of the markers of replaceable nodes; `table` is "module:DICT" of limner's classes."""

    table: ClassVar[str] = ""


def table(*classes: type[PartType]) -> dict[str, type[PartType]]:
    """limner's parts of one kind, by their names in JSON."""
    return {tag_of(cls): cls for cls in classes}


def tag_of(cls: type) -> str:
    """The name by which JSON calls a part's class: "HingeD", or "module:Class" outside limner.
    Raises ConfigError where nothing can find the class again by a name."""
    if cls.__module__.partition(".")[0] == "limner":
        return cls.__name__
    if cls.__qualname__ != cls.__name__:
        raise ConfigError(
            f"class {cls.__name__} stands inside {cls.__qualname__.rpartition('.')[0]}, where no "
            f"saved config finds it; move it to the top of {cls.__module__}"
        )
    if cls.__module__ != "__main__":
        return f"{cls.__module__}:{cls.__name__}"
    if (script := _name_of_main()) is None:
        raise ConfigError(
            f"class {cls.__name__} stands in a notebook or prompt, where no saved config finds it; "
            "put it into a FILE.py and import it"
        )
    return f"{script}:{cls.__name__}"


def _name_of_main() -> str | None:
    """The name by which another process imports the script that runs in this one; None: none."""
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), Path(getattr(main, "__file__", None) or "")
    if spec is not None:  # python -m NAME; a folder or zip that is run has no other name
        return spec.name if spec.name != "__main__" else None
    return file.stem if file.suffix == ".py" and file.stem.isidentifier() else None


def _known(marker: type[Part]) -> dict[str, type]:
    module, _, name = marker.table.partition(":")
    return getattr(importlib.import_module(module), name)


def names_of(marker: type[Part]) -> list[str]:
    """The names of limner's parts of a kind."""
    return list(_known(marker)) if marker.table else ["MODULE:CLASS"]


def resolve_part(
    marker: type[Part], tag: str, path: str = "type", import_modules: bool = False
) -> type:
    """The class that a "type" names: from the marker's table, or "module:Class" of the user's."""
    module_name, _, class_name = tag.partition(":")
    if not class_name:
        known = _known(marker)
        if tag not in known:
            raise ConfigError(f"{path}: unknown type '{tag}'{nearest(tag, known)}")
        return known[tag]
    is_main = module_name not in sys.modules and module_name == _name_of_main()
    if module_name not in sys.modules and not is_main and not import_modules:
        raise ConfigError(
            f"{path}: type '{tag}' lives in the module '{module_name}', which is not imported; "
            f"name it with --module {module_name} (or import it first) if you trust it"
        )
    try:
        if not all(module_name.split(".")):
            raise ConfigError(f"{path}: type '{tag!a}' is no 'module:Class'")
        module = importlib.import_module("__main__" if is_main else module_name)
    except (ModuleNotFoundError, ValueError, TypeError) as error:  # the last two: no module's name
        missing = error.name if isinstance(error, ModuleNotFoundError) else module_name
        raise ConfigError(
            f"{path}: type '{tag}' needs the module '{missing}', which is not importable; "
            "put its folder on PYTHONPATH or name its file with --module FILE.py"
        ) from None
    # Not getattr: a module may import others to answer it, on behalf of a file of somebody else.
    cls = vars(module).get(class_name)
    if cls is None:
        raise ConfigError(f"{path}: module '{module_name}' has no class '{class_name}'")
    if not (isinstance(cls, type) and issubclass(cls, marker) and issubclass(cls, msgspec.Struct)):
        raise ConfigError(
            f"{path}: '{tag}' is no {marker.__name__}; derive it from limner's Config and "
            f"{marker.__name__}"
        )
    return cls
