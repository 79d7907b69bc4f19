"""Prepared pictures written as shards: WebDataset's tar files, and the index that limner reads."""

import hashlib
import io
import json
import os
import tarfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from limner.core.counting import Progress
from limner.core.errors import DataError
from limner.core.files import named, temporary_name, whole_directory
from limner.data.prepared import PreparedData
from limner.data.shards.index import INDEX, Shard, write_index
from limner.data.shards.place import Place
from limner.data.shards.png import to_png
from limner.data.tfrecord_export import order_of

Encoding = Literal["png", "jpeg"]
SHARD_BYTES = 256 * 10**6
JPEG_QUALITY = 95
BLOCK_BYTES, CLOSING_BYTES = 512, 1024  # of tar, which fills up to RECORDSIZE at the end


def write_shards(
    data: PreparedData,
    out: str | os.PathLike[str],
    shard_bytes: int = SHARD_BYTES,
    encoding: Encoding = "png",
    shuffle: bool = True,
    progress: Progress | None = None,
) -> list[Shard]:
    """Write shard-00000.tar ... and their index into a new folder or a URL, the index last.

    A shard holds NUMBER.png or NUMBER.jpg, and NUMBER.cls (the number of the class) or NUMBER.json
    (a list of numbers) beside it. Of a URL one shard at a time lies on this machine's disk.

    Args:
        data: squares or rectangles of 1, 3 or 4 channels.
        shard_bytes: a shard is closed before it has more, but has at least one picture.
        encoding: "png" keeps every value; "jpeg" (quality 95, colors at full resolution) does not.
        shuffle: in the order of numpy's RandomState(123), as TFRecords. Training mixes the pictures
            of a few shards, so a shard should hold pictures of all kinds.

    Raises:
        DataError: `out` holds something already, or cannot be written; pictures keep their aspects
            or have other channels.
        OSError: the disk refuses it; nothing stays in a folder.
    """
    channels = data.image_shape[0]
    if data.info["settings"]["fit"] == "keep":
        raise DataError(
            f"{data.place}: the pictures keep their aspects, and shards hold one shape; prepare "
            "them without --keep-aspect"
        )
    if channels not in (1, 3, 4) or (encoding == "jpeg" and channels == 4):
        raise DataError(f"{data.place}: pictures of {channels} channels are no {encoding.upper()}")
    order = order_of(len(data), shuffle)
    with _opened(out) as (place, folder):
        writer = _Writer(place, folder, shard_bytes, encoding)
        for done, row in enumerate(order.tolist(), 1):
            writer.add(np.asarray(data.images[row]), data.labels[row] if data.num_classes else None)
            if progress is not None:
                progress(done, len(order))
        writer.close()
        path = folder / f".tmp-{INDEX}"
        info = _facts(data, encoding)
        tables = (np.asarray(writer.begins), np.asarray(writer.sizes), data.labels[order])
        with named(path):
            write_index(path, info, writer.shards, *tables)
        place.put(path, INDEX)
    return writer.shards


@contextmanager
def _opened(out: str | os.PathLike[str]) -> Iterator[tuple[Place, Path]]:
    """Where shards go, and a folder of this disk where they are made."""
    place = Place(out)
    if not place.is_url:
        path = Path(place.text)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise DataError(f"{out}: exists already; remove it or give another place")
        with whole_directory(path.absolute()) as temporary:
            yield Place(temporary), temporary
        return
    if place.begin_of(INDEX, 1) is not None:
        raise DataError(f"{place.name_of(INDEX)}: exists already; give another place")
    folder = temporary_name(Path("shards").absolute())
    try:
        folder.mkdir()
        yield place, folder
    finally:
        for path in folder.glob("*"):
            path.unlink()
        folder.rmdir()


class _Writer:
    """Fills tar files one after the other."""

    def __init__(self, place: Place, folder: Path, shard_bytes: int, encoding: Encoding):
        self.shards: list[Shard] = []
        self.begins, self.sizes = array("Q"), array("I")
        self._encoding: Encoding = encoding
        self._place, self._folder = place, folder
        self._shard_bytes = shard_bytes
        self._path = Path()
        self._tar: tarfile.TarFile | None = None
        self._num_images = 0

    def add(self, pixels: np.ndarray, label: Any) -> None:
        picture, number = encoded(pixels, self._encoding), len(self.sizes)
        members = [(f"{number:09d}.{'jpg' if self._encoding == 'jpeg' else 'png'}", picture)]
        if isinstance(label, np.ndarray):
            members.append((f"{number:09d}.json", json.dumps(label.tolist()).encode()))
        elif label is not None:
            members.append((f"{number:09d}.cls", str(int(label)).encode()))
        num_bytes = sum(BLOCK_BYTES * (1 - -len(held) // BLOCK_BYTES) for _, held in members)
        at = 0 if self._tar is None else self._tar.offset
        records = -(-(at + num_bytes + CLOSING_BYTES) // tarfile.RECORDSIZE)
        if self._tar is not None and records * tarfile.RECORDSIZE > self._shard_bytes:
            self.close()
        if self._tar is None:
            self._begin()
        assert self._tar is not None
        self.begins.append(self._tar.offset + BLOCK_BYTES)
        self.sizes.append(len(picture))
        for name, held in members:
            member = tarfile.TarInfo(name)  # its date is a fixed one
            member.size = len(held)
            self._tar.addfile(member, io.BytesIO(held))
        self._num_images += 1

    def _begin(self) -> None:
        self._path = self._folder / f"shard-{len(self.shards):05d}.tar"
        self._tar = tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self._num_images = 0

    def close(self) -> None:
        """End the shard that is being filled, and bring it to its place."""
        if self._tar is None:
            return
        with named(self._path):
            self._tar.close()
        self._tar = None
        with open(self._path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size, name = self._path.stat().st_size, self._path.name
        self.shards.append(Shard(name, size, self._num_images, digest))
        self._place.put(self._path, name)
        if self._place.is_url:
            self._path.unlink()


def encoded(pixels: np.ndarray, encoding: Encoding) -> bytes:
    """A picture uint8 [H, W, C] as a file."""
    if encoding == "png":
        return to_png(pixels)
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def _facts(data: PreparedData, encoding: Encoding) -> dict[str, Any]:
    """The fields of dataset.json, but for those of its files."""
    dropped = ("version", "files", "sha256")
    info = {name: value for name, value in data.info.items() if name not in dropped}
    return {**info, "format": "limner-shards", "encoding": encoding, "sha256": ""}
