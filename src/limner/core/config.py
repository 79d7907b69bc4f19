"""Frozen, typed configuration trees that become JSON and come back exactly.

A node is a `Config`: a msgspec Struct, frozen, keyword-only unless it says otherwise. A node that
can be replaced by another class (a term, a controller, a schedule, a network, an image source) also
derives from that package's marker, a subclass of `Part`; in JSON it carries its class in "type":
the bare class name for limner's own, found in the package's table, or "module:Class" for a user's.
"""

import contextlib
import dataclasses
import functools
import importlib
import json
import math
import re
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from limner.core.errors import ConfigError, nearest, shown
from limner.core.parts import Part, names_of, resolve_part, tag_of
from limner.core.ranges import UNIONS, Settle, bare, settler

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
def fields_of(cls: type) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of a class by name, their annotations resolved."""
    return {field.name: field for field in msgspec.structs.fields(cls)}


@functools.cache
def settlers(cls: type[Config]) -> dict[str, Settle]:
    """What settles the fields of a class, by name; fields of any value are absent."""
    found = {name: settler(field.type) for name, field in fields_of(cls).items()}
    return {name: settle for name, settle in found.items() if settle is not None}


# --- encoding --------------------------------------------------------------


def encode(value: Any, path: str = "") -> Plain:
    """Turn a config tree into plain JSON values. Raises ConfigError for a number that is not
    finite, a value that JSON cannot hold, or a class that cannot be named (see `tag_of`)."""
    if isinstance(value, msgspec.Struct):
        plain: dict[str, Plain] = {}
        if isinstance(value, Part):
            plain["type"] = _tag_at(path, value)
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


def _tag_at(path: str, part: Part) -> str:
    try:
        return tag_of(type(part))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}" if path else str(error)) from None


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
    """Build a config from plain JSON values, as `encode` returns them, checking every key and type.

    Args:
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
    if isinstance(plain, Typed):
        return _build_typed(annotation, plain, path, import_modules)
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


def _build_typed(annotation: Any, typed: "Typed", path: str, import_modules: bool) -> Any:
    try:
        return _build(annotation, typed.value, path, import_modules)
    except ConfigError:
        with contextlib.suppress(ConfigError):  # a string field may be given what looks like one
            return _build(annotation, typed.text, path, import_modules)
        raise


def _build_leaf(annotation: Any, plain: Plain, path: str) -> Any:
    encode(plain, path)  # refuses what could not be written again
    try:
        return msgspec.convert(plain, annotation)
    except (msgspec.ValidationError, OverflowError) as error:
        choices = _choices(annotation)
        if choices and isinstance(plain, str):
            known = ", ".join(map(str, choices))
            raise ConfigError(f"{path}: {shown(plain)} is none of {known}") from None
        raise ConfigError(f"{path}: {_in_words(str(error), plain)}") from None


WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}


def _in_words(message: str, plain: Plain) -> str:
    """What msgspec says of a value, without the names of Python's types."""
    match = re.match(r"Expected `([a-z |]+)`, got `[a-z]+`", message)
    kinds = match[1].split(" | ") if match is not None else []
    if not kinds or not all(kind in WORDS for kind in kinds) or " - at " in message:
        return f"{message} (value {shown(plain)})"
    return f"give {' or '.join(WORDS[kind] for kind in kinds)}, not {shown(plain)}"


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
            f'{where}: give an object with a "type", such as {", ".join(names_of(marker)[:3])}, '
            f"not {shown(plain)}"
        )
    fields = {key: value for key, value in plain.items() if key != "type"}
    cls = resolve_part(marker, plain["type"], path, import_modules)
    return _build_struct(cls, fields, path, import_modules)


def _build_struct(cls: type, plain: Plain, path: str, import_modules: bool) -> Any:
    if not isinstance(plain, dict):
        raise ConfigError(f"{path or cls.__name__}: expected an object, got {shown(plain)}")
    fields = fields_of(cls)
    for key in plain:
        if key not in fields:
            known = [*fields, "type"] if issubclass(cls, Part) else fields
            raise ConfigError(f"{_join(path, str(key))}: unknown key{nearest(str(key), known)}")
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


# --- overrides -------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Typed:
    """The value of an assignment that may have been meant as a word: 5, true, null, 1e3."""

    value: Plain
    text: str

    def __repr__(self) -> str:
        return self.text


def override(config: ConfigType, assignments: Iterable[str]) -> ConfigType:
    """Apply "dotted.key=value" strings, all of them to the plain tree, and then decode it once.

    So keys that belong together may change in any order. A value is JSON, or else taken as a
    string; where a string stands, what looks like a number is one too. "list.+=value", or the next
    number of a list, appends.

    Raises:
        ConfigError: an unknown key (with the nearest name), or a value of the wrong type.
    """
    assignments = list(assignments)
    if not assignments:
        return config
    tree = encode(config)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {assignment}: write KEY=VALUE, for example optim.g.lr=2e-4")
        _assign(tree, key.strip().split("."), _value_of(text.strip()))
    return decode(type(config), tree, import_modules=True)


def _value_of(text: str) -> Plain:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (dict, list, str)) else Typed(value, text)


def _assign(tree: Plain, names: list[str], value: Plain) -> None:
    """Sets the value in a plain tree. Any last key of an object is taken: decoding refuses it."""
    node, walked = tree, ""
    for i, name in enumerate(names):
        is_last = i + 1 == len(names)
        place: Any = name
        if isinstance(node, list):
            place = _place_in(node, name, _join(walked, name), is_last)
        elif not isinstance(node, dict) or (name not in node and not is_last):
            known = node if isinstance(node, dict) else []
            raise ConfigError(f"{_join(walked, name)}: unknown key{nearest(name, known)}")
        if not is_last:
            node, walked = node[place], _join(walked, name)
        elif place == len(node) and isinstance(node, list):
            node.append(value)
        else:
            node[place] = value


def _place_in(node: list, name: str, key: str, may_append: bool) -> int:
    if may_append and name in ("+", str(len(node))):
        return len(node)
    known = [str(place) for place in range(len(node))]
    if name not in known:
        places = f"0 to {len(node) - 1}" if node else "none"
        raise ConfigError(
            f"{key}: unknown key; the list's places are {places}; "
            f"{key.removesuffix(name)}+=VALUE appends to it"
        )
    return int(name)


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
