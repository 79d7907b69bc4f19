"""How every command reads its options: a frozen dataclass, whose fields are what may be typed and
whose texts are the help. Nothing here is imported that a quick answer need not wait for."""

import ast
import dataclasses
import difflib
import inspect
import shutil
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from limner.core.errors import nearest

Options = TypeVar("Options")

SURE = 0.8  # so near to an unknown option, no other meaning is looked for
WIDEST = 100  # columns of a help text
METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
NEEDED = {int: "a whole number", float: "a number"}


@dataclasses.dataclass(frozen=True)
class Arg:
    """How a field is typed, in its annotation: `Annotated[str, Arg("MODEL", positional=True)]`.

    Attributes:
        metavar: what stands for the value in the help; by default that of the type.
        name: after --; by default the field's.
        help: by default the text under the field.
        positional: typed without a name, in the order of the fields.
        rare: in the help only with --help-all, which keeps --help to 15 options.
    """

    metavar: str = ""
    name: str = ""
    help: str = ""
    positional: bool = False
    rare: bool = False


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of an options class, taken apart."""

    name: str
    option: str  # as it is typed: --truncation-mode, MODEL
    kind: type
    choices: tuple[str, ...]
    repeats: bool
    default: Any  # dataclasses.MISSING: it has to be given
    arg: Arg

    @property
    def is_flag(self) -> bool:
        return self.kind is bool

    @property
    def metavar(self) -> str:
        return self.arg.metavar or "|".join(self.choices) or METAVARS.get(self.kind, "TEXT")


def parse(
    kind: type[Options],
    argv: Sequence[str],
    command: str,
    example: str,
    hint: Callable[[str], str] = lambda word: "",
) -> Options:
    """Options of a command. Help leaves through SystemExit 0, and wrong usage, told in one line on
    stderr, through SystemExit 2.

    Args:
        hint: a better answer to an unknown option than the nearest known one, or "".
    """
    fields = list(_fields(kind))
    if asked := {"-h", "--help", "--help-all"}.intersection(argv):
        print(_help(kind, fields, command, example, whole="--help-all" in asked))
        raise SystemExit(0)
    try:
        return kind(**_values(fields, argv, hint))
    except _WrongUsageError as error:
        _refuse(command, str(error), example)


class _WrongUsageError(Exception):
    pass


def _refuse(command: str, message: str, example: str) -> NoReturn:
    print(f"limner {command}: {message} (as in: {example})", file=sys.stderr)
    raise SystemExit(2)


def _fields(kind: type) -> Iterator[Field]:
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):  # pyright: ignore[reportArgumentType]
        annotation, arg = hints[field.name], Arg()
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, *notes = typing.get_args(annotation)
            arg = next((note for note in notes if isinstance(note, Arg)), arg)
        inner, choices, repeats = _taken_apart(annotation)
        word = (arg.name or field.name).replace("_", "-")
        if arg.positional:
            word = arg.metavar or word.upper()
        elif inner is bool and field.default is True:
            word = f"--no-{word}"
        else:
            word = f"--{word}"
        yield Field(field.name, word, inner, choices, repeats, field.default, arg)


def _taken_apart(annotation: Any) -> tuple[type, tuple[str, ...], bool]:
    """Type of one value, the values of a Literal, and whether the option may be repeated."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _taken_apart(next(part for part in arguments if part is not type(None)))
    if origin is tuple:
        return arguments[0], (), True
    if origin is typing.Literal:
        return str, arguments, False
    return annotation, (), False


# --- words -> values -----------------------------------------------------------------------------


def _values(fields: list[Field], argv: Sequence[str], hint: Callable[[str], str]) -> dict[str, Any]:
    options = {field.option: field for field in fields if not field.arg.positional}
    places = [field for field in fields if field.arg.positional]
    values: dict[str, Any] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if not _is_option(word):
            if not places:
                raise _WrongUsageError(f"'{word}' is one word too many")
            field = places.pop(0)
            values[field.name] = _value(field, word)
            continue
        option, equals, text = word.partition("=")
        field = options.get(option.replace("_", "-"))
        if field is None:
            raise _WrongUsageError(_unknown(option, options, hint))
        if field.is_flag:
            if equals:
                raise _WrongUsageError(f"{field.option} takes no value")
            values[field.name] = not field.default
            continue
        if not equals:
            if not words or _is_option(words[0]):
                raise _WrongUsageError(f"{field.option} needs a value: {field.metavar}")
            text = words.pop(0)
        value = _value(field, text)
        values[field.name] = (*values.get(field.name, ()), value) if field.repeats else value
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in values:
            raise _WrongUsageError(f"{field.option} is missing")
    return values


def _is_option(word: str) -> bool:
    return word.startswith("--") and word != "--"


def _unknown(option: str, known: Mapping[str, Field], hint: Callable[[str], str]) -> str:
    word = option.replace("_", "-")
    told = "" if difflib.get_close_matches(word, known, cutoff=SURE) else hint(option)
    return told or f"no option {option}{nearest(word, known)}"


def _value(field: Field, text: str) -> Any:
    if field.choices:
        if text not in field.choices:
            raise _WrongUsageError(f"{field.option} {text}: give {' or '.join(field.choices)}")
        return text
    try:
        return field.kind(text)
    except ValueError:
        raise _WrongUsageError(f"{field.option} {text}: give {NEEDED[field.kind]}") from None


# --- help ----------------------------------------------------------------------------------------


def _help(kind: type, fields: list[Field], command: str, example: str, whole: bool) -> str:
    docs = _docs(kind)
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    positional = [field for field in fields if field.arg.positional]
    words = [f.option if f.default is dataclasses.MISSING else f"[{f.option}]" for f in positional]
    shown = [f for f in fields if not f.arg.positional and (whole or not f.arg.rare)]
    required = [f"{f.option} {f.metavar}" for f in shown if f.default is dataclasses.MISSING]
    lines = [f"usage: limner {command} {' '.join([*words, *required, '[OPTIONS]'])}", ""]
    for paragraph in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        lines += [*textwrap.wrap(paragraph, width), ""]
    lines.append(f"example: {example}")
    for title, group in (("arguments", positional), ("options", shown)):
        if group:
            lines += ["", f"{title}:", *(_entry(field, docs, width) for field in group)]
    hidden = [field.option for field in fields if field.arg.rare]
    if hidden and not whole:
        text = f"with --help-all also: {', '.join(hidden)}"
        lines += ["", *textwrap.wrap(text, width)]
    return "\n".join(lines)


def _entry(field: Field, docs: Mapping[str, str], width: int) -> str:
    names = (
        field.option
        if field.arg.positional or field.is_flag
        else (f"{field.option} {field.metavar}")
    )
    text = " ".join((field.arg.help or docs.get(field.name, "")).split())
    if field.default not in (dataclasses.MISSING, None, False, True, ()):
        shown = f"{field.default:g}" if field.kind is float else field.default
        text += f" Default: {shown}."
    indent = " " * 24
    begin = f"  {names}".ljust(24)
    if len(f"  {names}") > 22:
        begin += "\n" + indent
    body = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent)
    return begin + "\n".join(body)[24:]


def _docs(kind: type) -> dict[str, str]:
    """The text under each field of a class and of those that it extends."""
    found: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        try:
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        except (OSError, TypeError):  # made while running, or not in Python
            continue
        assert isinstance(node, ast.ClassDef)
        for item, after in zip(node.body, node.body[1:], strict=False):
            if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[item.target.id] = str(after.value.value)
    return found
