"""The index of shards: one file that says which picture lies where.

A first line of LINE_BYTES, "limner-shards 1 SHA256 LENGTH" padded with blanks, where SHA256 is that
of the JSON header of LENGTH bytes behind it. The header has the fields of a prepared directory's
dataset.json, the shards in order (name, num_bytes, num_images, sha256), and the sha256 of the
tables. These follow, each from a multiple of 64 bytes on, a row a picture, in the order of the
shards: where its file begins in the shard (uint64), how many bytes it has (uint32), and its label
(int64, or float32 [columns]).
"""

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from limner.core.errors import DataError
from limner.data.labels import Labels
from limner.data.prepared import DatasetFacts, check_facts

INDEX = "shards.index"
MAGIC, VERSION, LINE_BYTES, ALIGNED = "limner-shards", 1, 128, 64
REMEDY = "copy it again, or write the shards anew"


class Shard(msgspec.Struct, frozen=True):
    """One tar file."""

    name: str
    num_bytes: int
    num_images: int
    sha256: str


class _Header(DatasetFacts):
    """What the header has to hold beside what dataset.json holds, too."""

    encoding: str
    has_rows: bool
    shards: list[Shard]
    tables_sha256: str


class Row(NamedTuple):
    """Where a picture lies."""

    shard: int
    begin: int
    end: int


class Index:
    """An index on this machine's disk, its tables memory-mapped.

    Attributes:
        info: the header; `shards` the tar files.
        firsts: int64 [shards + 1], the row of each one's first picture, and behind the last.
        labels: int64 [N], or float32 [N, columns].
    """

    def __init__(self, path: Path, name: str):
        """Map the file at a path; `name` stands in messages. Raises DataError where it is none, or
        is damaged."""
        with open(path, "rb") as file:
            digest, length = first_line(file.read(LINE_BYTES), name)
            header = file.read(length)
            size = file.seek(0, 2)
        self.info, self.shards = _header(header, digest, name)
        self._name = name
        counts = [shard.num_images for shard in self.shards]
        self.firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._firsts: list[int] = self.firsts.tolist()
        num = int(self.firsts[-1])
        columns = len(self.info["classes"]) if self.info["has_rows"] else 0
        layout = tables_layout(LINE_BYTES + length, num, columns)
        if num != self.info["num_images"] or size != layout[-1]:
            raise DataError(f"{name}: {size} bytes instead of {layout[-1]}; {REMEDY}")
        begins, sizes, labels = layout[:3]
        # Plain views, of which single values are had much faster.
        self._begins = np.memmap(path, "<u8", "r", begins, (num,)).view(np.ndarray)
        self._sizes = np.memmap(path, "<u4", "r", sizes, (num,)).view(np.ndarray)
        shape, dtype = ((num, columns), "<f4") if columns else ((num,), "<i8")
        self.labels: Labels = np.memmap(path, dtype, "r", labels, shape)

    def __len__(self) -> int:
        return len(self._sizes)

    def row(self, number: int) -> Row:
        """Where a picture lies; DataError where that is not in its shard."""
        shard = bisect_right(self._firsts, number) - 1
        begin, size = int(self._begins[number]), int(self._sizes[number])
        if begin + size > self.shards[shard].num_bytes:
            raise DataError(
                f"{self._name}: picture {number} ends beyond {self.shards[shard].name}; {REMEDY}"
            )
        return Row(shard, begin, begin + size)


def first_line(line: bytes, name: str) -> tuple[str, int]:
    """The header's sha256 and length in bytes."""
    words = line.decode("ascii", "replace").split()
    if len(line) != LINE_BYTES or words[:1] != [MAGIC] or len(words) != 4:
        raise DataError(f"{name}: not an index of shards, or damaged; {REMEDY}")
    if words[1] != str(VERSION):
        raise DataError(f"{name}: version {words[1]}, this limner reads {VERSION}; update limner")
    if not (words[3].isdecimal() and len(words[3]) < 12 and len(words[2]) == 64):
        raise DataError(f"{name}: damaged; {REMEDY}")
    return words[2], int(words[3])


def tables_layout(begin: int, num: int, columns: int) -> list[int]:
    """Where the three tables begin behind a header that ends there, and where the file ends."""
    places = list[int]()
    for row_bytes in (8, 4, 4 * columns or 8):
        begin = math.ceil(begin / ALIGNED) * ALIGNED
        places.append(begin)
        begin += row_bytes * num
    return [*places, begin]


def _header(text: bytes, digest: str, name: str) -> tuple[dict[str, Any], list[Shard]]:
    if hashlib.sha256(text).hexdigest() != digest:
        raise DataError(f"{name}: damaged, its header is not the one that was written; {REMEDY}")
    info = json.loads(text)
    try:
        header = msgspec.convert(info, _Header)
    except msgspec.ValidationError as error:
        raise DataError(f"{name}: {error}; {REMEDY}") from None
    check_facts(info, name)
    if any(shard.num_images < 1 or "/" in shard.name for shard in header.shards):
        raise DataError(f"{name}: a shard without pictures, or outside its folder; {REMEDY}")
    return info, header.shards


def write_index(
    path: Path,
    info: dict[str, Any],
    shards: Sequence[Shard],
    begins: np.ndarray,
    sizes: np.ndarray,
    labels: Labels,
) -> None:
    """Write the file; `info` is that of a dataset.json, without what only the index has."""
    tables = [begins.astype("<u8"), sizes.astype("<u4")]
    tables.append(labels.astype("<i8" if labels.ndim == 1 else "<f4"))
    digest = hashlib.sha256()
    for table in tables:
        digest.update(table.data)
    content = {
        "shards": [msgspec.to_builtins(shard) for shard in shards],
        "tables_sha256": digest.hexdigest(),
        "settings": info["settings"],
        "classes": [entry["name"] for entry in info["classes"]],
    }
    identity = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    info = {**info, "sha256": identity, "has_rows": labels.ndim == 2, "files": {}}
    info |= {"shards": content["shards"], "tables_sha256": content["tables_sha256"]}
    header = json.dumps(info, ensure_ascii=False).encode()
    line = f"{MAGIC} {VERSION} {hashlib.sha256(header).hexdigest()} {len(header)}"
    columns = labels.shape[1] if labels.ndim == 2 else 0
    places = tables_layout(LINE_BYTES + len(header), len(sizes), columns)
    with open(path, "wb") as file:
        file.write(line.encode().ljust(LINE_BYTES - 1) + b"\n" + header)
        for place, table in zip(places, tables, strict=False):
            file.write(bytes(place - file.tell()))
            file.write(table.data)


def check_tables(path: Path, name: str) -> None:
    """Compare the tables with the sum in the header; DataError where they differ."""
    index = Index(path, name)
    digest = hashlib.sha256()
    for table in (index._begins, index._sizes, index.labels):
        for first in range(0, len(table), 2**20):
            digest.update(np.ascontiguousarray(table[first : first + 2**20]).data)
    if digest.hexdigest() != index.info["tables_sha256"]:
        raise DataError(f"{name}: damaged; {REMEDY}")
