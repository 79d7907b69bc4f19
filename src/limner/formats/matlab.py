"""Arrays of numbers in MATLAB's files of version 5, read from the front (MAT-File Format, 2019).

A file is a row of elements, each a type and a length; a variable is one of type "matrix", inside a
zlib stream of its own in newer files. scipy reads them too, but only as a whole, and what a
compressed element grows to it takes from the file.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from limner.core.errors import DataError, printable

HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
FLAG_BYTES, MAX_AXES, MAX_NAME_BYTES = 8, 8, 63
DTYPES = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}
READ_BYTES = 2**16


class _DamagedError(ValueError):
    """What is wrong with a file."""


class Values:
    """The bytes of one element, inflated where they are compressed."""

    def __init__(self, file: IO[bytes], num_bytes: int, is_compressed: bool):
        self._file, self._left = file, num_bytes
        self._inflate = zlib.decompressobj() if is_compressed else None
        self._held = b""

    def read(self, num_bytes: int) -> bytes:
        """The next bytes, all of them; _DamagedError where they end before, zlib.error if
        damaged."""
        parts, missing = [], num_bytes
        while missing:
            if not self._held:
                self._held = self._more()
            if not self._held:
                raise _DamagedError("it ends early")
            parts.append(self._held[:missing])
            self._held = self._held[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def _more(self) -> bytes:
        while True:
            tail = b"" if self._inflate is None else self._inflate.unconsumed_tail
            content = tail or self._file.read(min(READ_BYTES, self._left))
            if not tail:
                self._left -= len(content)
            if self._inflate is None or not content:
                return content
            inflated = self._inflate.decompress(content, READ_BYTES)
            if inflated:
                return inflated

    def tag(self) -> tuple[int, bytes | None, int]:
        """(type, content of a small element, length) of the next element."""
        head = self.read(8)
        kind, length = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:], "little")
        if kind >> 16:
            if kind >> 16 > 4:
                raise _DamagedError("a small element that is large")
            return kind & 0xFFFF, head[4 : 4 + (kind >> 16)], kind >> 16
        return kind, None, length

    def small(self, max_bytes: int) -> bytes:
        """The content of the next element, with what fills it up to 8 bytes."""
        _, content, length = self.tag()
        if content is not None:
            return content
        if length > max_bytes:
            raise _DamagedError(f"an element of {length} bytes where at most {max_bytes} belong")
        return self.read(length + -length % 8)[:length]


@contextmanager
def variable(path: Path, name: str) -> Iterator[tuple[Values, tuple[int, ...], np.dtype]]:
    """A variable's values (column-major), shape and type; nothing else is inflated. Raises
    DataError, also while values are read inside the block, where the file is damaged or of another
    version, or has no such array of numbers."""
    try:
        with open(path, "rb") as file:
            yield _searched(file, path, name)
    except (_DamagedError, zlib.error, OSError) as error:
        reason = printable(str(error)[:200])
        raise DataError(
            f"{path}: not read as a MATLAB 5 file ({reason}); download the file again"
        ) from None


def _searched(file: IO[bytes], path: Path, name: str) -> tuple[Values, tuple[int, ...], np.dtype]:
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES or header[124:128] != b"\x00\x01IM":
        raise _DamagedError("its header is another")
    at, names = HEADER_BYTES, []
    while tag := file.read(8):
        kind, length = int.from_bytes(tag[:4], "little"), int.from_bytes(tag[4:], "little")
        if len(tag) < 8 or kind not in (MATRIX, COMPRESSED):
            raise _DamagedError(f"no variable at byte {at}")
        values = Values(file, length, kind == COMPRESSED)
        if kind == COMPRESSED and values.tag()[0] != MATRIX:
            raise _DamagedError(f"no variable at byte {at}")
        values.small(FLAG_BYTES)
        sizes = np.frombuffer(_whole(values.small(4 * MAX_AXES), 4), "<i4")
        names.append(values.small(MAX_NAME_BYTES).decode("ascii", "replace"))
        if names[-1] == name:
            return _numbers(values, tuple(int(size) for size in sizes))
        at += 8 + length
        file.seek(at)
    held = printable(", ".join(names[:20])[:300]) or "nothing"
    raise DataError(f"{path}: no variable '{name}' in it (it holds {held})")


def _whole(content: bytes, size: int) -> bytes:
    return content[: len(content) // size * size]


def _numbers(values: Values, shape: tuple[int, ...]) -> tuple[Values, tuple[int, ...], np.dtype]:
    kind, content, length = values.tag()
    if kind not in DTYPES:
        raise _DamagedError(f"values of type {kind}")
    dtype = np.dtype(DTYPES[kind])
    if min(shape, default=-1) < 0 or math.prod(shape) * dtype.itemsize != length:
        raise _DamagedError(f"{length} bytes for the shape {list(shape)}")
    if content is not None:
        values._held = content + values._held
    return values, shape, dtype
