"""What every source of pictures provides."""

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from limner.core.config import Config, Part, encode, tag_of
from limner.core.errors import DataError
from limner.data.findings import Finding
from limner.data.labels import Label

Labels = Literal["classes", "none"]
LabelsAsked = Literal["classes", "used", "none"]  # "used": the classes that have pictures
MAX_FILE_BYTES = 256 * 2**20  # one picture file; larger ones are refused unread


class Item(NamedTuple):
    """One picture of a source: where it comes from, its label, and how to get it.

    The label is the number of a class, or float32 numbers [columns] such as attributes; then every
    picture of the source has such a row, and `Listing.class_names` names its columns.

    `open()` returns a PIL image or a uint8 array [H, W] or [H, W, C]; it may raise any of
    `pictures.DECODE_ERRORS`, and then the picture is refused with that reason.
    """

    name: str
    label: Label
    open: Callable[[], Image.Image | np.ndarray]


@dataclass
class Listing:
    """What a source holds. `items` is iterated once, in an order that never changes. `notes` say
    how it was read, `warnings` what is probably not meant."""

    items: Iterable[Item]
    num_items: int | None = None
    class_names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)


class Source(Part):
    """Marker of image sources.

    A source is a frozen Config with a field `path: str = ""`:

        class MyScans(Config, Source, frozen=True):
            path: str = ""

            def listing(self, labels):
                return Listing(items=(Item(...) for ...), class_names=["cat", "dog"])

    limner's own stand in `limner.data.sources.SOURCES` and also say by `reads(path)` whether a path
    is theirs. A user's class is named in `data.source` as "module:Class".
    """

    table = "limner.data.sources:SOURCES"
    path: str

    @classmethod
    def reads(cls, path: Path) -> bool:
        """Whether this path looks like this kind of source; only asked of limner's own."""
        return False

    def listing(self, labels: Labels) -> Listing:
        """The pictures; with labels="none" every item's label is None and no class is named. Raises
        DataError where the source as a whole cannot be read."""
        raise NotImplementedError

    def identity(self) -> str:
        """A hexadecimal digest that changes when the content may have changed.

        For a folder: the names (relative to it), sizes and modification times (nanoseconds) of all
        files in it; for a file: size, modification time and its first and last 64 kB. The place of
        the folder or file does not count, the source's own fields do.
        """
        digest = hashlib.sha256(tag_of(type(self)).encode())
        if isinstance(self, Config):
            fields = {name: value for name, value in encode(self).items() if name != "path"}
            digest.update(json.dumps(fields, sort_keys=True).encode())
        digest.update(identity_of(Path(self.path)).encode())
        return digest.hexdigest()


def with_beside(identity: str, beside: Path | None) -> str:
    """The identity of a file that a second one (its labels) belongs to; None: there is none."""
    if beside is None:
        return identity
    return hashlib.sha256(f"{identity} {identity_of(beside)}".encode()).hexdigest()


def identity_of(path: Path) -> str:
    """The digest that `Source.identity` describes, of a path; DataError where nothing is there."""
    digest = hashlib.sha256()
    if path.is_dir():
        for name, status in walk_files(path):
            line = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return digest.hexdigest()
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder; check the path given as data")
    status = path.stat()
    digest.update(f"{status.st_size}\0{status.st_mtime_ns}\n".encode())
    with open(path, "rb") as file:
        digest.update(file.read(65536))
        file.seek(max(0, status.st_size - 65536))
        digest.update(file.read(65536))
    return digest.hexdigest()


def walk_files(
    root: Path, refused: list[tuple[str, str]] | None = None
) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files below `root` as (relative name with "/", status), sorted by name.

    Symbolic links are followed; a directory that was read already is not entered again. What
    is neither a file nor a directory (pipes, sockets, devices, broken links) is never opened; it
    goes to `refused` with a reason. Hidden entries (".name", "__MACOSX") are yielded as files but
    hidden directories are not entered.
    """
    refused = [] if refused is None else refused
    # Each folder is read once: links that lead to it again could lead there in 2^n ways.
    read: dict[tuple[int, int], str] = {}
    waiting = [("", str(root), os.stat(root))]
    while waiting:
        relative, path, status = waiting.pop()
        if not stat.S_ISDIR(status.st_mode):
            yield relative, status
            continue
        here = (status.st_dev, status.st_ino)
        if here in read:
            refused.append((relative, _second_way(relative, read[here])))
            continue
        read[here] = relative
        prefix = relative + "/" if relative else ""
        waiting.extend(reversed(_entries(path, prefix, refused)))


def _second_way(relative: str, first: str) -> str:
    if not first or relative.startswith(first + "/"):
        return "symbolic link to a folder that contains it"
    return f"the same folder as {first}, which is read already"


def is_hidden(name: str) -> bool:
    """Whether any component of a relative name is one that people do not see or did not make."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


Entry = tuple[str, str, os.stat_result]  # relative name, path, status


def _entries(directory: str, prefix: str, refused: list[tuple[str, str]]) -> list[Entry]:
    """Files and folders of a directory, sorted by name."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        refused.append((prefix.rstrip("/") or ".", f"folder cannot be read: {error.strerror}"))
        return []
    entries: list[Entry] = []
    for name in names:
        path, relative = os.path.join(directory, name), prefix + name
        try:
            status = os.stat(path)
        except OSError as error:
            broken = "broken symbolic link" if os.path.islink(path) else f"{error.strerror}"
            refused.append((relative, broken))
            continue
        if stat.S_ISREG(status.st_mode) or (stat.S_ISDIR(status.st_mode) and not is_hidden(name)):
            entries.append((relative, path, status))
        elif not stat.S_ISDIR(status.st_mode) and not is_hidden(name):
            refused.append((relative, f"not a file but {_kind_of(status.st_mode)}; not opened"))
    return entries


def _kind_of(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
