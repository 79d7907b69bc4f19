"""Reads the pickles of CIFAR without letting them run anything.

A pickle is a program. This reader accepts only the instructions that build plain values, and of the
things a pickle may name only the few that numpy arrays of bytes need; each of these names is bound
to an inert stand-in of our own, so that no function of numpy or any other library is ever called.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from limner.core.errors import DataError, RefusedFile

MAX_BYTES = 2**30
OPCODES = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT",
    "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES",
    "SHORT_BINBYTES", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT",
    "SETITEM", "SETITEMS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "PUT",
    "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET", "GLOBAL",
    "STACK_GLOBAL", "REDUCE", "BUILD",
))  # fmt: skip


class _ArrayType:
    """Stands for numpy.ndarray where a pickle names it."""


class _Dtype:
    def __init__(self, name: Any = None, *_: Any):
        self.name = name.decode() if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like mean nothing for single bytes."""


class _Array:
    def __init__(self, *_: Any):
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def build(self) -> np.ndarray:
        """The array, if it is a plain one of bytes whose size is what it says.

        Raises:
            ValueError: it is anything else.
        """
        _, shape, dtype, fortran, content = self.state
        if isinstance(content, str):
            content = content.encode("latin-1")
        if not isinstance(dtype, _Dtype) or dtype.name not in ("u1", "|u1", "uint8"):
            raise ValueError("an array of other values than uint8")
        array = np.frombuffer(content, np.uint8)
        return array.reshape(shape, order="F" if fortran else "C")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1"):
        raise ValueError("a text in an unexpected encoding")
    return text.encode("latin-1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        found = _ALLOWED.get((module_name, global_name))
        if found is None:
            raise RefusedFile(f"names {module_name}.{global_name}, which CIFAR's files do not")
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedFile("refers to something outside the file")


def read_batch(path: Path) -> dict[str, Any]:
    """The dictionary of a CIFAR file: keys as text, arrays as uint8, lists as they are.

    Raises:
        RefusedFile: it holds an instruction or a name that CIFAR's files do not need.
        DataError: it is damaged or no dictionary.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RefusedFile(f"{path}: larger than {MAX_BYTES >> 20} MB")
    content = path.read_bytes()
    try:
        _check_opcodes(content)
        tree = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(tree, dict):
            raise ValueError("no dictionary")
        return {
            key.decode() if isinstance(key, bytes) else str(key): (
                value.build() if isinstance(value, _Array) else value
            )
            for key, value in tree.items()
        }
    except RefusedFile as error:
        raise RefusedFile(f"{path}: {error}; not read") from None
    except (
        ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError, MemoryError,
        OverflowError, RecursionError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise DataError(f"{path}: not a CIFAR file ({error}); unpack the archive again") from None


def _check_opcodes(content: bytes) -> None:
    # A memo index far beyond the instructions read would make the unpickler reserve gigabytes.
    end = 0
    for number, (opcode, argument, position) in enumerate(pickletools.genops(content)):
        if opcode.name not in OPCODES:
            raise RefusedFile(f"holds the instruction {opcode.name} at byte {position}")
        if opcode.name.endswith("PUT") and int(argument or 0) > number + 1:
            raise RefusedFile(f"memo index {argument} at byte {position} is out of proportion")
        end = (position or 0) + 1
    if end != len(content):
        raise RefusedFile("holds more after its end")
