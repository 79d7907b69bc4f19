"""Shards in the place of a prepared directory: the same facts, and pictures decoded when asked."""

import io
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from limner.core.errors import DataError
from limner.data.kept import KeptPictures
from limner.data.labels import class_counts
from limner.data.pictures import DECODE_ERRORS
from limner.data.prepared import PreparedData
from limner.data.shards.copies import Copies, index_of
from limner.data.shards.index import INDEX, Index, Row, check_tables
from limner.data.shards.place import Place
from limner.data.shards.png import from_png
from limner.data.sources.base import MAX_FILE_BYTES

ENCODINGS = {"png": "PNG", "jpeg": "JPEG"}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
WHOLE_SHARE = 16  # a store is asked for a whole shard where more than 1 / so many of it is wanted


class ShardPictures(KeptPictures):
    """The pictures of shards; see KeptPictures for what it answers to. All have one shape."""

    def __init__(self, index: Index, copies: Copies, most_open: int):
        """Read what the index says through the copies, of which so many stay open: what is open
        takes room on the disk when it is deleted, too."""
        channels, height, width = index.info["image_shape"]
        self.shape = (len(index), height, width, channels)
        self._index, self._copies, self._most_open = index, copies, most_open
        self._format, self._mode = ENCODINGS[index.info["encoding"]], MODES[channels]
        self._open: OrderedDict[int, int] = OrderedDict()  # shard -> descriptor, oldest first

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(
        self, rows: int | np.integer | slice | Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """The picture [H, W, C] of one row, or [n, H, W, C] of several, in whatever order; of a
        shard that is not on this machine and of which few are wanted, by themselves."""
        if isinstance(rows, (int, np.integer)):
            return self[[int(rows)]][0]
        numbers = range(len(self))
        if isinstance(rows, slice):
            chosen = np.arange(*rows.indices(len(self)))
        else:
            chosen = np.asarray([numbers[row] for row in np.asarray(rows, np.int64).tolist()])
        pictures = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for number, content in self._contents(chosen.tolist()):
            pictures[number] = self._decoded(int(chosen[number]), content)
        return pictures

    def picture(self, row: int) -> np.ndarray:
        """A picture uint8 [H, W, C], from its shard as a whole."""
        row = range(len(self))[row]
        return self._decoded(row, self._read(self._index.row(row)))

    def _contents(self, rows: list[int]) -> Iterator[tuple[int, bytes]]:
        """(place in `rows`, file) of each; from a store those of one shard after the other."""
        by_shard: dict[int, list[tuple[int, Row]]] = {}
        for number, row in enumerate(rows):
            found = self._index.row(row)
            by_shard.setdefault(found.shard, []).append((number, found))
        few: list[tuple[int, Row]] = []
        for shard, wanted in by_shard.items():
            num_images = self._copies.shards[shard].num_images
            if self._copies.has(shard) or len(wanted) * WHOLE_SHARE > num_images:
                yield from ((number, self._read(row)) for number, row in wanted)
            else:
                few += wanted
        names = [self._copies.shards[row.shard].name for _, row in few]
        if few:
            ranges = [(name, r.begin, r.end) for name, (_, r) in zip(names, few, strict=True)]
            found = self._copies.place.read_ranges(ranges)
            yield from zip((number for number, _ in few), found, strict=True)

    def _read(self, row: Row) -> bytes:
        size = min(row.end - row.begin, MAX_FILE_BYTES)
        content = os.pread(self._descriptor(row.shard), size, row.begin)
        if len(content) != row.end - row.begin:
            raise DataError(
                f"{self._copies.path(row.shard)}: ends before byte {row.end}; it has changed since "
                "it was checked"
            )
        return content

    def _descriptor(self, shard: int) -> int:
        known = self._open.get(shard)
        if known is not None:
            self._open.move_to_end(shard)
            return known
        if not self._copies.has(shard):
            self._copies.make_room([shard])
            self._copies.secure(shard)
        try:
            opened = os.open(self._copies.path(shard), os.O_RDONLY)
        except OSError as error:
            raise DataError(f"{self._copies.path(shard)}: {error.strerror}") from None
        self._open[shard] = opened
        if len(self._open) > self._most_open:
            os.close(self._open.popitem(last=False)[1])
        return opened

    def _decoded(self, row: int, content: bytes) -> np.ndarray:
        height, width, channels = self.shape[1:]
        pixels = from_png(content, (height, width, channels)) if self._format == "PNG" else None
        if pixels is not None:
            return pixels
        reason = f"not a {self._format} of {width}x{height} in mode {self._mode}"
        try:
            with Image.open(io.BytesIO(content), formats=(self._format,)) as picture:
                if picture.size == (width, height) and picture.mode == self._mode:
                    return np.asarray(picture).reshape(height, width, channels)
        except DECODE_ERRORS as error:
            reason = str(error)
        name = self._copies.path(self._index.row(row).shard)
        raise DataError(f"{name}: picture {row} of the set is damaged: {reason}")


class ShardedData(PreparedData):
    """A data set in shards. Pickles as its place.

    Attributes:
        window: shards whose pictures are mixed while training.
        firsts: int64 [shards + 1], the row of each shard's first picture, and behind the last.
        copies: the shards as files of this machine.
    """

    def __init__(self, place: Place, window: int = 8):
        """Read the index, and nothing else.

        Raises:
            DataError: no index is there, or it is damaged.
            ConfigError: the cache of copies cannot hold two windows.
        """
        path, key = index_of(place)
        index = Index(path, place.name_of(INDEX))
        self.directory, self.in_memory, self.window = Path(place.text), False, window
        self.copies = Copies(place, index.shards, key)
        self.copies.check_limit(window)
        self.info, self.firsts = index.info, index.firsts
        self.sha256: str = self.info["sha256"]
        self.class_names: list[str] = [entry["name"] for entry in self.info["classes"]]
        self.num_classes = len(self.class_names)
        channels, height, width = self.info["image_shape"]
        self.image_shape: tuple[int, int, int] = (channels, height, width)
        if channels not in MODES or self.info["encoding"] not in ENCODINGS:
            raise DataError(f"{self.place}: pictures of {channels} channels; write the shards anew")
        self.images = ShardPictures(index, self.copies, window + 1)
        self.labels = index.labels
        check_labels(self.labels, self.num_classes, place.name_of(INDEX))
        self.class_counts = class_counts(self.labels, self.num_classes)

    @property
    def place(self) -> str:
        """The folder or URL."""
        return self.copies.place.text

    def loaded(self) -> "ShardedData":
        """Refused: shards are for what does not fit into memory."""
        raise DataError(
            f"{self.place}: shards are read as they are needed; leave data.in_memory out"
        )

    def __reduce__(self) -> tuple[type["ShardedData"], tuple[Place, int]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ShardedData, (self.copies.place, self.window)

    def names(self) -> Sequence[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """SHARD/NUMBER of each picture, made as they are asked for."""
        return _Names(self)

    def verify(self) -> None:
        """Compare all with the recorded sha256; DataError names the first that differs. Fetches
        every shard that lies elsewhere."""
        path, _ = index_of(self.copies.place)
        check_tables(path, self.copies.place.name_of(INDEX))
        for number in range(len(self.copies.shards)):
            self.copies.make_room([number])
            self.copies.secure(number)


def check_labels(labels: np.ndarray, num_classes: int, name: str) -> None:
    """DataError where labels are none of the classes, or rows with numbers that are not finite."""
    if labels.ndim == 2:
        good = bool(num_classes and np.isfinite(labels).all())
    else:
        good = int(labels.min()) >= 0 and int(labels.max()) < max(1, num_classes)
    if not good:
        raise DataError(f"{name}: labels beyond its {num_classes} classes; copy it again")


class _Names(Sequence):
    def __init__(self, data: ShardedData):
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row):  # pyright: ignore[reportIncompatibleMethodOverride]
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        number = range(len(self))[row]
        shard = int(np.searchsorted(self._data.firsts, number, "right")) - 1
        return f"{self._data.copies.shards[shard].name}/{number:09d}"


def is_sharded(place: Place) -> bool:
    """Whether a data argument is a URL, or a folder with an index."""
    return place.is_url or (Path(place.text) / INDEX).is_file()
