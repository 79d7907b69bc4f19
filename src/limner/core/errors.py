"""The errors that users see: one line that names what, where and what to do."""

import difflib
import json
from collections.abc import Iterable
from typing import Any


class LimnerError(ValueError):
    """Base of every error caused by input; the command line prints it without a traceback."""


class ConfigError(LimnerError):
    """A configuration that cannot be built: names the dotted key, the value and the remedy."""


class DataError(LimnerError):
    """A data source or prepared directory that cannot be used."""


class CheckpointError(LimnerError):
    """A run directory, checkpoint or model folder that cannot be read or written."""


class DiskError(CheckpointError):
    """The disk refused a write: names the path, and where it is full the bytes needed and free."""


class RefusedFile(CheckpointError):  # noqa: N818 - the name that the documentation uses
    """A foreign file that holds something the safe reader does not accept."""


class DivergenceError(LimnerError):
    """Training met a value that is not finite and stopped before the update."""


class MissingExtra(LimnerError):  # noqa: N818 - reads as a sentence in messages
    """An optional dependency is not installed; the message names the extra."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(f"{purpose} needs the package '{package}': pip install 'limner[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: "; nearest is 'x'" or the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; nearest is '{close[0]}'"
    return "; known are " + ", ".join(known) if known else ""


def shown(value: Any) -> str:
    """A value in a message: as JSON has it, of at most 60 characters."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def printable(name: str) -> str:
    """A name for lists and messages: control characters, and bytes that are no UTF-8, as escapes;
    it stays on one line and every file and terminal takes it."""
    return "".join(_escaped(character) for character in name)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    is_control = code < 32 or 127 <= code < 160 or code in (0x2028, 0x2029)
    if is_control or 0xD800 <= code <= 0xDFFF:
        return character.encode("unicode_escape").decode()
    return character
