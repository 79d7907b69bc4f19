"""An .npz file of pictures and labels, read row by row."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from limner.core.config import Config
from limner.core.errors import DataError
from limner.data.sources.base import Item, Labels, Listing, Source
from limner.data.sources.grouping import check_classes

IMAGE_KEYS = ("images", "x", "x_train", "train_images", "arr_0")
LABEL_KEYS = ("labels", "y", "label", "y_train", "train_labels", "arr_1")
MAX_CHANNELS = 4  # an axis of 1 or 3 is taken for the channels, else one up to this, last first


class ArrayFile(Config, Source, frozen=True):
    """Arrays in an .npz: pictures uint8 [N, H, W], [N, H, W, C] or [N, C, H, W] under "images" or
    "x" (also Keras' and MedMNIST's names), labels as integers [N] or one-hot rows under "labels" or
    "y". Objects (pickles) inside are never read."""

    kind = "npz"
    path: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A file that ends in .npz."""
        return path.suffix.lower() == ".npz" and path.is_file()

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        with _opened(self.path) as archive:
            keys = {name.removesuffix(".npy") for name in archive.namelist()}
            image_key = _one_of(IMAGE_KEYS, keys)
            if image_key is None:
                held = ", ".join(sorted(keys)) or "nothing"
                raise DataError(
                    f"{self.path}: no pictures in it (it holds {held}); "
                    f'store a uint8 array [N, H, W, C] as "images"'
                )
            shape, order, _ = self._header(archive, image_key)
        label_key = _one_of(LABEL_KEYS, keys) if labels == "classes" else None
        numbers = None if label_key is None else self._labels(label_key, shape[0])
        num_classes = 0 if numbers is None else int(numbers.max(initial=-1)) + 1
        return Listing(
            items=self._items(image_key, order, numbers),
            num_items=shape[0],
            class_names=[str(i) for i in range(num_classes)],
        )

    def _header(
        self, archive: zipfile.ZipFile, key: str
    ) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Shape, the axes' order that makes a row [H, W, C], and the bytes before the rows."""
        where = f"{self.path}: {key}"
        with archive.open(f"{key}.npy") as file:
            shape, fortran, dtype = _npy_header(file, where)
            start = file.tell()
        if dtype != np.uint8:
            raise DataError(f"{where}: values of {dtype}; store them as uint8 0..255")
        if len(shape) not in (3, 4) or fortran or 0 in shape:
            raise DataError(
                f"{where}: shape {shape} {'(Fortran order) ' if fortran else ''}is not "
                "[N, H, W], [N, H, W, C] or [N, C, H, W]"
            )
        if archive.getinfo(f"{key}.npy").file_size != start + int(np.prod(shape)):
            raise DataError(f"{where}: shape {shape} does not fit its length; write the file again")
        if len(shape) == 3:
            return shape, (0, 1), start
        for usual in ((1, 3), range(1, MAX_CHANNELS + 1)):
            if shape[3] in usual:
                return shape, (0, 1, 2), start
            if shape[1] in usual:
                return shape, (1, 2, 0), start
        raise DataError(f"{where}: no axis of shape {shape} can be the channels")

    def _items(
        self, key: str, order: tuple[int, ...], numbers: np.ndarray | None
    ) -> Iterator[Item]:
        with _opened(self.path) as archive, archive.open(f"{key}.npy") as file:
            shape, _, _ = _npy_header(file, self.path)
            num_bytes = int(np.prod(shape[1:]))
            for i in range(shape[0]):
                try:
                    row = np.frombuffer(file.read(num_bytes), np.uint8)
                except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
                    raise DataError(f"{self.path}: {key}[{i}]: {error}; copy it again") from None
                if row.size != num_bytes:
                    raise DataError(f"{self.path}: {key}[{i}]: the file ends early; copy it again")
                picture = row.reshape(shape[1:]).transpose(order)
                label = None if numbers is None else int(numbers[i])
                yield Item(f"{key}/{i}", label, picture.copy)

    def _labels(self, key: str, num_images: int) -> np.ndarray:
        where = f"{self.path}: {key}"
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                labels = arrays[key]
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise DataError(f"{where}: {error}; store integers [N]") from None
        if labels.ndim == 2 and labels.shape[1] > 1 and _is_one_hot(labels):
            labels = labels.argmax(1)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.shape != (num_images,) or labels.dtype.kind not in "iu":
            raise DataError(
                f"{where}: {labels.dtype} {labels.shape} for {num_images} pictures; "
                "store integers [N] or one-hot rows, or set data.labels=none"
            )
        check_classes(int(labels.min()), int(labels.max()), where)
        return labels.astype(np.int64)


def _one_of(wanted: tuple[str, ...], keys: set[str]) -> str | None:
    return next((key for key in wanted if key in keys), None)


def _is_one_hot(rows: np.ndarray) -> bool:
    return rows.dtype.kind in "iufb" and bool(
        ((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all()
    )


def _opened(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as .npz ({error}); write it again") from None


def _npy_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        return np.lib.format.read_array_header_2_0(file)
    except (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{where}: not a numpy array ({error}); write it again") from None
