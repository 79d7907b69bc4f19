"""Prepared pictures written for other programs: BigGAN-PyTorch's HDF5, StyleGAN's zip."""

import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from limner.core.counting import Progress
from limner.core.errors import DataError, MissingExtra
from limner.core.files import named, whole_file
from limner.data.prepared import PreparedData

Compression = Literal["none", "lzf", "gzip"]
CHUNK = 500  # BigGAN-PyTorch's own
PICTURES_PER_FOLDER = 1000


def write_hdf5(
    data: PreparedData,
    out: str | os.PathLike[str],
    chunk: int = CHUNK,
    compression: Compression = "none",
    progress: Progress | None = None,
) -> Path:
    """Write what BigGAN-PyTorch's make_hdf5.py writes: "imgs" uint8 [N, C, H, W] in chunks of whole
    pictures and "labels" int64 [N] (zeros without classes), in the order of the data.

    Args:
        chunk: pictures that are stored (and compressed) together. Programs that read pictures one
            at a time, in any order, decompress a whole chunk for each.
        compression: "none", "lzf" (fast) or "gzip" (small).

    Raises:
        DataError: `out` exists, the pictures have different sizes, labels are rows of numbers, or
            the chunk is empty.
        MissingExtra: h5py is not installed.
        OSError: the disk refuses it; nothing stays.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtra("h5py", "hdf5", f"writing {out}") from None
    if chunk < 1:
        raise DataError(f"chunk: {chunk} pictures; give 1 or more")
    if data.label_rows is not None:
        raise DataError(
            f"{data.place}: labels are rows of numbers, and BigGAN-PyTorch's HDF5 holds one "
            "class a picture; prepare them with --labels none, or write another format"
        )
    channels, height, width = data.image_shape
    rows = min(chunk, len(data))
    packed = None if compression == "none" else compression
    squares = squares_of(data)
    with _whole(Path(out)) as path, h5py.File(path, "w") as file:
        shape = (len(data), channels, height, width)
        images = file.create_dataset(
            "imgs", shape, np.uint8, chunks=(rows, *shape[1:]), maxshape=shape, compression=packed
        )
        file.create_dataset(
            "labels", data=data.labels, chunks=(rows,), maxshape=shape[:1], compression=packed
        )
        for start in range(0, len(data), rows):
            block = squares[start : start + rows]
            images[start : start + rows] = np.ascontiguousarray(block.transpose(0, 3, 1, 2))
            if progress is not None:
                progress(start + len(block), len(data))
    return Path(out)


def write_zip(
    data: PreparedData, out: str | os.PathLike[str], progress: Progress | None = None
) -> Path:
    """Write StyleGAN's layout: 00000/img00000000.png ..., stored, and dataset.json with the labels
    as integers or rows of numbers (null without classes).

    Raises:
        DataError: `out` exists, or the pictures have different sizes, or not 1, 3 or 4 channels.
        OSError: the disk refuses it; nothing stays.
    """
    if data.image_shape[0] not in (1, 3, 4):
        raise DataError(
            f"{data.place}: pictures of {data.image_shape[0]} channels are no PNG; "
            "write another format"
        )
    squares, labels = squares_of(data), []
    with (
        _whole(Path(out)) as path,
        zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive,
    ):
        for i in range(len(data)):
            name = f"{i // PICTURES_PER_FOLDER:05d}/img{i:08d}.png"
            archive.writestr(_entry(name), _png(squares[i]))
            labels.append([name, data.labels[i].tolist()])
            if progress is not None:
                progress(i + 1, len(data))
        held = {"labels": labels if data.num_classes else None}
        archive.writestr(_entry("dataset.json"), json.dumps(held))
    return Path(out)


def squares_of(data: PreparedData) -> np.ndarray:
    """The pictures uint8 [N, R, R, C]; DataError where they keep their aspects."""
    if not isinstance(data.images, np.ndarray):
        raise DataError(
            f"{data.place}: the pictures keep their aspects, and other programs read squares; "
            "prepare them without --keep-aspect"
        )
    return data.images.view(np.ndarray)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A new file, whole or not at all."""
    if out.exists():
        raise DataError(f"{out}: exists already; remove it or give another place")
    with whole_file(out) as temporary, named(temporary):
        yield temporary


def _entry(name: str) -> zipfile.ZipInfo:
    # The same bytes whenever it is written: ZipInfo's own date is a fixed one.
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o644 << 16
    return entry


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()
