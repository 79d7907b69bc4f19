"""An .npz file of pictures and labels, read row by row."""

import math
from collections.abc import Collection, Container, Iterable, Iterator
from pathlib import Path

import numpy as np

from limner.core.config import Config
from limner.core.errors import DataError, printable
from limner.core.limits import MAX_PIXELS
from limner.data.findings import Finding, examples
from limner.data.labels import Label, finite
from limner.data.sources.base import Item, Labels, Listing, Source
from limner.data.sources.grouping import MAX_CLASSES, check_classes
from limner.formats.npy import NpyHeader, npz_array, read_blocks, read_rows
from limner.formats.zips import opened

IMAGE_KEYS = ("images", "x", "x_train", "train_images", "arr_0")
LABEL_KEYS = ("labels", "y", "label", "y_train", "train_labels", "arr_1")
MAX_CHANNELS = 4  # an axis of 1 or 3 is taken for the channels, else one up to this, last first


class ArrayFile(Config, Source, frozen=True):
    """Arrays in an .npz: pictures uint8 (or other numbers, see `values`) [N, H, W], [N, H, W, C] or
    [N, C, H, W] under "images" or "x" (also Keras' and MedMNIST's names), labels as integers [N] or
    one-hot rows under "labels" or "y". Objects (pickles) inside are never read."""

    path: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A file that ends in .npz."""
        return path.suffix.lower() == ".npz" and path.is_file()

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        with opened(self.path, "an .npz") as archive:
            names = archive.namelist()
        keys = {name.removesuffix(".npy") for name in names if name.endswith(".npy")}
        image_key = first_of(IMAGE_KEYS, keys)
        if image_key is None:
            held = printable(", ".join(sorted(keys)[:20])[:500]) or "nothing"
            raise DataError(
                f"{self.path}: no pictures in it (it holds {held}); "
                f'store a uint8 array [N, H, W, C] as "images"'
            )
        with npz_array(self.path, image_key) as (_, header):
            shape, order = header.shape, self._order(image_key, header)
        label_key = first_of(LABEL_KEYS, keys) if labels == "classes" else None
        numbers = None if label_key is None else self._labels(label_key, shape[0])
        num_classes = 0 if numbers is None else int(numbers.max(initial=-1)) + 1
        notes, warnings = told_of(keys, image_key, label_key, labels)
        return Listing(
            items=self._items(image_key, order, numbers),
            num_items=shape[0],
            class_names=[str(i) for i in range(num_classes)],
            notes=notes,
            warnings=warnings,
        )

    def _order(self, key: str, header: NpyHeader) -> tuple[int, ...]:
        """The axes' order that makes a row [H, W, C]."""
        where, shape = f"{self.path}: {key}", header.shape
        if len(shape) not in (3, 4) or header.is_fortran or 0 in shape:
            raise DataError(
                f"{where}: shape {shape} {'(Fortran order) ' if header.is_fortran else ''}is not "
                "[N, H, W], [N, H, W, C] or [N, C, H, W]"
            )
        return order_of_axes(shape, header.dtype, where)

    def _items(
        self, key: str, order: tuple[int, ...], numbers: np.ndarray | None
    ) -> Iterator[Item]:
        with npz_array(self.path, key) as (file, header):
            for i in range(header.shape[0]):
                row = read_rows(file, header, 1, f"{self.path}: {key}[{i}]")[0]
                label = None if numbers is None else int(numbers[i])
                yield Item(f"{key}/{i}", label, row.transpose(order).copy)

    def _labels(self, key: str, num_images: int) -> np.ndarray:
        where = f"{self.path}: {key}"
        with npz_array(self.path, key) as (file, header):
            blocks = read_blocks(file, header, where)
            turned = header.is_fortran and math.prod(header.shape[1:]) > 1
            labels = (
                None if turned else class_numbers(blocks, header.dtype, header.shape, num_images)
            )
        if labels is None:
            raise DataError(
                f"{where}: {header.dtype} {header.shape} for {num_images} pictures; "
                "store integers [N] or one-hot rows, or set data.labels=none"
            )
        check_classes(int(labels.min()), int(labels.max()), where)
        return labels


def order_of_axes(shape: tuple[int, ...], dtype: np.dtype, where: str) -> tuple[int, ...]:
    """The order that makes a row [H, W, C] of pictures [N, H, W], [N, H, W, C] or [N, C, H, W];
    DataError where they hold no numbers, are too large, or no axis can be the channels."""
    if dtype.kind not in "uif":
        raise DataError(f"{where}: values of {dtype}; store them as uint8 0..255")
    if math.prod(shape[1:]) * dtype.itemsize > MAX_PIXELS * MAX_CHANNELS:
        raise DataError(f"{where}: pictures of {shape[1:]} are too large; shrink them first")
    if len(shape) == 3:
        return (0, 1)
    for usual in ((1, 3), range(1, MAX_CHANNELS + 1)):
        if shape[3] in usual:
            return (0, 1, 2)
        if shape[1] in usual:
            return (1, 2, 0)
    raise DataError(f"{where}: no axis of shape {shape} can be the channels")


def told_of(
    held: Collection[str], image_name: str, label_name: str | None, labels: Labels
) -> tuple[list[str], list[Finding]]:
    """Of the arrays beside the pictures and labels: a note, or where there are no labels a warning
    that they may be among these."""
    others = sorted(name for name in held if name not in (image_name, label_name))
    if not others or (labels == "none" and label_name is None):
        return [], []
    listed = printable(examples(others, 10)[:500])
    if label_name is not None:
        return [f"arrays that are not read: {listed}"], []
    text = f"labels are read from 'labels' or 'y', and not from what else is there ({listed})"
    return [], [Finding("labels_lost", text)]


def class_numbers(
    blocks: Iterable[np.ndarray], dtype: np.dtype, shape: tuple[int, ...], num_images: int
) -> np.ndarray | None:
    """Class numbers int64 [N] of integers [N], [N, 1] or one-hot rows, which come block by block;
    None where it is neither."""
    width = shape[1] if len(shape) == 2 else 1
    if shape not in ((num_images,), (num_images, width)) or not 0 < width <= MAX_CLASSES:
        return None
    if width == 1 and dtype.kind not in "iu":
        return None
    labels = np.empty(num_images, np.int64)
    done = 0
    for rows in blocks:
        if width > 1 and not _is_one_hot(rows):
            return None
        labels[done : done + len(rows)] = rows.reshape(-1) if width == 1 else rows.argmax(1)
        done += len(rows)
    return labels


def are_rows(shape: tuple[int, ...], num_images: int) -> bool:
    """Whether an array has a row of numbers for each picture."""
    return len(shape) == 2 and shape[0] == num_images > 0 and 0 < shape[1] <= MAX_CLASSES


def label_rows(blocks: Iterable[np.ndarray], where: str) -> np.ndarray:
    """Labels that are rows of numbers, float32 [N, columns], which come block by block; DataError
    where a number is not finite."""
    held: list[np.ndarray] = []
    num_rows = 0
    for rows in blocks:
        held.append(finite(rows, where, num_rows))
        num_rows += len(rows)
    return np.concatenate(held)


def note_on_rows(name: str, width: int) -> str:
    """What a listing says of labels that are no classes."""
    return f"{printable(name)}: labels are rows of {width} numbers, not one class a picture"


def label_of(labels: np.ndarray | None, place: int) -> Label:
    """That of one picture, as an `Item` has it."""
    if labels is None:
        return None
    return int(labels[place]) if labels.ndim == 1 else labels[place]


def first_of(wanted: Iterable[str], keys: Container[str]) -> str | None:
    """The first wanted name that is there."""
    return next((key for key in wanted if key in keys), None)


def _is_one_hot(rows: np.ndarray) -> bool:
    return bool(((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all())
