"""SVHN's cropped digits: the official train_32x32.mat, or the pickles that PGGAN's tool reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from limner.core.config import Config
from limner.core.errors import DataError
from limner.core.limits import MAX_PIXELS
from limner.data.sources.base import Item, Labels, Listing, Source
from limner.data.sources.cifar_pickle import built, read_arrays
from limner.formats.matlab import variable

MATLAB_FILE = "train_32x32.mat"
PICKLES = tuple(f"train_{i}.pkl" for i in range(1, 4))
NUM_DIGITS = 10
MAX_LABELS = 10**7


class Svhn(Config, Source, frozen=True):
    """The 73,257 training pictures of a folder with train_32x32.mat (its label 10 is the digit 0)
    or train_1.pkl to train_3.pkl (pairs of pictures uint8 [N, 3, 32, 32] and digits), read without
    running anything. Ten classes. The extra and test pictures are left out."""

    path: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A folder with either form, or the .mat file itself."""
        return _matlab_file(path) is not None or (path / PICKLES[0]).is_file()

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        path = Path(self.path)
        notes = ["the extra and test pictures are left out"]
        names = [str(digit) for digit in range(NUM_DIGITS)] if labels == "classes" else []
        file = _matlab_file(path)
        if file is not None:
            shape = _picture_shape(file)
            digits = _matlab_digits(file, shape[3]) if names else None
            return Listing(_matlab_items(file, digits), shape[3], names, notes)
        held = [path / name for name in PICKLES if (path / name).is_file()]
        if not held:
            raise DataError(f"{path}: no {MATLAB_FILE} and no {PICKLES[0]} in it")
        if len(held) < len(PICKLES):
            notes.append(f"{len(held)} of {len(PICKLES)} train_N.pkl files are there")
        return Listing(_pickled_items(held, bool(names)), None, names, notes)


def _matlab_file(path: Path) -> Path | None:
    if path.name == MATLAB_FILE and path.is_file():
        return path
    return path / MATLAB_FILE if (path / MATLAB_FILE).is_file() else None


def _picture_shape(file: Path) -> tuple[int, ...]:
    """(H, W, C, N) of the pictures; DataError where they are not of that form."""
    with variable(file, "X") as (_, shape, dtype):
        fits = len(shape) == 4 and shape[2] == 3 and 0 not in shape
        if not fits or dtype != np.uint8 or shape[0] * shape[1] > MAX_PIXELS:
            raise DataError(
                f"{file}: X is {dtype} {list(shape[:6])}, not uint8 [32, 32, 3, N]; "
                "download the file again"
            )
        return shape


def _matlab_digits(file: Path, num_images: int) -> np.ndarray:
    with variable(file, "y") as (values, shape, dtype):
        if sorted(shape) != sorted((num_images, 1)) or num_images > MAX_LABELS:
            raise DataError(
                f"{file}: y has shape {list(shape[:6])} for {num_images} pictures; "
                "download the file again"
            )
        digits = np.frombuffer(values.read(num_images * dtype.itemsize), dtype)
    return _checked(np.where(digits == NUM_DIGITS, 0, digits), str(file))


def _checked(digits: np.ndarray, where: str) -> np.ndarray:
    if not np.isin(digits, np.arange(NUM_DIGITS)).all():
        raise DataError(f"{where}: labels that are no digits; download the file again")
    return digits.astype(np.int64)


def _matlab_items(file: Path, digits: np.ndarray | None) -> Iterator[Item]:
    with variable(file, "X") as (values, shape, _):
        height, width, channels, num_images = shape
        for i in range(num_images):
            content = values.read(height * width * channels)
            # MATLAB's first axis lies closest together, the pictures one after the other.
            pixels = np.frombuffer(content, np.uint8).reshape(channels, width, height)
            label = None if digits is None else int(digits[i])
            yield Item(f"{file.name}/{i}", label, pixels.transpose(2, 1, 0).copy)


def _pickled_items(files: list[Path], labelled: bool) -> Iterator[Item]:
    for file in files:
        images, digits = read_arrays(file, "SVHN", _pair_of)
        digits = _checked(digits, str(file))
        for i, (pixels, digit) in enumerate(zip(images, digits, strict=True)):
            label = int(digit) if labelled else None
            yield Item(f"{file.name}/{i}", label, pixels.transpose(1, 2, 0).copy)


def _pair_of(tree: Any) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(tree, (tuple, list)) or len(tree) < 2:
        raise ValueError("no pair of pictures and digits")
    images, digits = built(tree[0]), built(tree[1])
    if isinstance(digits, list) and all(type(digit) is int for digit in digits):
        digits = np.asarray(digits)
    if not isinstance(images, np.ndarray) or images.ndim != 4 or images.shape[1:] != (3, 32, 32):
        raise ValueError("no pictures [N, 3, 32, 32]")
    if not isinstance(digits, np.ndarray) or digits.shape != images.shape[:1]:
        raise ValueError(f"not one digit for each of {len(images)} pictures")
    return images, digits
