"""Headers of .npy files, read by a pattern: numpy's own reader evaluates them as Python."""

import math
import re
from dataclasses import dataclass
from typing import IO

import numpy as np

from limner.core.errors import DataError

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000
_HEADER = re.compile(
    rb"\{'descr': *'([<>|=]?[?biufO]\d{0,3})', *'fortran_order': *(True|False), *"
    rb"'shape': *\(([0-9L, ]*)\),? *\} *\n?"
)
_SIZE = re.compile(rb"[0-9]{1,18}L?")


@dataclass(frozen=True)
class NpyHeader:
    """dtype and shape of an array, and the bytes before its values."""

    dtype: np.dtype
    shape: tuple[int, ...]
    is_fortran: bool
    num_header_bytes: int

    @property
    def num_bytes(self) -> int:
        """Of the whole file."""
        return self.num_header_bytes + math.prod(self.shape) * self.dtype.itemsize


def read_npy_header(file: IO[bytes], where: str) -> NpyHeader:
    """The header of an array of numbers; the file is then at its first value.

    Raises:
        DataError: it is none, or of something else than numbers (objects are pickles: programs).
    """
    start = file.read(8)
    if len(start) < 8 or start[:6] != MAGIC or start[6] not in (1, 2, 3):
        raise DataError(f"{where}: not a numpy array; write it again")
    num_length_bytes = 2 if start[6] == 1 else 4
    length = int.from_bytes(file.read(num_length_bytes), "little")
    text = file.read(min(length, MAX_HEADER_BYTES))
    if len(text) != length:
        raise DataError(f"{where}: not a numpy array (its header is cut or too long)")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise DataError(f"{where}: not a numpy array of numbers (its header says something else)")
    try:
        dtype = np.dtype(match[1].decode())
    except (TypeError, ValueError):
        raise DataError(f"{where}: numpy knows no type '{match[1].decode()}'") from None
    if dtype.kind not in "biuf":
        raise DataError(f"{where}: values of {_named(dtype)}; store numbers")
    sizes = [size.strip() for size in match[3].split(b",") if size.strip()]
    if not all(map(_SIZE.fullmatch, sizes)):
        raise DataError(f"{where}: not a numpy array (its shape is no tuple of sizes)")
    shape = tuple(int(size.rstrip(b"L")) for size in sizes)
    header_bytes = 8 + num_length_bytes + length
    return NpyHeader(dtype, shape, match[2] == b"True", header_bytes)


def _named(dtype: np.dtype) -> str:
    return "object (a pickle, which is never read)" if dtype.kind == "O" else str(dtype)
