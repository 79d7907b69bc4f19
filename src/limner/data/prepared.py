"""The prepared form: images.npy, labels.npy, names.json and dataset.json in one directory.

Version 1 holds squares, images.npy is [N, R, R, C]. Version 2 (settings: fit "keep") holds pictures
at their own aspects: images.npy is flat, picture after picture, and sizes.npy has their heights and
widths. Version 3 has labels that are rows of numbers, labels.npy is float32 [N, L]; its pictures
are as the setting fit says. What has the form of an earlier version is still written as that.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from limner.core.errors import DataError
from limner.core.files import read_json_value, sha256_of
from limner.data.kept import KeptPictures
from limner.data.labels import Labels, class_counts
from limner.formats.npy import read_npy_header

FORMAT = "limner-prepared"
SQUARES_VERSION, KEPT_VERSION, ROWS_VERSION = VERSIONS = 1, 2, 3
SETTINGS = ("resolution", "channels", "labels", "fit", "filter")
IMAGES, LABELS, NAMES, INFO = "images.npy", "labels.npy", "names.json", "dataset.json"
SIZES = "sizes.npy"


class PreparedData:
    """A prepared data set, its pictures memory-mapped. Pickles as its directory.

    Attributes:
        directory: where it lies.
        images: read-only uint8 memory map [N, H, W, C], or with `in_memory` an array; of a set that
            keeps the pictures' aspects a stand-in that gives their centred squares.
        labels: int64 [N], all zero where there are no classes; or float32 [N, num_classes], rows of
            numbers such as attributes.
        num_classes: classes, or columns of the rows; 0 where there are none.
        class_counts: int64 [num_classes], the pictures of each class, or those with a number other
            than 0 in each column.
        class_names: one a class or column.
        image_shape: (C, H, W).
        sha256: identity of pictures, labels, class names and settings; equal on every machine that
            prepared the same content to the same bytes.
        info: the content of dataset.json.
    """

    def __init__(self, directory: str | Path, in_memory: bool = False):
        """Map a prepared directory, or read its pictures into memory. Raises DataError where it is
        none, of another format version, or its files do not fit each other."""
        self.directory, self.in_memory = Path(directory), in_memory
        self.info = _read_info(self.directory)
        self.sha256: str = self.info["sha256"]
        self.class_names: list[str] = [entry["name"] for entry in self.info["classes"]]
        self.num_classes = len(self.class_names)
        channels, height, width = self.info["image_shape"]
        self.image_shape: tuple[int, int, int] = (channels, height, width)
        num_images = self.info["num_images"]
        self.images: np.ndarray | KeptPictures = self._images()
        self.labels: Labels = self._labels(num_images)
        self.class_counts = class_counts(self.labels, self.num_classes)

    def _labels(self, num_images: int) -> Labels:
        file = self.directory / LABELS
        if self.info["version"] == ROWS_VERSION:
            rows = _mapped(file, (num_images, self.num_classes), np.float32)
            if self.num_classes == 0 or not np.isfinite(rows).all():
                raise DataError(
                    f"{file}: rows without columns, or numbers that are not finite; "
                    "prepare the data again"
                )
            return rows
        labels = _mapped(file, (num_images,), np.int64)
        smallest, largest = int(labels.min()), int(labels.max())
        if smallest < 0 or largest >= max(1, self.num_classes):
            raise DataError(
                f"{file}: labels run from {smallest} to {largest}, "
                f"{INFO} names {self.num_classes} classes; prepare the data again"
            )
        return labels

    @property
    def place(self) -> str:
        """The directory, or where else it lies, as it is named to people and in files."""
        return str(self.directory)

    @property
    def label_rows(self) -> np.ndarray | None:
        """The labels where they are rows of numbers, else None."""
        return self.labels if self.labels.ndim == 2 else None

    def _images(self) -> "np.ndarray | KeptPictures":
        channels, height, width = self.info["image_shape"]
        num_images, file = self.info["num_images"], self.directory / IMAGES
        if self.info["settings"]["fit"] != "keep":
            values = _mapped(file, (num_images, height, width, channels), np.uint8)
            return np.array(values) if self.in_memory else values
        sizes = _mapped(self.directory / SIZES, (num_images, 2), np.int64)
        # In doubles first: sizes of a damaged file could overflow the exact sum.
        total = float(np.prod(sizes, axis=1, dtype=np.float64).sum()) * channels
        if height != width or (sizes.min(axis=1) != height).any() or total > 2**62:
            raise DataError(
                f"{self.directory / SIZES}: sizes without {height} as their short side; "
                "prepare the data again"
            )
        values = _mapped(file, (int(np.prod(sizes, axis=1).sum()) * channels,), np.uint8)
        values = np.array(values) if self.in_memory else values.view(np.ndarray)
        return KeptPictures(values, np.array(sizes), height, channels)

    def __len__(self) -> int:
        return len(self.images)

    def picture(self, row: int) -> np.ndarray:
        """A stored picture, uint8 [H, W, C]; a square unless aspects are kept."""
        if isinstance(self.images, KeptPictures):
            return self.images.picture(row)
        return self.images[row]

    def loaded(self) -> "PreparedData":
        """The same with its pictures in memory."""
        return self if self.in_memory else PreparedData(self.directory, in_memory=True)

    def __reduce__(self) -> tuple[type["PreparedData"], tuple[Path]]:
        return PreparedData, (self.directory,)

    def names(self) -> list[str]:
        """The pictures' names in their source, in the order of the arrays; DataError where the file
        that holds them is damaged."""
        file = self.directory / NAMES
        names = read_json_value(file, "prepare the data again", DataError)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{file}: not a list of names; prepare the data again")
        if len(names) != len(self):
            raise DataError(
                f"{file}: {len(names)} names for {len(self)} pictures; prepare it again"
            )
        return names

    def verify(self) -> None:
        """Compare all files with the recorded sha256; DataError names the first that differs."""
        for name, expected in self.info["files"].items():
            file = self.directory / name
            if not file.is_file():
                raise DataError(f"{file}: missing; prepare the data again")
            if sha256_of(file) != expected:
                raise DataError(f"{file}: changed since it was prepared; redo it")


def is_prepared(path: Path) -> bool:
    """Whether a directory has limner's dataset.json (StyleGAN has a file of that name too)."""
    file = path / INFO
    if not file.is_file():
        return False
    with open(file, "rb") as opened:
        return FORMAT.encode() in opened.read(200)


def identity_of_content(info: dict[str, Any]) -> str:
    """The sha256 of a prepared data set, from the fields of its dataset.json."""
    content = {
        "files": {name: info["files"][name] for name in info["files"] if name != NAMES},
        "classes": [entry["name"] for entry in info["classes"]],
        "settings": info["settings"],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class _Class(msgspec.Struct):
    name: str
    count: int


class _Refused(msgspec.Struct):
    name: str
    reason: str


class _Finding(msgspec.Struct):
    kind: str
    message: str


class _Sizes(msgspec.Struct):
    num_distinct: int
    smallest: tuple[int, int] | None
    largest: tuple[int, int] | None
    aspects: tuple[float, float] | None
    common: list[tuple[int, int, int]]


Positive = Annotated[int, msgspec.Meta(ge=1, le=2**40)]


class DatasetFacts(msgspec.Struct):
    """What is said of a data set, so that everybody may read it without asking."""

    sha256: str
    num_images: Positive
    image_shape: tuple[Positive, Positive, Positive]
    classes: list[_Class]
    settings: dict[str, int | str | list[float] | None]
    source: dict[Literal["kind", "name"], str]
    num_refused: int
    refused: list[_Refused]
    skipped: dict[str, int]
    notes: list[str]
    sizes: _Sizes


class _Info(DatasetFacts):
    """What dataset.json has to hold."""

    files: dict[Literal["images.npy", "labels.npy", "names.json", "sizes.npy"], str]
    warnings: list[_Finding] = []  # absent from what older versions prepared


def _read_info(directory: Path) -> dict[str, Any]:
    file = directory / INFO
    if not file.exists():
        raise DataError(f"{directory}: not a prepared directory (no {INFO} in it)")
    info = read_json_value(file, "prepare the data again", DataError)
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise DataError(f"{file}: not written by limner; give the source itself as data")
    if info.get("version") not in VERSIONS:
        raise DataError(
            f"{file}: format version {info.get('version')}, this limner reads {SQUARES_VERSION} "
            f"to {ROWS_VERSION}; prepare the data again"
        )
    try:
        json.dumps(info, ensure_ascii=False).encode()  # half characters, which no file can hold
        msgspec.convert(info, _Info)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:
        raise DataError(f"{file}: {error}; prepare the data again") from None
    check_facts(info, str(file))
    return info


def check_facts(info: dict[str, Any], where: str) -> None:
    """DataError where source or settings lack a field."""
    absent = [name for name in ("kind", "name") if name not in info["source"]]
    absent += [name for name in SETTINGS if name not in info["settings"]]
    if absent:
        raise DataError(f"{where}: '{absent[0]}' is missing; prepare the data again")


def _mapped(file: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> np.memmap:
    try:
        with open(file, "rb") as opened:
            header = read_npy_header(opened, str(file))
            num_bytes = opened.seek(0, 2)
    except OSError as error:
        raise DataError(
            f"{file}: cannot be read ({error.strerror}); prepare the data again"
        ) from None
    if header.shape != shape or header.is_fortran:
        raise DataError(
            f"{file}: shape {header.shape}, {INFO} says {shape}; prepare the data again"
        )
    if header.dtype != dtype:
        raise DataError(f"{file}: arrays of unexpected types; prepare the data again")
    if num_bytes != header.num_bytes:
        raise DataError(
            f"{file}: {num_bytes} bytes instead of {header.num_bytes}; prepare the data again"
        )
    start = header.num_header_bytes
    return np.memmap(file, header.dtype, mode="r", offset=start, shape=shape)
