"""How every command reads its options: a frozen dataclass, whose fields are what may be typed and
whose texts are the help, as an argparse parser. Nothing here is imported that a quick answer need
not wait for."""

import argparse
import ast
import dataclasses
import difflib
import functools
import inspect
import re
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
    parser = _parser(kind, fields, command, example, whole="--help-all" in argv)
    if {"-h", "--help", "--help-all"}.intersection(argv):
        print(parser.format_help().strip())
        raise SystemExit(0)
    try:
        return _options(kind, parser, fields, argv, hint)
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


# --- what argparse makes of them -----------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if match := re.fullmatch(r"argument (\S+): expected one argument", message):
            message = f"{match[1]} needs a value"
        if match := re.fullmatch(r"argument (\S+): ignored explicit argument .*", message):
            message = f"{match[1]} takes no value"
        if match := re.fullmatch(r"the following arguments are required: (.*)", message):
            message = f"{match[1]} is missing"
        raise _WrongUsageError(message)


def _parser(kind: type, fields: list[Field], command: str, example: str, whole: bool) -> _Parser:
    docs = _docs(kind)
    hidden = [field.option for field in fields if field.arg.rare and not whole]
    parser = _Parser(
        usage=f"limner {command} {' '.join(_usage(fields))} [OPTIONS]",
        description=f"{_wrapped(inspect.cleandoc(kind.__doc__ or ''))}\n\nexample: {example}",
        epilog=_wrapped(f"with --help-all also: {', '.join(hidden)}") if hidden else None,
        formatter_class=functools.partial(_Formatter, max_help_position=24, width=_width()),
        add_help=False,
        allow_abbrev=False,
    )
    groups = {title: parser.add_argument_group(title) for title in ("arguments", "options")}
    for field in fields:
        text = argparse.SUPPRESS if field.option in hidden else _text(field, docs)
        _add(groups["arguments" if field.arg.positional else "options"], field, text)
    return parser


def _add(group: "argparse._ArgumentGroup", field: Field, text: str) -> None:
    needed = field.default is dataclasses.MISSING
    if field.is_flag:
        group.add_argument(
            field.option, dest=field.name, action="store_const", const=not field.default, help=text
        )
        return
    options: dict[str, Any] = {"type": functools.partial(_value, field), "help": text}
    options["metavar"] = field.metavar
    if field.arg.positional:
        several = "+" if field.repeats else None
        group.add_argument(field.name, nargs=several if needed else "?", **options)
    else:
        action = "append" if field.repeats else "store"
        options |= {"dest": field.name, "required": needed, "action": action}
        group.add_argument(field.option, **options)


def _options(
    kind: type[Options],
    parser: _Parser,
    fields: list[Field],
    argv: Sequence[str],
    hint: Callable[[str], str],
) -> Options:
    known = {field.option: field for field in fields}
    found, unknown = parser.parse_known_args([_with_hyphens(word) for word in argv])
    for word in unknown:
        if word.startswith("--"):
            raise _WrongUsageError(_unknown(word.partition("=")[0], known, hint))
        raise _WrongUsageError(f"'{word}' is one word too many")
    typed = {name: value for name, value in vars(found).items() if value is not None}
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in typed.items()})


def _with_hyphens(word: str) -> str:
    """--batch_size=3 as --batch-size=3."""
    option, equals, text = word.partition("=")
    return f"{option.replace('_', '-')}{equals}{text}" if word.startswith("--") else word


def _unknown(option: str, known: Mapping[str, Field], hint: Callable[[str], str]) -> str:
    told = "" if difflib.get_close_matches(option, known, cutoff=SURE) else hint(option)
    return told or f"no option {option}{nearest(option, known)}"


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


def _usage(fields: list[Field]) -> Iterator[str]:
    for field in fields:
        needed = field.default is dataclasses.MISSING
        if field.arg.positional:
            more = " ..." if field.repeats else ""
            yield f"{field.option}{more}" if needed else f"[{field.option}]"
        elif needed:
            yield f"{field.option} {field.metavar}"


def _text(field: Field, docs: Mapping[str, str]) -> str:
    text = " ".join((field.arg.help or docs.get(field.name, "")).split())
    if field.default not in (dataclasses.MISSING, None, False, True, ()):
        shown = f"{field.default:g}" if field.kind is float else field.default
        text += f" Default: {shown}."
    return text.replace("%", "%%")


def _width() -> int:
    return min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)


def _wrapped(text: str) -> str:
    fill = functools.partial(textwrap.fill, width=_width(), break_on_hyphens=False)
    parts = map(fill, text.split("\n\n"))
    return "\n\n".join(parts).replace("%", "%%")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def _split_lines(self, text: str, width: int) -> list[str]:
        """Whole names of metrics and options: lines do not end at a hyphen."""
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


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
