"""The prepared form: images.npy, labels.npy, names.json and dataset.json in one directory."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from limner.core.errors import DataError
from limner.core.files import sha256_of

FORMAT, FORMAT_VERSION = "limner-prepared", 1
IMAGES, LABELS, NAMES, INFO = "images.npy", "labels.npy", "names.json", "dataset.json"


class PreparedData:
    """A prepared data set, its pictures memory-mapped. Pickles as its directory.

    Attributes:
        directory: where it lies.
        images: read-only uint8 memory map [N, H, W, C].
        labels: int64 [N]; all zero where there are no classes.
        num_classes: 0 where there are none.
        class_names: one a class.
        image_shape: (C, H, W).
        sha256: identity of pictures, labels, class names and settings; equal on every machine that
            prepared the same content to the same bytes.
        info: the content of dataset.json.
    """

    def __init__(self, directory: str | Path):
        """Map a prepared directory.

        Raises:
            DataError: it is none, of another format version, or its files do not fit each other.
        """
        self.directory = Path(directory)
        self.info = _read_info(self.directory)
        self.sha256: str = self.info["sha256"]
        self.class_names: list[str] = [entry["name"] for entry in self.info["classes"]]
        self.num_classes = len(self.class_names)
        channels, height, width = self.info["image_shape"]
        self.image_shape: tuple[int, int, int] = (channels, height, width)
        num_images = self.info["num_images"]
        self.images = _mapped(self.directory / IMAGES, (num_images, height, width, channels))
        self.labels = _mapped(self.directory / LABELS, (num_images,))
        if self.images.dtype != np.uint8 or self.labels.dtype != np.int64:
            raise DataError(f"{self.directory}: arrays of unexpected types; prepare it again")

    def __len__(self) -> int:
        return len(self.images)

    def __reduce__(self) -> tuple[type["PreparedData"], tuple[Path]]:
        return PreparedData, (self.directory,)

    def names(self) -> list[str]:
        """The pictures' names in their source, in the order of the arrays."""
        return json.loads((self.directory / NAMES).read_text())

    def verify(self) -> None:
        """Read all files and compare them with the recorded sha256.

        Raises:
            DataError: names the first file that is not what was prepared.
        """
        for name, expected in self.info["files"].items():
            if sha256_of(self.directory / name) != expected:
                raise DataError(f"{self.directory / name}: changed since it was prepared; redo it")


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
        "files": {name: info["files"][name] for name in (IMAGES, LABELS)},
        "classes": [entry["name"] for entry in info["classes"]],
        "settings": info["settings"],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_info(directory: Path) -> dict[str, Any]:
    file = directory / INFO
    try:
        info = json.loads(file.read_bytes())
    except OSError:
        raise DataError(f"{directory}: not a prepared directory (no {INFO} in it)") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not valid JSON ({error}); prepare the data again") from None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise DataError(f"{file}: not written by limner; give the source itself as data")
    if info.get("version") != FORMAT_VERSION:
        raise DataError(
            f"{file}: format version {info.get('version')}, this limner reads {FORMAT_VERSION}; "
            "prepare the data again"
        )
    needed = ("sha256", "classes", "image_shape", "num_images", "files", "settings")
    missing = [key for key in needed if key not in info]
    if missing:
        raise DataError(f"{file}: '{missing[0]}' is missing; prepare the data again")
    return info


def _mapped(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: {error}; prepare the data again") from None
    if array.shape != shape:
        raise DataError(f"{file}: shape {array.shape}, {INFO} says {shape}; prepare the data again")
    return array
