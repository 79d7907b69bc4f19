"""Images made elsewhere, read as they are: for a score nothing may be resized."""

import math
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limner.core.counting import Progress
from limner.core.errors import DataError, LimnerError
from limner.data import Item
from limner.data.decoding import Decoder
from limner.data.opening import standing
from limner.data.pictures import DECODE_ERRORS, fitted
from limner.data.sources import Listing, find_source
from limner.data.sources.arrays import ArrayFile
from limner.data.sources.hdf5 import Hdf5File
from limner.formats.npy import read_npy_header
from limner.formats.zips import opened, problems_as

# What PNGs of limner say of the state that made them.
ORIGIN = ("model_sha256", "step", "truncation", "truncation_mode", "truncation_cutoff")
MOST_SHOWN = 4  # states
BYTES_IN_MEMORY = 1 << 28  # more lie in a file that goes with the process


@dataclass(frozen=True)
class Pictures:
    """uint8 [N, H, W, C], and labels with the names that they index, or None."""

    images: np.ndarray
    labels: list[int] | None
    class_names: list[str]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, height, width, channels = self.images.shape
        return channels, height, width


def read_pictures(
    place: str | Path, num: int | None = None, progress: Progress = lambda done, total: None
) -> Pictures:
    """Pictures of a folder, zip, .npz or prepared directory, all of one size, none resized; a
    warning where they say themselves that several models or states made them.

    Args:
        num: so many, spread evenly over all; None takes all.
        progress: called with (pictures read, their number).

    Raises:
        LimnerError: none there, one that cannot be read, fewer than num, or mixed sizes.
    """
    path = Path(place).expanduser()
    data = standing(place)
    if data is not None:
        picked = _spread(len(data), num, path)
        single = data.num_classes and data.label_rows is None
        labels = data.labels[picked].tolist() if single else None
        return Pictures(data.images[picked], labels, data.class_names)
    _check_numbers(path)
    listing = _listing(path)
    total = listing.num_items
    if total is None:
        total = sum(1 for _ in listing.items)
        listing = _listing(path)
    if not total:
        raise LimnerError(f"{path}: no picture in it; give a folder of pictures or an .npz")
    chosen = set(_spread(total, num, path))
    pictures = (item for i, item in enumerate(listing.items) if i in chosen)
    pixels, labels = _in_one_form(pictures, len(chosen), path, progress)
    if len(labels) < len(chosen) or _says_no_classes(labels, path):
        return Pictures(pixels, None, [])
    return Pictures(pixels, labels, listing.class_names)


def _listing(path: Path) -> Listing:
    source = find_source(str(path))
    mixed = isinstance(source, ArrayFile) and _has_mixed_classes(path)
    return source.listing("none" if mixed else "classes")  # mixed classes are no label


def _check_numbers(path: Path) -> None:
    """Refuse arrays that would have to be scaled."""
    source = find_source(str(path))
    if not isinstance(source, (ArrayFile, Hdf5File)):
        return
    first = next(iter(source.listing("none").items), None)
    values = None if first is None else first.open()
    if isinstance(values, np.ndarray) and values.dtype != np.uint8:
        raise LimnerError(
            f"{path}: values of {values.dtype}; images are scored as they are: store them as uint8 "
            "0..255"
        )


def _has_mixed_classes(path: Path) -> bool:
    """Whether "y" holds floats, as `limner sample --y` writes them."""
    with opened(str(path), "an .npz") as archive:
        if "y.npy" not in archive.namelist():
            return False
        where = f"{path}: y"
        with problems_as(DataError, where, "write the file again"), archive.open("y.npy") as file:
            return read_npy_header(file, where).dtype.kind == "f"


def _says_no_classes(labels: list[int], path: Path) -> bool:
    # `limner sample` writes zeros for a model without classes
    return path.suffix.lower() == ".npz" and not any(labels)


def _spread(total: int, num: int | None, path: Path) -> list[int]:
    if num is None or num == total:
        return list(range(total))
    if num > total:
        raise LimnerError(f"{path}: it holds {total} images, fewer than --num {num}")
    return [i * total // num for i in range(num)]


def _decoded(item: Item, path: Path, decode: Decoder, origins: Counter[str]) -> np.ndarray:
    """uint8 [H, W, C] with the picture's own size; what made it is counted."""
    try:
        origins[_origin(item)] += 1
        picture = decode(item)
    except DECODE_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LimnerError(f"{path}: {item.name} cannot be read ({reason}); remove it") from None
    if isinstance(picture, np.ndarray):
        return picture
    size = (picture.height, picture.width)
    return fitted(picture, size, None if picture.mode != "L" else 1, "crop", "nearest")


def _in_one_form(
    items: Iterable[Item], num: int, path: Path, progress: Progress
) -> tuple[np.ndarray, list[int]]:
    """One array, on the disk where it is large, and the labels that there are; gray pictures among
    colored ones get three equal channels."""
    pixels, first, labels = None, "", []
    origins: Counter[str] = Counter()
    decode = Decoder(again=lambda: _listing(path).items)
    for i, item in enumerate(items):
        picture = _decoded(item, path, decode, origins)
        if pixels is None:
            pixels, first = _room(num, picture.shape), item.name
        size, channels = pixels.shape[1:3], pixels.shape[3]
        if picture.shape[:2] != size or (
            picture.shape[2] != channels and channels > 1 < picture.shape[2]
        ):
            raise LimnerError(
                f"{path}: {item.name} is {picture.shape[1]}x{picture.shape[0]}, "
                f"{first} is {size[1]}x{size[0]}; images are scored as they are, so give "
                "them in one size"
            )
        if picture.shape[2] > channels:
            wider = _room(num, picture.shape)
            wider[:i] = pixels[:i]
            pixels = wider
        pixels[i] = picture
        if isinstance(item.label, int):
            labels.append(item.label)
        progress(i + 1, num)
    for finding in decode.findings()[1]:
        warnings.warn(f"{path}: {finding.message}", stacklevel=2)
    assert pixels is not None
    if len(origins) > 1:
        parts = [f"{count} of {origin}" for origin, count in origins.most_common(MOST_SHOWN)]
        warnings.warn(
            f"{path}: its pictures are of {len(origins)} states, {', '.join(parts)}; a score of "
            "all is one of none of them",
            stacklevel=2,
        )
    return pixels, labels


def _origin(item: Item) -> str:
    """The state that a picture says it is of."""
    picture = item.open()
    text = {} if isinstance(picture, np.ndarray) else picture.info
    found = {key: str(text[key])[:12] for key in ORIGIN if key in text}
    return " ".join(f"{key} {value}" for key, value in found.items()) or "no state that is told"


def _room(num: int, shape: tuple[int, ...]) -> np.ndarray:
    whole = (num, *shape)
    if math.prod(whole) <= BYTES_IN_MEMORY:
        return np.empty(whole, np.uint8)
    with tempfile.TemporaryFile() as file:  # the map keeps it
        return np.memmap(file, np.uint8, mode="w+", shape=whole)
