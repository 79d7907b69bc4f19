"""Shards as files of this machine: in their folder, or copied from a store into a bounded cache."""

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from filelock import FileLock

from limner.core.errors import ConfigError, DataError
from limner.core.files import cache_directory, sha256_of
from limner.data.shards.index import INDEX, LINE_BYTES, Shard, check_tables, first_line
from limner.data.shards.place import Place

LIMIT, DEFAULT_LIMIT = "LIMNER_SHARD_CACHE", "32 GB"
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Copies:
    """Where each shard can be read on this machine.

    Copies lie in `cache_directory()/shards/KEY`, which all processes of the machine share: one
    fetches a shard while the others wait for it. Together they take at most $LIMNER_SHARD_CACHE;
    those that were not used for longest are deleted first.

    Args:
        key: the name of the folder of copies, of the same index everywhere.
    """

    def __init__(self, place: Place, shards: Sequence[Shard], key: str):
        self.place, self.shards = place, shards
        self.folder = _root() / key if place.is_url else Path(place.text)

    def path(self, number: int) -> Path:
        """Where a shard is read, once it is there."""
        return self.folder / self.shards[number].name

    def has(self, number: int) -> bool:
        """Whether a shard is there, as long as it should be."""
        with contextlib.suppress(OSError):
            return self.path(number).stat().st_size == self.shards[number].num_bytes
        return False

    def secure(self, number: int, verified: bool = False) -> None:
        """Have a shard on this machine's disk, whole.

        Args:
            verified: it was compared with its sha256 before, so that its length is enough.

        Raises:
            DataError: it is damaged or cannot be fetched, in several attempts; names it.
        """
        shard = self.shards[number]
        if verified and self.has(number):
            self._touch(number)
            return
        if not self.place.is_url:
            self.place.patiently(shard.name, lambda: check(self.path(number), shard))
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f"{shard.name}.lock"):
            if self.has(number) and (verified or sha256_of(self.path(number)) == shard.sha256):
                self._touch(number)
                return
            self.place.patiently(shard.name, lambda: self._fetch(shard))

    def _touch(self, number: int) -> None:
        """Note that a copy is in use."""
        if self.place.is_url:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.path(number))

    def _fetch(self, shard: Shard) -> None:
        part = self.folder / f"{shard.name}.part"
        try:
            self.place.copy(shard.name, part)
            check(part, shard)
            os.replace(part, self.folder / shard.name)
        finally:
            part.unlink(missing_ok=True)

    def make_room(self, wanted: Iterable[int]) -> None:
        """Delete copies that are not wanted, of all sets, until those that are fit in."""
        if not self.place.is_url:
            return
        keep = {self.path(number) for number in wanted}
        missing = sum(self.shards[i].num_bytes for i in wanted if not self.has(i))
        _root().mkdir(parents=True, exist_ok=True)
        with FileLock(_root() / "room.lock"):
            there = list[tuple[float, int, Path]]()
            for path in _root().glob("*/*.tar"):
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    there.append((status.st_mtime, status.st_size, path))
            excess = missing + sum(size for _, size, _ in there) - limit()
            for _, size, path in sorted(there):
                if excess > 0 and path not in keep:
                    path.unlink(missing_ok=True)
                    excess -= size

    def check_limit(self, window: int) -> None:
        """ConfigError where two windows, the one that is shown and the next, do not fit in."""
        sizes = sorted((shard.num_bytes for shard in self.shards), reverse=True)
        needed = sum(sizes[: 2 * window])
        if self.place.is_url and needed > limit():
            raise ConfigError(
                f"{LIMIT}: {limit() / 1e9:.3g} GB do not hold two windows of {window} shards, "
                f"{needed / 1e9:.3g} GB; raise it, or lower data.shard_window"
            )


def check(path: Path, shard: Shard) -> None:
    """Raise OSError where a file is not the shard that the index names."""
    size = path.stat().st_size
    if size != shard.num_bytes:
        raise OSError(f"{size} bytes instead of {shard.num_bytes}")
    if sha256_of(path) != shard.sha256:
        raise OSError("damaged: its sha256 is not the index's")


def index_of(place: Place) -> tuple[Path, str]:
    """The index as a file of this machine, copied where it lies elsewhere; and its key.

    Raises:
        DataError: none is there, or it is damaged.
    """
    name = place.name_of(INDEX)
    if not place.is_url:
        with open(path := Path(place.text) / INDEX, "rb") as file:
            return path, first_line(file.read(LINE_BYTES), name)[0]
    line = place.begin_of(INDEX, LINE_BYTES)
    if line is None:
        raise DataError(
            f"{name}: no such file; `limner data shard` writes shards with their index, and other "
            "data are given as a path"
        )
    key = first_line(line, name)[0][:32]
    folder = _root() / key
    folder.mkdir(parents=True, exist_ok=True)
    path, part = folder / INDEX, folder / f"{INDEX}.part"
    with FileLock(folder / f"{INDEX}.lock"):
        if not path.exists():

            def fetch() -> None:
                place.copy(INDEX, part)
                check_tables(part, name)

            place.patiently(INDEX, fetch)
            os.replace(part, path)
    return path, key


def limit() -> int:
    """The bytes that copies may take together."""
    text = os.environ.get(LIMIT) or DEFAULT_LIMIT
    match = re.fullmatch(r"([0-9.]+)\s*([KMGT]?)B?", text.strip().upper())
    if match is None or match[1].count(".") > 1 or match[1] == ".":
        raise ConfigError(f"{LIMIT}: '{text}'; give a size, as 200 GB or 1.5 TB")
    return int(float(match[1]) * UNITS[match[2]])


def _root() -> Path:
    return cache_directory() / "shards"
