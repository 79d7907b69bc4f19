"""Reads the pickles of CIFAR (and SVHN) without letting them run anything.

A pickle is a program. This reader accepts only the instructions that build plain values, and of the
things a pickle may name only the few that numpy arrays of bytes need; each of these names is bound
to an inert stand-in of our own, so that no function of numpy or any other library is ever called.
"""

import io
import pickle
import pickletools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from limner.core.errors import DataError, RefusedFile
from limner.data.sources.base import printable

Result = TypeVar("Result")
MAX_BYTES = 2**28  # the largest published file has 155 MB
MAX_OPCODES = 5_000_000
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


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _ArrayType,
    ("numpy", "dtype"): _Dtype,
}


# The pure Python unpickler, because of what the other cannot be kept from: hashing a key of nested
# tuples, each of which holds the one before twice, takes 2^n steps; BUILD sets attributes on
# whatever lies below it, our stand-ins' classes included.
class _Unpickler(pickle._Unpickler):
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, content: bytes, what: str):
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.what = what
        self.num_encoded, self.num_bytes = 0, len(content)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return self._encoded
        found = _ALLOWED.get((module, name))
        if found is None:
            raise RefusedFile(f"names {module}.{name}, which {self.what}'s files do not")
        return found

    def _encoded(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1"):
            raise ValueError("a text in an unexpected encoding")
        self.num_encoded += len(text)
        if self.num_encoded > self.num_bytes:  # one text encoded over and over fills the memory
            raise ValueError("more encoded texts than it holds")
        return text.encode("latin-1")

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedFile("refers to something outside the file")

    def _set_items(self, target: Any, items: list[Any]) -> None:
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError("keys and values that belong to no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, (bytes, str)):
                raise ValueError("a dictionary key that is no text")
            target[key] = value

    def load_dict(self) -> None:
        target: dict[Any, Any] = {}
        self._set_items(target, self.pop_mark())
        self.append(target)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._set_items(self.stack[-1], items)

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, (_Array, _Dtype)):
            raise ValueError("a state for something that has none")
        target.__setstate__(state)

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._list().extend(items)

    def load_append(self) -> None:
        value = self.stack.pop()
        self._list().append(value)

    def _list(self) -> list[Any]:
        if not isinstance(self.stack[-1], list):
            raise ValueError("items that belong to no list")
        return self.stack[-1]

    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.APPEND[0]] = load_append
    dispatch[pickle.APPENDS[0]] = load_appends


def read_batch(path: Path) -> dict[str, Any]:
    """The dictionary of a CIFAR file: keys as text, arrays as uint8, lists as they are.

    Raises:
        RefusedFile: it holds an instruction or a name that CIFAR's files do not need.
        DataError: it is damaged or no dictionary.
    """
    return read_arrays(path, "CIFAR", _batch_of)


def _batch_of(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise ValueError("no dictionary")
    return {
        key.decode() if isinstance(key, bytes) else key: built(value) for key, value in tree.items()
    }


def built(value: Any) -> Any:
    """What stands for an array as the array, anything else as it is.

    Raises:
        ValueError: it is no plain array of bytes.
    """
    return value.build() if isinstance(value, _Array) else value


def read_arrays(path: Path, what: str, shaped: Callable[[Any], Result]) -> Result:
    """What `shaped` makes of the tree of a pickle: dictionaries, lists, tuples, texts, numbers, and
    what `built` turns into arrays of uint8.

    Args:
        path: the file.
        what: the data set whose file it should be, for messages.
        shaped: raises ValueError where the tree has another form.

    Raises:
        RefusedFile: it holds an instruction or a name that such files do not need.
        DataError: it is damaged, or `shaped` refuses it.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RefusedFile(f"{path}: larger than {MAX_BYTES >> 20} MB")
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes in texts that the pickle's author spelt oddly
            _check_opcodes(content)
            return shaped(_Unpickler(content, what).load())
    except RefusedFile as error:
        raise RefusedFile(f"{path}: {printable(str(error)[:200])}; not read") from None
    except (
        ValueError, TypeError, KeyError, IndexError, EOFError, AttributeError, MemoryError,
        OverflowError, RecursionError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        reason = printable(str(error)[:200]) or type(error).__name__
        raise DataError(f"{path}: not a {what} file ({reason}); unpack the archive again") from None


def _check_opcodes(content: bytes) -> None:
    # A memo index far beyond the instructions read would make the unpickler reserve gigabytes.
    end = 0
    for number, (opcode, argument, position) in enumerate(pickletools.genops(content)):
        if number >= MAX_OPCODES:
            raise RefusedFile(f"more than {MAX_OPCODES} instructions")
        if opcode.name not in OPCODES:
            raise RefusedFile(f"holds the instruction {opcode.name} at byte {position}")
        if opcode.name.endswith("PUT") and int(argument or 0) > number + 1:
            raise RefusedFile(f"memo index {argument} at byte {position} is out of proportion")
        end = (position or 0) + 1
    if end != len(content):
        raise RefusedFile("holds more after its end")
