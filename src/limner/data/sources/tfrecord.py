"""TFRecords of several resolutions, as PGGAN and StyleGAN train on; the largest is read."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from limner.core.config import Config
from limner.core.errors import DataError, printable
from limner.data.findings import Finding, examples
from limner.data.sources.arrays import (
    class_numbers,
    label_of,
    label_rows,
    note_on_rows,
)
from limner.data.sources.base import Item, Labels, Listing, Source, with_beside
from limner.data.sources.grouping import MAX_CLASSES
from limner.formats.npy import read_blocks, read_npy_header
from limner.formats.tfrecords import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    LEVEL_FILE,
    labels_name,
    pixels_of,
    records_of,
)

SUFFIX = ".tfrecords"


class TfrecordSet(Config, Source, frozen=True):
    """The pictures of the highest resolution of a folder NAME-rXX.tfrecords, or those of one
    .tfrecords file; classes are the one-hot rows of NAME-rxx.labels beside it, and rows that are
    not one-hot (attributes) stay rows. Checksums are verified. Needs the extra "tfrecord"."""

    path: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A .tfrecords file, or a folder that has some named by their resolution."""
        if path.is_dir():
            return bool(_level_files(path))
        return path.suffix == SUFFIX and path.is_file()

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        file = self._file()
        num_images = _num_records(file)
        labels_path = _labels_beside(file) if labels == "classes" else None
        held, width, notes = None, 0, []
        if labels_path is not None:
            held, width = _labels_in(labels_path)
            if held is not None and num_images not in (None, len(held)):
                raise _misfit(labels_path, len(held), file, str(num_images))
            if held is not None and held.ndim == 2:
                notes.append(note_on_rows(labels_path.name, width))
        if Path(self.path).is_dir():
            notes.append(f"read from {printable(file.name)}; the lower resolutions are left out")
        return Listing(
            items=_items(file, labels_path, held),
            num_items=num_images,
            class_names=[str(number) for number in range(width)],
            notes=notes,
            warnings=_unread_labels(file) if labels == "classes" and labels_path is None else [],
        )

    def identity(self) -> str:
        """That of the folder, or of the file and the labels beside it."""
        path = Path(self.path)
        beside = _labels_beside(path) if path.is_file() else None
        return with_beside(super().identity(), beside)

    def _file(self) -> Path:
        path = Path(self.path)
        if not path.is_dir():
            return path
        files = _level_files(path)
        if not files:
            raise DataError(f"{path}: no NAME-rXX{SUFFIX} in it; give the folder that holds them")
        names = sorted({name for _, name in files})
        if len(names) > 1:
            shown = printable(", ".join(names[:3]))
            raise DataError(f"{path}: files of several sets ({shown}); give one of the files")
        return files[max(files)]


def _level_files(folder: Path) -> dict[tuple[int, str], Path]:
    """(log2 of the resolution, name of the set) -> file."""
    files: dict[tuple[int, str], Path] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        match = LEVEL_FILE.fullmatch(path.name)
        if match is not None and path.is_file():
            files[int(match[2]), match[1]] = path
    return files


def _num_records(file: Path) -> int | None:
    """Their number where all are as long as the first, which pictures of one size are."""
    size = file.stat().st_size
    with open(file, "rb") as opened:
        header = opened.read(HEADER_BYTES)
    length = HEADER_BYTES + int.from_bytes(header[:8], "little") + CHECKSUM_BYTES
    if size == 0:
        raise DataError(f"{file}: empty; copy it again or write it anew")
    return None if size % length else size // length


def _own_labels(file: Path) -> Path:
    match = LEVEL_FILE.fullmatch(file.name)
    return file.with_name(labels_name(match[1] if match else file.stem))


def _labels_beside(file: Path) -> Path | None:
    own = _own_labels(file)
    if own.is_file():
        return own
    found = [path for path in sorted(file.parent.glob("*.labels")) if path.is_file()]
    return found[0] if len(found) == 1 else None  # a set that was renamed, as the originals take it


def _unread_labels(file: Path) -> list[Finding]:
    several = sorted(path.name for path in file.parent.glob("*.labels") if path.is_file())
    if not several:
        return []
    text = (
        f"{printable(examples(several))}: which of them belongs to {printable(file.name)} is open, "
        f"and none is read; call it {printable(_own_labels(file).name)}"
    )
    return [Finding("labels_lost", text)]


def _labels_in(path: Path) -> tuple[np.ndarray | None, int]:
    """Class numbers int64 [N] of one-hot rows, else the rows float32 [N, columns], and the number
    of classes or columns; None and 0 for rows without columns. Raises DataError for anything else,
    a number that is not finite, or a length that is not what it says."""
    with open(path, "rb") as file:
        header = read_npy_header(file, str(path))
        size = path.stat().st_size
        if header.num_bytes != size:
            raise DataError(f"{path}: {size} bytes instead of {header.num_bytes}; copy it again")
        shape = header.shape
        if len(shape) == 2 and shape[1] == 0:
            return None, 0
        fits = len(shape) == 2 and shape[0] > 0 and shape[1] <= MAX_CLASSES
        if not fits or header.is_fortran:
            raise DataError(
                f"{path}: shape {shape[:4]}{' in columns' if header.is_fortran else ''}; limner "
                f"takes rows [N, classes] of up to {MAX_CLASSES} numbers: write them anew, or read "
                "the pictures without labels (--labels none, data.labels=none)"
            )
        begin, labels = file.tell(), None
        if shape[1] > 1:
            blocks = read_blocks(file, header, str(path))
            labels = class_numbers(blocks, header.dtype, shape, shape[0])
        if labels is None:
            file.seek(begin)
            labels = label_rows(read_blocks(file, header, str(path)), str(path))
    return labels, shape[1]


def _items(file: Path, labels_path: Path | None, labels: np.ndarray | None) -> Iterator[Item]:
    count = 0
    for offset, content in records_of(file):
        pixels = pixels_of(content, file, offset).transpose(1, 2, 0)
        if labels is not None and labels_path is not None and count >= len(labels):
            raise _misfit(labels_path, len(labels), file, f"more than {len(labels)}")
        yield Item(f"{printable(file.name)}/{count}", label_of(labels, count), pixels.copy)
        count += 1
    if labels is not None and labels_path is not None and count != len(labels):
        raise _misfit(labels_path, len(labels), file, str(count))


def _misfit(labels_path: Path, num_labels: int, file: Path, num_images: str) -> DataError:
    return DataError(
        f"{labels_path}: {num_labels} labels, {file.name} has {num_images} pictures; copy both "
        "again, or read the pictures without labels (--labels none, data.labels=none)"
    )
