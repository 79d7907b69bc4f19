"""Files of bytes in MNIST's format: a magic number, the sizes, the bytes, big endian.

The format is that of yann.lecun.com/exdb/mnist; gzipped files are read too.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from limner.core.errors import DataError
from limner.core.limits import MAX_PIXELS

UNSIGNED_BYTES = 0x08
MAX_ITEMS = 10**8
IDX_ERRORS = (OSError, EOFError, zlib.error)
AGAIN = "download the file again"


@contextmanager
def idx_file(
    path: Path, num_axes: int
) -> Iterator[tuple[IO[bytes] | gzip.GzipFile, tuple[int, ...]]]:
    """The file at its first value, and its sizes; DataError where it is no idx file of bytes with
    so many axes, or ends early."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            start = file.read(4)
            sizes = tuple(int.from_bytes(file.read(4), "big") for _ in range(num_axes))
            if start != bytes((0, 0, UNSIGNED_BYTES, num_axes)):
                raise DataError(f"{path}: not an idx file of bytes with {num_axes} axes; {AGAIN}")
            if 0 in sizes or sizes[0] > MAX_ITEMS or math.prod(sizes[1:]) > MAX_PIXELS:
                raise DataError(f"{path}: sizes {list(sizes)} are not those of pictures; {AGAIN}")
            yield file, sizes
    except IDX_ERRORS as error:
        raise DataError(f"{path}: cannot be read ({error}); {AGAIN}") from None
