"""What pickles spell as calls and is plain data: numpy's arrays and scalars, dicts, bytes."""

import re
from typing import Any

import numpy as np

from limner.core.errors import RefusedFile
from limner.formats.pickle_machine import Buildable, Builder, checked_key, shown

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
