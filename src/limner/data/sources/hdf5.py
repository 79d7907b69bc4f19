"""An HDF5 file of pictures and labels, as BigGAN-PyTorch writes it, read chunk after chunk."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from limner.core.config import Config
from limner.core.errors import DataError, MissingExtra, printable
from limner.data.sources.arrays import (
    IMAGE_KEYS,
    LABEL_KEYS,
    are_rows,
    class_numbers,
    first_of,
    label_of,
    label_rows,
    note_on_rows,
    order_of_axes,
    told_of,
)
from limner.data.sources.base import Item, Labels, Listing, Source, with_beside
from limner.data.sources.grouping import check_classes
from limner.formats.npy import read_blocks, read_npy_header

LEVEL = re.compile(r"data\d{1,5}x\d{1,5}")
MAGIC = b"\x89HDF\r\n\x1a\n"
SUFFIXES = (".hdf5", ".h5", ".hdf", ".he5")
IMAGE_NAMES = ("imgs", *IMAGE_KEYS, "data")
LABEL_NAMES = (*LABEL_KEYS, "targets")
BLOCK_BYTES = 16 * 2**20  # read at once where chunks are small
MAX_BLOCK_BYTES = 512 * 2**20  # a row of chunks above it is read in parts, each chunk several times
MAX_CHUNK_BYTES = 2**30
# What h5py makes of errors of the HDF5 library.
HDF5_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, MemoryError)


class Hdf5File(Config, Source, frozen=True):
    """Datasets in an HDF5 file: pictures uint8 (or other numbers, see `values`) [N, C, H, W],
    [N, H, W, C] or [N, H, W] under "imgs" (BigGAN-PyTorch's `ILSVRC128.hdf5`), "images" or "x",
    labels as integers [N] or one-hot rows under "labels" or "y". Of PGGAN's layout the largest of
    data4x4, data8x8 ... and the labels of NAME-labels.npy beside the file, where rows that are not
    one-hot (attributes) stay rows. Any chunks and compression: what is compressed together is
    decompressed once. Links to other files are not followed. Needs the extra "hdf5"."""

    path: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A file with an HDF5 suffix, or that begins as one."""
        if not path.is_file():
            return False
        if path.suffix.lower() in SUFFIXES:
            return True
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        with self._opened() as file:
            held = [name for name in file if isinstance(name, str)]
            image_name = first_of(IMAGE_NAMES, held) or self._largest_level(file, held)
            if image_name is None:
                names = printable(", ".join(sorted(held)[:20])[:500]) or "nothing"
                raise DataError(
                    f"{self.path}: no pictures in it (it holds {names}); "
                    f'store a uint8 array [N, C, H, W] as "imgs"'
                )
            images = self._dataset(file, image_name)
            num_images, order = images.shape[0], self._order(images, image_name)
            label_name = first_of(LABEL_NAMES, held) if labels == "classes" else None
            held_labels, notes = None, []
            if label_name is not None:
                held_labels = self._labels(self._dataset(file, label_name), label_name, num_images)
            elif labels == "classes":
                held_labels = self._labels_beside(num_images)
        num_classes = 0
        if held_labels is not None and held_labels.ndim == 2:
            num_classes = held_labels.shape[1]
            notes.append(note_on_rows(self._label_file().name, num_classes))
        elif held_labels is not None:
            num_classes = int(held_labels.max(initial=-1)) + 1
        levels = {name for name in held if LEVEL.fullmatch(name)} - {image_name}
        told, warnings = told_of(set(held) - levels, image_name, label_name, labels)
        return Listing(
            items=self._items(image_name, order, held_labels),
            num_items=num_images,
            class_names=[str(i) for i in range(num_classes)],
            notes=notes + told,
            warnings=[] if num_classes else warnings,
        )

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The open file; what the library says about damage becomes one line."""
        try:
            import h5py
        except ImportError:
            raise MissingExtra("h5py", "hdf5", f"reading {self.path}") from None
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except DataError:
            raise
        except HDF5_ERRORS as error:
            reason = printable(" ".join(str(error).split())[:300])
            raise DataError(
                f"{self.path}: cannot be read as HDF5 ({reason}); copy it or write it again"
            ) from None

    def _dataset(self, file: Any, name: str) -> Any:
        """A dataset whose values all lie in this file; DataError where it is none, leads elsewhere,
        or was not written to the end."""
        import h5py

        where = f"{self.path}: {name}"
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise DataError(f"{where}: a link to another place; copy the values into this file")
        found = file[name]
        if not isinstance(found, h5py.Dataset):
            raise DataError(f"{where}: not an array but a group; put the array at the root")
        if found.external or found.is_virtual:
            raise DataError(f"{where}: its values lie in other files; copy them into this one")
        if found.dtype.kind not in "biuf" or not found.shape:
            raise DataError(f"{where}: {found.dtype} {found.shape} is no array of numbers")
        num_bytes = math.prod(found.shape) * found.dtype.itemsize
        if found.chunks is None:
            num_held, num_needed = found.id.get_storage_size(), num_bytes
        else:
            if math.prod(found.chunks) * found.dtype.itemsize > MAX_CHUNK_BYTES:
                raise DataError(
                    f"{where}: chunks of {found.chunks} are too large for the memory; rewrite it "
                    f"with at most {MAX_CHUNK_BYTES >> 20} MB (h5repack -l CHUNK=...)"
                )
            pairs = zip(found.shape, found.chunks, strict=True)
            num_needed = math.prod(-(-length // part) for length, part in pairs)
            num_held = found.id.get_num_chunks()
        if num_held < num_needed:
            unit = "bytes" if found.chunks is None else "chunks"
            raise DataError(
                f"{where}: {num_held} of {num_needed} {unit} are there; the file was not written "
                "to its end: write it again"
            )
        return found

    def _order(self, images: Any, name: str) -> tuple[int, ...]:
        where, shape = f"{self.path}: {name}", images.shape
        if len(shape) not in (3, 4) or 0 in shape:
            raise DataError(f"{where}: shape {shape} is not [N, C, H, W], [N, H, W, C], [N, H, W]")
        return order_of_axes(shape, images.dtype, where)

    def _labels(self, labels: Any, name: str, num_images: int) -> np.ndarray:
        where = f"{self.path}: {name}"
        blocks = (labels[start:stop] for start, stop in blocks_of(labels))
        numbers = class_numbers(blocks, labels.dtype, labels.shape, num_images)
        if numbers is None:
            raise DataError(
                f"{where}: {labels.dtype} {labels.shape} for {num_images} pictures; "
                "store integers [N] or one-hot rows, or set data.labels=none"
            )
        check_classes(int(numbers.min()), int(numbers.max()), where)
        return numbers

    def _largest_level(self, file: Any, names: list[str]) -> str | None:
        """Of PGGAN's arrays data4x4, data8x8 ... the one of the largest pictures."""
        levels = [name for name in names if LEVEL.fullmatch(name)]
        return max(levels, key=lambda name: self._dataset(file, name).shape[-1], default=None)

    def _label_file(self) -> Path:
        path = Path(self.path)
        return path.with_name(f"{path.stem}-labels.npy")

    def identity(self) -> str:
        """That of the file, and of the labels beside it."""
        beside = self._label_file()
        return with_beside(super().identity(), beside if beside.is_file() else None)

    def _labels_beside(self, num_images: int) -> np.ndarray | None:
        """Those of NAME-labels.npy, where PGGAN puts them: class numbers [N], or rows."""
        beside = self._label_file()
        if not beside.is_file():
            return None
        with open(beside, "rb") as file:
            header = read_npy_header(file, str(beside))
            whole = not header.is_fortran and header.num_bytes == beside.stat().st_size
            begin, numbers = file.tell(), None
            if whole:
                blocks = read_blocks(file, header, str(beside))
                numbers = class_numbers(blocks, header.dtype, header.shape, num_images)
            if numbers is None and whole and are_rows(header.shape, num_images):
                file.seek(begin)
                return label_rows(read_blocks(file, header, str(beside)), str(beside))
        if numbers is None:
            raise DataError(
                f"{beside}: {header.dtype} {header.shape[:4]} for {num_images} pictures; store "
                "integers [N], one-hot rows or rows of numbers, or set data.labels=none"
            )
        check_classes(int(numbers.min()), int(numbers.max()), str(beside))
        return numbers

    def _items(
        self, name: str, order: tuple[int, ...], labels: np.ndarray | None
    ) -> Iterator[Item]:
        with self._opened() as file:
            images = self._dataset(file, name)
            for start, stop in blocks_of(images):
                block = images[start:stop]
                for i, row in enumerate(block, start):
                    label = label_of(labels, i)
                    yield Item(f"{name}/{i}", label, row.transpose(order).copy)


def blocks_of(dataset: Any) -> Iterator[tuple[int, int]]:
    """Ranges of rows in order, each a whole number of chunks wherever memory allows it, so that no
    chunk is decompressed twice."""
    row_bytes = max(1, math.prod(dataset.shape[1:]) * dataset.dtype.itemsize)
    num_rows = dataset.chunks[0] if dataset.chunks else 1
    if num_rows * row_bytes > MAX_BLOCK_BYTES:
        num_parts = -(-num_rows * row_bytes // MAX_BLOCK_BYTES)
        num_rows = max(1, -(-num_rows // num_parts))
    else:
        num_rows *= max(1, BLOCK_BYTES // (num_rows * row_bytes))
    for start in range(0, dataset.shape[0], num_rows):
        yield start, min(start + num_rows, dataset.shape[0])
