"""Images made elsewhere, read as they are: for a score nothing may be resized."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from limner.core.errors import LimnerError
from limner.data import Item, PreparedData
from limner.data.pictures import DECODE_ERRORS, fitted, to_eight_bits
from limner.data.prepared import is_prepared
from limner.data.sources import Listing, find_source
from limner.data.sources.arrays import ArrayFile

Progress = Callable[[int, int | None], None]


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


def read_pictures(place: str | Path, num: int | None, progress: Progress) -> Pictures:
    """Pictures of a folder, zip, .npz or prepared directory, all of one size, none resized.

    Args:
        place: the file or folder.
        num: so many, spread evenly over all; None takes all.
        progress: called with (pictures read, their number).

    Raises:
        LimnerError: none there, one that cannot be read, fewer than num, or mixed sizes.
    """
    path = Path(place).expanduser()
    if is_prepared(path):
        data = PreparedData(path)
        picked = _spread(len(data), num, path)
        single = data.num_classes and data.label_rows is None
        labels = data.labels[picked].tolist() if single else None
        return Pictures(data.images[picked], labels, data.class_names)
    listing = _listing(path)
    items = list(listing.items)
    if not items:
        raise LimnerError(f"{path}: no picture in it; give a folder of pictures or an .npz")
    items = [items[i] for i in _spread(len(items), num, path)]
    decoded = []
    for item in items:
        decoded.append(_decoded(item, path))
        progress(len(decoded), len(items))
    pixels = _in_one_form(decoded, items, path)
    labels = [item.label for item in items if isinstance(item.label, int)]
    if len(labels) < len(items) or _says_no_classes(listing, labels, path):
        return Pictures(pixels, None, [])
    return Pictures(pixels, labels, listing.class_names)


def _listing(path: Path) -> Listing:
    source = find_source(str(path))
    if isinstance(source, ArrayFile):
        with np.load(path, allow_pickle=False) as arrays:
            mixed = "y" in arrays and arrays["y"].dtype.kind == "f"
        return source.listing("none" if mixed else "classes")  # mixed classes are no label
    return source.listing("classes")


def _says_no_classes(listing: Listing, labels: list[int], path: Path) -> bool:
    # `limner sample` writes zeros for a model without classes
    return path.suffix.lower() == ".npz" and not any(labels)


def _spread(total: int, num: int | None, path: Path) -> list[int]:
    if num is None or num == total:
        return list(range(total))
    if num > total:
        raise LimnerError(f"{path}: it holds {total} images, fewer than --num {num}")
    return [i * total // num for i in range(num)]


def _decoded(item: Item, path: Path) -> np.ndarray:
    """uint8 [H, W, C] with the picture's own size."""
    try:
        picture = to_eight_bits(item.open())
    except DECODE_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LimnerError(f"{path}: {item.name} cannot be read ({reason}); remove it") from None
    if isinstance(picture, np.ndarray):
        return picture
    width, height = picture.size
    if width != height:
        raise LimnerError(
            f"{path}: {item.name} is {width}x{height}; pictures are compared as squares, and "
            "nothing is resized here: bring both sides to one square size by limner data prepare"
        )
    return fitted(picture, width, None if picture.mode != "L" else 1, "crop", "nearest")


def _in_one_form(decoded: list[np.ndarray], items: list[Item], path: Path) -> np.ndarray:
    """One array; gray pictures among colored ones get three equal channels."""
    channels = max(pixels.shape[2] for pixels in decoded)
    height, width = decoded[0].shape[:2]
    for pixels, item in zip(decoded, items, strict=True):
        if pixels.shape[:2] != (height, width) or pixels.shape[2] not in (1, channels):
            raise LimnerError(
                f"{path}: {item.name} is {pixels.shape[1]}x{pixels.shape[0]}, "
                f"{items[0].name} is {width}x{height}; images are scored as they are, so give "
                "them in one size"
            )
    return np.stack(
        [
            pixels if pixels.shape[2] == channels else np.repeat(pixels, channels, axis=2)
            for pixels in decoded
        ]
    )
