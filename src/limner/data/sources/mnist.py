"""MNIST in its own files (idx, gzipped or not), and digits stacked into colors (MNIST-RGB).

Fashion-MNIST, KMNIST and QMNIST come in the same files.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from limner.core.config import Config
from limner.core.errors import DataError
from limner.data.sources.base import Item, Labels, Listing, Source
from limner.data.sources.grouping import check_classes
from limner.formats.idx import AGAIN, MAX_ITEMS, idx_file

FOLDERS = ("", "raw", "MNIST/raw")  # torchvision's are below its root
IMAGE_FILES = ("train-images-idx3-ubyte", "train-images.idx3-ubyte")
LABEL_FILES = ("train-labels-idx1-ubyte", "train-labels.idx1-ubyte")
MAX_STACKED_BYTES = 2**29
Pad = Annotated[int, Meta(ge=0, le=1024)]
LEFT_OUT = "the test pictures are left out"


class Mnist(Config, Source, frozen=True):
    """The training pictures of a folder with train-images-idx3-ubyte(.gz) and
    train-labels-idx1-ubyte(.gz); ten classes.

    Fields:
        path: the folder, or torchvision's root around it.
        pad: black pixels on each side; 2 makes 28x28 to 32x32, as PGGAN's dataset_tool does.
    """

    path: str = ""
    pad: Pad = 2

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A folder with MNIST's files, or one that holds it."""
        return _found(path, IMAGE_FILES) is not None

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        images = _required(self.path, IMAGE_FILES)
        num_images = _image_sizes(images)[0]
        numbers, notes = None, [LEFT_OUT]
        if self.pad:
            notes.append(f"{self.pad} black pixels are added on each side")
        label_file = _found(images.parent, LABEL_FILES)
        if labels == "classes" and label_file is None:
            notes.append(f"no {LABEL_FILES[0]}: the pictures have no classes")
        elif labels == "classes" and label_file is not None:
            numbers = _labels(label_file, num_images)
        num_classes = 0 if numbers is None else max(10, int(numbers.max()) + 1)
        return Listing(
            items=(
                Item(f"{images.name}/{i}", None if numbers is None else int(numbers[i]), scan.copy)
                for i, scan in enumerate(_scans(images, self.pad))
            ),
            num_items=num_images,
            class_names=[str(number) for number in range(num_classes)],
            notes=notes,
        )


class MnistRgb(Config, Source, frozen=True):
    """Pictures of three of MNIST's digits, drawn at random, as red, green and blue: a data set of
    1,000 modes (Metz et al., 2017), without labels. The pictures are those of PGGAN's
    create_mnistrgb, in its order.

    Fields:
        path: the folder, as for `Mnist`.
        num_images: how many are made.
        seed: of numpy's RandomState, which draws them.
        pad: as for `Mnist`.
    """

    path: str = ""
    num_images: Annotated[int, Meta(ge=1, le=MAX_ITEMS)] = 1_000_000
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 123
    pad: Pad = 2

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        images = _required(self.path, IMAGE_FILES)
        sizes = _image_sizes(images)
        if math.prod(sizes) > MAX_STACKED_BYTES:
            raise DataError(
                f"{images}: {math.prod(sizes) >> 20} MB of digits, at most "
                f"{MAX_STACKED_BYTES >> 20} are held in memory to be stacked; give MNIST's own file"
            )
        return Listing(
            items=self._items(images),
            num_items=self.num_images,
            notes=["each picture has three digits as red, green and blue"],
        )

    def _items(self, images: Path) -> Iterator[Item]:
        scans = np.stack(list(_scans(images, self.pad)))
        random = np.random.RandomState(self.seed)
        for i in range(self.num_images):
            digits = scans[random.randint(len(scans), size=3)]
            yield Item(f"mnist-rgb/{i}", None, digits.transpose(1, 2, 0).copy)


def _found(path: Path, names: tuple[str, ...]) -> Path | None:
    for folder, name, suffix in itertools.product(FOLDERS, names, ("", ".gz")):
        if (path / folder / f"{name}{suffix}").is_file():
            return path / folder / f"{name}{suffix}"
    return None


def _required(path: str, names: tuple[str, ...]) -> Path:
    found = _found(Path(path), names)
    if found is None:
        raise DataError(f"{path}: no {names[0]} or {names[0]}.gz in it; give MNIST's folder")
    return found


# --- idx files -----------------------------------------------------------------


def _image_sizes(path: Path) -> tuple[int, ...]:
    with idx_file(path, 3) as (_, sizes):
        return sizes


def _scans(path: Path, pad: int) -> Iterator[np.ndarray]:
    """Pictures uint8 [H + 2 pad, W + 2 pad], one after the other."""
    with idx_file(path, 3) as (file, (num_images, height, width)):
        for number in range(num_images):
            content = file.read(height * width)
            if len(content) != height * width:
                raise DataError(f"{path}: it ends after {number} of {num_images} pictures; {AGAIN}")
            scan = np.frombuffer(content, np.uint8).reshape(height, width)
            yield np.pad(scan, pad)
        if file.read(1):
            raise DataError(f"{path}: it goes on after its {num_images} pictures; {AGAIN}")


def _labels(path: Path, num_images: int) -> np.ndarray:
    with idx_file(path, 1) as (file, (num_labels,)):
        if num_labels != num_images:
            raise DataError(f"{path}: {num_labels} labels for {num_images} pictures; {AGAIN}")
        content = file.read(num_labels + 1)
    if len(content) != num_labels:
        raise DataError(f"{path}: it does not end after its {num_labels} labels; {AGAIN}")
    numbers = np.frombuffer(content, np.uint8).astype(np.int64)
    check_classes(int(numbers.min()), int(numbers.max()), str(path))
    return numbers
