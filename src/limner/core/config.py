"""Frozen, typed configuration trees that become JSON and come back exactly.

A node is a `Config`: a msgspec Struct, frozen, keyword-only unless it says otherwise. A node that
can be replaced by another class (a term, a controller, a schedule, a network, an image source) also
derives from that package's marker, a subclass of `Part`; in JSON it carries its class in "type":
the bare class name for limner's own, found in the package's table, or "module:Class" for a user's.
"""

import difflib
import functools
import importlib
import json
import math
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from limner.core.errors import ConfigError
from limner.core.ranges import UNIONS, Settle, bare, settler, shown

Plain = Any  # what JSON holds: None, bool, int, float, str, list, dict
ConfigType = TypeVar("ConfigType", bound="Config")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every node. Subclasses write `frozen=True` (and `kw_only=True` as they like).

    Ranges of single fields stand in annotations (limner.core.ranges) and are checked first; a
    subclass's `__post_init__` checks what concerns several fields, and need not call this one.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = cls.__dict__.get("__post_init__")
        if own is None:
            return

        def settle_and_check(self: "Config") -> None:
            Config.__post_init__(self)
            own(self)

        cls.__post_init__ = settle_and_check

    def __post_init__(self) -> None:
        for name, settle in settlers(type(self)).items():
            value = getattr(self, name)
            settled = settle(value, name)
            if settled is not value:
                msgspec.structs.force_setattr(self, name, settled)

    def replace(self: ConfigType, **changes: Any) -> ConfigType:
        """A copy with some fields changed; field names are those of the class."""
        return msgspec.structs.replace(self, **changes)


@functools.cache
def settlers(cls: type[Config]) -> dict[str, Settle]:
    """What settles the fields of a class, by name; fields of any value are absent."""
    found = {field.name: settler(field.type) for field in msgspec.structs.fields(cls)}
    return {name: settle for name, settle in found.items() if settle is not None}


class Part:
    """Base of the markers of replaceable nodes; `table` is "module:DICT" of limner's classes."""

    table: ClassVar[str] = ""


def tag_of(cls: type) -> str:
    """The name by which JSON calls a part's class: "HingeD", or "module:Class" outside limner."""
    if cls.__module__.partition(".")[0] == "limner":
        return cls.__name__
    return f"{cls.__module__}:{cls.__qualname__}"


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: "; nearest is 'x'" or the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; nearest is '{close[0]}'"
    return "; known are " + ", ".join(known) if known else ""


# --- encoding --------------------------------------------------------------


def encode(value: Any, path: str = "") -> Plain:
    """Turn a config tree into plain JSON values.

    Raises:
        ConfigError: a number that is not finite, or a value that JSON cannot hold.
    """
    if isinstance(value, msgspec.Struct):
        plain: dict[str, Plain] = {}
        if isinstance(value, Part):
            plain["type"] = tag_of(type(value))
        for name in value.__struct_fields__:
            plain[name] = encode(getattr(value, name), _join(path, name))
        return plain
    if isinstance(value, Mapping):
        for key in value:
            _require_text(str(key), path)
        return {str(key): encode(item, _join(path, str(key))) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item, _join(path, str(i))) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}: {value} is not a finite number; give one")
    if isinstance(value, str):
        _require_text(value, path)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(
        f"{path}: {value!r} cannot be written to JSON; use a Config, number, string, list or dict"
    )


def _require_text(value: str, path: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{path}: {value!a} holds bytes that are no UTF-8; write it anew"
        ) from None


def to_json(config: Config) -> str:
    """The config as indented JSON text with a final newline."""
    return json.dumps(encode(config), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


# --- decoding --------------------------------------------------------------


def decode(cls: type[ConfigType], plain: Plain, import_modules: bool = False) -> ConfigType:
    """Build a config from plain JSON values, checking every key and type.

    Args:
        cls: the class of the root node.
        plain: what `encode` returned, or the like of it.
        import_modules: import the module that a "module:Class" type names. Leave it off for files
            that the user did not write: then only modules already imported are used.

    Raises:
        ConfigError: names the dotted key, the value, and the nearest valid name.
    """
    try:
        return _build(cls, plain, "", import_modules)
    except RecursionError:
        raise ConfigError("nested too deeply to be a config; write or restore it") from None


def from_json(
    cls: type[ConfigType], text: str | bytes, where: str, import_modules: bool = False
) -> ConfigType:
    """`decode` for JSON text; `where` (a file name) begins every message."""
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number of 5000 digits
        raise ConfigError(f"{where}: not valid JSON ({error}); write or restore it") from None
    try:
        return decode(cls, plain, import_modules)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _build(annotation: Any, plain: Plain, path: str, import_modules: bool) -> Any:
    annotation = bare(annotation)  # ranges are checked with their field, by its settler
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in UNIONS:
        return _build_union(arguments, plain, path, import_modules)
    if origin in (tuple, list):
        return _build_sequence(origin, arguments, plain, path, import_modules)
    if origin is dict:
        if not isinstance(plain, dict):
            raise ConfigError(f"{path}: expected an object, got {shown(plain)}")
        return {
            key: _build(arguments[1], item, _join(path, key), import_modules)
            for key, item in plain.items()
        }
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return _build_part(annotation, plain, path, import_modules)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return _build_struct(annotation, plain, path, import_modules)
    return _build_leaf(annotation, plain, path)


def _build_leaf(annotation: Any, plain: Plain, path: str) -> Any:
    encode(plain, path)  # refuses what could not be written again
    try:
        return msgspec.convert(plain, annotation)
    except (msgspec.ValidationError, OverflowError) as error:
        choices = _choices(annotation)
        if choices and isinstance(plain, str):
            known = ", ".join(map(str, choices))
            raise ConfigError(f"{path}: {shown(plain)} is none of {known}") from None
        raise ConfigError(f"{path}: {error} (value {shown(plain)})") from None


def _choices(annotation: Any) -> tuple:
    """The values that a Literal, or a union of them, allows; empty for other types."""
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    if typing.get_origin(annotation) not in UNIONS:
        return ()
    parts = [_choices(member) for member in typing.get_args(annotation)]
    return tuple(choice for part in parts for choice in part) if all(parts) else ()


def _build_union(members: tuple, plain: Plain, path: str, import_modules: bool) -> Any:
    if plain is None and type(None) in members:
        return None
    parts = [m for m in members if isinstance(m, type) and issubclass(m, (Part, msgspec.Struct))]
    leaves = tuple(bare(m) for m in members if m not in parts and m is not type(None))
    if parts and (isinstance(plain, dict) or not leaves):
        return _build(parts[0], plain, path, import_modules)
    if len(leaves) == 1 and typing.get_origin(leaves[0]) is not None:
        return _build(leaves[0], plain, path, import_modules)
    return _build_leaf(typing.Union[leaves], plain, path)  # noqa: UP007 - built from a tuple


def _build_sequence(
    origin: type, arguments: tuple, plain: Plain, path: str, import_modules: bool
) -> Any:
    if not isinstance(plain, (list, tuple)):
        raise ConfigError(f"{path}: expected a list, got {shown(plain)}")
    if origin is tuple and arguments[-1] is not Ellipsis:
        if len(plain) != len(arguments):
            raise ConfigError(f"{path}: expected {len(arguments)} values, got {len(plain)}")
        kinds = arguments
    else:
        kinds = (arguments[0],) * len(plain)
    return origin(
        _build(kind, item, _join(path, str(i)), import_modules)
        for i, (kind, item) in enumerate(zip(kinds, plain, strict=True))
    )


def _build_part(marker: type[Part], plain: Plain, path: str, import_modules: bool) -> Any:
    if not isinstance(plain, dict) or not isinstance(plain.get("type"), str):
        where = _join(path, "type") if isinstance(plain, dict) else path
        raise ConfigError(
            f'{where}: expected an object with a "type" (one of {marker.__name__}), '
            f"got {shown(plain)}"
        )
    fields = {key: value for key, value in plain.items() if key != "type"}
    cls = resolve_part(marker, plain["type"], path, import_modules)
    return _build_struct(cls, fields, path, import_modules)


def _build_struct(cls: type, plain: Plain, path: str, import_modules: bool) -> Any:
    if not isinstance(plain, dict):
        raise ConfigError(f"{path or cls.__name__}: expected an object, got {shown(plain)}")
    fields = {field.name: field for field in msgspec.structs.fields(cls)}
    for key in plain:
        if key not in fields:
            raise ConfigError(f"{_join(path, str(key))}: unknown key{nearest(str(key), fields)}")
    for name, field in fields.items():
        if field.required and name not in plain:
            raise ConfigError(f"{_join(path, name)}: missing; {cls.__name__} needs it")
    values = {
        name: _build(fields[name].type, item, _join(path, name), import_modules)
        for name, item in plain.items()
    }
    for name, settle in settlers(cls).items():
        if name in values:
            values[name] = settle(values[name], _join(path, name))
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}" if path else str(error)) from None


def resolve_part(
    marker: type[Part], tag: str, path: str = "type", import_modules: bool = False
) -> type:
    """The class that a "type" names: from the marker's table, or "module:Class" of the user's."""
    module_name, _, class_name = tag.partition(":")
    if not class_name:
        table_module, _, table_name = marker.table.partition(":")
        table = getattr(importlib.import_module(table_module), table_name)
        known = {cls.__name__: cls for cls in table.values()}
        if tag not in known:
            raise ConfigError(f"{path}: unknown type '{tag}'{nearest(tag, known)}")
        return known[tag]
    if module_name not in sys.modules and not import_modules:
        raise ConfigError(
            f"{path}: type '{tag}' lives in the module '{module_name}', which is not imported; "
            f"name it with --module {module_name} (or import it first) if you trust it"
        )
    try:
        if not all(module_name.split(".")):
            raise ConfigError(f"{path}: type '{tag!a}' is no 'module:Class'")
        module = importlib.import_module(module_name)
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


# --- overrides -------------------------------------------------------------


def override(config: ConfigType, assignments: Iterable[str]) -> ConfigType:
    """Apply "dotted.key=value" strings; the value is JSON, or else taken as a string.

    Raises:
        ConfigError: an unknown key (with the nearest name), or a value of the wrong type.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment}: write KEY=VALUE, for example optim.g.lr=2e-4")
        config = _override_one(config, key.strip(), text.strip())
    return config


def _override_one(config: ConfigType, key: str, text: str) -> ConfigType:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return decode(type(config), _assigned(config, key, text), import_modules=True)
    try:
        return decode(type(config), _assigned(config, key, value), import_modules=True)
    except ConfigError:
        if isinstance(value, (dict, list)):
            raise
        try:  # a string field may be given something that looks like a number
            return decode(type(config), _assigned(config, key, text), import_modules=True)
        except ConfigError:
            pass
        raise


def _assigned(config: Config, key: str, value: Plain) -> Plain:
    tree = encode(config)
    node, walked = tree, ""
    names = key.split(".")
    for i, name in enumerate(names):
        known = [str(k) for k in range(len(node))] if isinstance(node, list) else node
        if not isinstance(node, (dict, list)) or name not in known:
            options = known if isinstance(node, (dict, list)) else []
            raise ConfigError(f"{_join(walked, name)}: unknown key{nearest(name, options)}")
        place: Any = int(name) if isinstance(node, list) else name
        if i + 1 == len(names):
            node[place] = value
        else:
            node, walked = node[place], _join(walked, name)
    return tree


def differences(old: Plain, new: Plain, path: str = "") -> list[str]:
    """Dotted keys at which two plain trees differ, in the order of the new one."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(new) + [key for key in old if key not in new]
        missing = object()
        return [
            found
            for key in keys
            for found in differences(old.get(key, missing), new.get(key, missing), _join(path, key))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            found
            for i, (left, right) in enumerate(zip(old, new, strict=True))
            for found in differences(left, right, _join(path, str(i)))
        ]
    return [] if old == new else [path]


def load_module(name: str) -> types.ModuleType:
    """Import a module that the user named: "package.module", or the path of a FILE.py.

    A file is imported under its stem with its folder on the import path, so that "stem:Class" in a
    saved config finds it again.
    """
    if not name.endswith(".py"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ConfigError(f"module '{name}' cannot be imported: {error}") from None
    path = Path(name).resolve()
    if not path.is_file():
        raise ConfigError(f"{name}: no such file")
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) not in (str(path), None):
        raise ConfigError(
            f"{name}: a module named '{path.stem}' is imported already; give the file another name"
        )
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return importlib.import_module(path.stem)
