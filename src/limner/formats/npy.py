"""Arrays in .npy and .npz files: headers are read by a pattern, where numpy's own reader evaluates
them as Python, and no more bytes than the file has."""

import math
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from limner.core.errors import DataError, printable
from limner.formats.zips import opened, problem_of_member, problems_as

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

    def values(self, file: IO[bytes], where: str) -> np.ndarray:
        """The array, of a file that stands at its first value; DataError where it ends before."""
        rows = read_rows(file, self, self.shape[0] if self.shape else None, where)
        return rows.reshape(self.shape, order="F") if self.is_fortran else rows


def read_npy_header(file: IO[bytes], where: str) -> NpyHeader:
    """The header of an array of numbers; the file is then at its first value. Raises DataError
    where it is none, or of something else than numbers (objects are pickles: programs)."""
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


# --- values --------------------------------------------------------------------


def read_blocks(file: IO[bytes], header: NpyHeader, where: str) -> Iterator[np.ndarray]:
    """The rows of an array, a few megabytes at once."""
    size = max(1, 2**19 // max(1, math.prod(header.shape[1:])))
    for start in range(0, header.shape[0], size):
        yield read_rows(file, header, min(size, header.shape[0] - start), where)


def read_rows(file: IO[bytes], header: NpyHeader, count: int | None, where: str) -> np.ndarray:
    """The next rows of an array, [count, ...]; None: the one value of an array without axes. Raises
    DataError where the file ends before them."""
    shape = () if count is None else (count, *header.shape[1:])
    num_bytes = math.prod(shape) * header.dtype.itemsize
    content = file.read(num_bytes)
    if len(content) != num_bytes:
        raise DataError(f"{where}: the file ends early; copy it again")
    return np.frombuffer(content, header.dtype).reshape(shape)


def read_array(path: str | Path, key: str) -> np.ndarray:
    """The numbers of an .npy file, or those named `key` of an .npz. Raises DataError where it is
    damaged, neither of the two, or holds something else than numbers; OSError where it cannot be
    opened."""
    if zipfile.is_zipfile(path):
        with npz_array(str(path), key) as (file, header):
            return header.values(file, f"{path}: {key}")
    with open(path, "rb") as file:
        header = read_npy_header(file, str(path))
        if header.num_bytes != file.seek(0, 2):
            raise DataError(f"{path}: shape {header.shape} does not fit its length; write it again")
        file.seek(header.num_header_bytes)
        return header.values(file, str(path))


# --- .npz ----------------------------------------------------------------------


@contextmanager
def npz_array(
    path: str, key: str, remedy: str = "write the file again"
) -> Iterator[tuple[IO[bytes], NpyHeader]]:
    """An array of an .npz: its file, at the first value, and its header, which fits its length.
    Raises DataError where it is damaged, has no such array, or holds something else than
    numbers."""
    with opened(path, "an .npz") as archive:
        names = archive.namelist()
        if f"{key}.npy" not in names:
            held = printable(", ".join(name.removesuffix(".npy") for name in names[:20])[:300])
            raise DataError(f"{path}: no '{key}' in it (it holds {held or 'nothing'})")
        with npz_member(archive, archive.getinfo(f"{key}.npy"), f"{path}: {key}", remedy) as found:
            yield found


@contextmanager
def npz_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, remedy: str
) -> Iterator[tuple[IO[bytes], NpyHeader]]:
    """`npz_array` of an open archive."""
    with problems_as(DataError, where, remedy):
        problem = problem_of_member(member)
        if problem:
            raise DataError(f"{where}: {problem}")
        with archive.open(member) as file:
            header = read_npy_header(file, where)
            if member.file_size != header.num_bytes:
                raise DataError(f"{where}: shape {header.shape} does not fit its length; {remedy}")
            yield file, header
