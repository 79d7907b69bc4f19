"""Reads pickles of others as data: nothing that a file names is imported, called or changed.

A pickle is a program for a small machine with a stack. Python's own machine imports and calls what
the program names; this one has the same instructions, but a name stays a `Name`, and calling one
makes a `Record` of the name and its arguments. Only numpy's arrays and scalars, and the containers
and strings that pickles spell as calls, become what they stand for (`BUILDERS`); a caller may add
builders of its own, as torch_files.py does for tensors.

What weights never need is refused: names of Python's standard library (there lies everything that
can do harm), references out of the file, registered extensions, programs out of proportion. The
tree that comes back is finite and at most MAX_DEPTH deep, so that whoever reads it may recurse.
"""

import contextlib
import mmap
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limner.checkpoints.pickle_machine import (
    Buildable,
    Builder,
    Builders,
    Machine,
    Name,
    Record,
    checked_key,
    shown,
)
from limner.core.errors import CheckpointError, RefusedFile

__all__ = ["BUILDERS", "Machine", "Name", "Record", "mapped", "read_pickle", "reading", "shown"]


def read_pickle(path: str | Path, builders: Builders | None = None) -> Any:
    """The tree that a pickle of any protocol describes.

    Args:
        path: the file.
        builders: (module, name) -> function of the call's arguments, beside `BUILDERS`.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, dict, `Name`, `Record`, and numpy arrays
        (read-only views of the file's bytes).

    Raises:
        RefusedFile: it holds something that weights do not need.
        CheckpointError: there is no such file, or it is damaged or no pickle.
    """
    with reading(path, "pickle"), mapped(path) as content:
        machine = Machine(len(content), {**BUILDERS, **(builders or {})})
        tree = machine.run(content)
        if content.tell() != len(content):
            raise ValueError("it goes on after its end")
        return tree


@contextlib.contextmanager
def mapped(path: str | Path) -> Iterator[mmap.mmap]:
    """A file's bytes to read from; asking for more than there are allocates nothing."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


@contextlib.contextmanager
def reading(path: str | Path, kind: str) -> Iterator[None]:
    """Errors met in a foreign file become limner's own, with its path."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes in texts that the file's author spelt oddly
            yield
    except RefusedFile as error:
        raise RefusedFile(f"{path}: {error}; not read") from None
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (
        ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError, RecursionError,
        NotImplementedError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        reason = shown(str(error)) or type(error).__name__
        raise CheckpointError(
            f"{path}: not a whole {kind} ({reason}); fetch or write the file again"
        ) from None


# --- numpy -----------------------------------------------------------------

_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16)")


class _Dtype(Buildable):
    def __init__(self, args: tuple):
        super().__init__()
        name = args[0].decode() if isinstance(args[0], bytes) else args[0]
        if not isinstance(name, str) or not _PLAIN_DTYPE.fullmatch(name):
            raise RefusedFile(f"it holds an array of '{shown(str(name))}', not of plain numbers")
        self.dtype = np.dtype(name)

    def finished(self, state: Any) -> "_Dtype":
        """The second item of the state is the byte order."""
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError("an array's byte order is unknown")
        self.dtype = self.dtype.newbyteorder(order)
        return self


class _Array(Buildable):
    def finished(self, state: Any) -> np.ndarray:
        """(version,) shape, dtype, is Fortran, bytes."""
        shape, dtype, fortran, content = state[-4:]
        return _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    if not isinstance(dtype, _Dtype):
        raise ValueError("an array has no type")
    if isinstance(content, str):  # a byte string of Python 2
        content = content.encode("latin-1")
    if not isinstance(content, (bytes, bytearray)):
        raise RefusedFile("it holds an array of objects, not of plain numbers")
    if not isinstance(shape, tuple) or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError("an array has no shape")
    flat = np.frombuffer(content, dtype.dtype) if content else np.empty(0, dtype.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _scalar(args: tuple) -> Any:
    dtype, content = args
    return _array(content, dtype, ()).item()


def _mapping(args: tuple) -> dict:
    """An OrderedDict: empty, or of pairs."""
    found: dict = {}
    for pairs in args:
        for key, value in pairs:
            found[checked_key(key)] = value
    return found


def _no_bytes(args: tuple) -> bytes:
    if args:
        raise RefusedFile("it makes bytes of something")
    return b""


BUILDERS: dict[tuple[str, str], Builder] = {
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{core}.multiarray", name): build
        for core in ("core", "_core")
        for name, build in (("_reconstruct", lambda args: _Array()), ("scalar", _scalar))
    },
    **{
        (f"numpy.{core}.numeric", "_frombuffer"): lambda args: _array(*args)
        for core in ("core", "_core")
    },
    ("collections", "OrderedDict"): _mapping,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytearray"): _no_bytes,
}
