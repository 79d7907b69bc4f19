"""What a recipe needs to know of pictures before any of them is prepared."""

import os
from collections import Counter

import numpy as np
from PIL import Image

from limner.core.errors import DataError
from limner.core.facts import Pictures
from limner.core.parts import tag_of
from limner.data.config import DataConfig
from limner.data.opening import changes_to
from limner.data.pictures import DECODE_ERRORS
from limner.data.prepared import PreparedData
from limner.data.sources import Source, find_source
from limner.data.survey import resolved

NUM_OPENED = 200  # pictures whose size is looked at, at most
SMALL_ONES = 0.1  # share of the pictures that may be smaller than `side`
HANDED = ("Digits", "Mnist", "MnistRgb", "Svhn")  # sources of what has a left and a right


def facts_of(data: str | os.PathLike[str] | Source) -> Pictures:
    """The facts about a source, by its listing and the headers of a few pictures.

    Raises:
        DataError: it cannot be read, or no picture that was tried can be.
    """
    found = resolved(data)
    if not isinstance(found, PreparedData):
        return _facts_of_source(found)
    counts = () if found.label_rows is not None else tuple(found.class_counts.tolist())
    return Pictures(
        num=len(found),
        side=min(found.image_shape[1:]),
        class_counts=counts,
        is_final=True,
        is_gray=found.image_shape[0] == 1,
        mirrors=found.info["source"]["kind"] not in HANDED,
    )


def settings_of(data: str | os.PathLike[str]) -> list[str]:
    """What makes a config take a prepared directory as it is, as `--set` takes it; nothing of a
    source."""
    found = resolved(data)
    if not isinstance(found, PreparedData):
        return []
    made = found.info["settings"]
    return [change for name in made for change in changes_to(name, made[name])]


def num_classes_of(data: str | os.PathLike[str], config: DataConfig | None = None) -> int:
    """How many classes data has, by its listing alone; 0 where labels are rows of numbers.

    Raises:
        DataError: it cannot be read.
    """
    if config is not None and config.source is not None:
        found = find_source(data, config.source)
    else:
        found = resolved(data)
    if isinstance(found, PreparedData):
        return 0 if found.label_rows is not None else found.num_classes
    listing = found.listing("classes" if config is None else config.listed)
    if config is not None and config.labels == "used":
        return len({item.label for item in listing.items if isinstance(item.label, int)})
    return len(listing.class_names)


def _facts_of_source(source: Source) -> Pictures:
    listing = source.listing("classes")
    counts: Counter[int] = Counter()
    sides: list[int] = []
    stride, num, all_gray = 1, 0, True
    for num, item in enumerate(listing.items, 1):
        if not isinstance(item.label, np.ndarray) and item.label is not None:
            counts[int(item.label)] += 1
        if num % stride:
            continue
        try:
            picture = item.open()
            sides.append(_short_side(picture))
            all_gray &= _is_gray(picture)
        except DataError:
            raise
        except DECODE_ERRORS:
            continue  # preparing refuses it, with its reason
        if len(sides) == NUM_OPENED:  # every second one is enough from here on
            sides, stride = sides[1::2], 2 * stride
    if not sides:
        told = [finding.message for finding in listing.warnings]
        lines = ["no picture could be read", *told, "limner data report says more"]
        raise DataError(f"{source.path}: {'; '.join(lines)}")
    side = int(np.quantile(sides, SMALL_ONES, method="lower"))
    return Pictures(
        num=num,
        side=side,
        class_counts=tuple(counts[i] for i in range(len(listing.class_names))),
        is_gray=all_gray,
        mirrors=tag_of(type(source)) not in HANDED,
    )


def _is_gray(picture: Image.Image | np.ndarray) -> bool:
    if isinstance(picture, np.ndarray):
        return picture.ndim == 2 or picture.shape[2] == 1
    return picture.mode[0] in "1LIF"


def _short_side(picture: Image.Image | np.ndarray) -> int:
    return min(picture.shape[:2] if isinstance(picture, np.ndarray) else picture.size)
