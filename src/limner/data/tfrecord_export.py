"""Prepared pictures written as TFRecords of every resolution, as PGGAN's dataset_tool does."""

import contextlib
import os
from pathlib import Path

import numpy as np

from limner.core.counting import Progress
from limner.core.errors import DataError
from limner.core.files import named, whole_directory
from limner.data.export import squares_of
from limner.data.prepared import PreparedData
from limner.formats.tfrecords import (
    MIN_LEVEL,
    example_of,
    framed,
    labels_name,
    level_name,
    level_of,
    pyramid,
)

SHUFFLE_SEED = 123  # dataset_tool's


def write_tfrecords(
    data: PreparedData,
    out: str | os.PathLike[str],
    shuffle: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Write a folder OUT with OUT-r02.tfrecords (4x4) up to the pictures' own resolution, and with
    classes OUT-rxx.labels: rows float32 [N, classes], one-hot unless the labels are rows already.

    Args:
        data: squares of a power of two from 4 on, of 1 or 3 channels.
        shuffle: write the pictures in the order of numpy's RandomState(123), as dataset_tool does
            for most sources; else in the order of the data.

    Raises:
        DataError: `out` exists, or the pictures have a size or channels that PGGAN cannot read.
        MissingExtra: google-crc32c is not installed.
        OSError: the disk refuses it; nothing stays.
    """
    out = Path(out).absolute()
    if out.exists():
        raise DataError(f"{out}: exists already; remove it or give another place")
    if data.image_shape[0] not in (1, 3):
        raise DataError(
            f"{data.place}: pictures of {data.image_shape[0]} channels; PGGAN's TFRecords "
            "hold 1 or 3: prepare them with --channels 3"
        )
    _, height, width = data.image_shape
    if height != width:
        raise DataError(
            f"{out}: pictures of {height}x{width}, and PGGAN's TFRecords hold squares; give "
            "--resolution one number, a power of two"
        )
    level = level_of(height, str(out))
    order = order_of(len(data), shuffle)
    with whole_directory(out) as temporary:
        paths = [
            temporary / level_name(out.name, number) for number in range(level, MIN_LEVEL - 1, -1)
        ]
        _write_levels(data, paths, order, progress)
        if data.num_classes:
            labels = data.labels[order]
            _write_labels(temporary / labels_name(out.name), labels, data.num_classes)
    return out


def order_of(num_images: int, shuffle: bool) -> np.ndarray:
    """The order in which pictures are written, int64 [N]."""
    order = np.arange(num_images)
    if shuffle:
        np.random.RandomState(SHUFFLE_SEED).shuffle(order)
    return order


def _write_levels(
    data: PreparedData, paths: list[Path], order: np.ndarray, progress: Progress | None
) -> None:
    squares = squares_of(data)
    with contextlib.ExitStack() as stack:
        files = []
        for path in paths:
            stack.enter_context(named(path))
            files.append(stack.enter_context(open(path, "wb")))
        for done, row in enumerate(order, 1):
            pixels = squares[row].transpose(2, 0, 1)
            for file, part in zip(files, pyramid(pixels), strict=True):
                file.write(framed(example_of(part)))
            if progress is not None:
                progress(done, len(order))


def _write_labels(path: Path, labels: np.ndarray, num_classes: int) -> None:
    # The header of numpy before 1.14, padded to 16 bytes and not 64: the file then has the very
    # size that dataset_tool's had (2,000,080 bytes for CIFAR-10).
    shape = (len(labels), num_classes)
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 16) + b"\n"
    with named(path), open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        for label in labels:
            row = np.zeros(num_classes, "<f4")
            if labels.ndim == 2:
                row[:] = label
            else:
                row[label] = 1
            file.write(row.data)
