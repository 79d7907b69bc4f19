"""What a recipe needs to know of pictures before any of them is prepared."""

import os
from collections import Counter

import numpy as np
from PIL import Image

from limner.core.errors import DataError
from limner.core.facts import Pictures
from limner.data.pictures import DECODE_ERRORS
from limner.data.prepared import PreparedData
from limner.data.sources import Source
from limner.data.survey import resolved

NUM_OPENED = 200  # pictures whose size is looked at, at most
SMALL_ONES = 0.1  # share of the pictures that may be smaller than `side`


def facts_of(data: str | os.PathLike[str]) -> Pictures:
    """The facts about a source, by its listing and the headers of a few pictures.

    Raises:
        DataError: it cannot be read, or no picture that was tried can be.
    """
    found = resolved(data)
    if not isinstance(found, PreparedData):
        return _facts_of_source(found)
    counts = () if found.label_rows is not None else tuple(found.class_counts.tolist())
    return Pictures(len(found), min(found.image_shape[1:]), counts, is_final=True)


def _facts_of_source(source: Source) -> Pictures:
    listing = source.listing("classes")
    counts: Counter[int] = Counter()
    sides: list[int] = []
    stride, num = 1, 0
    for num, item in enumerate(listing.items, 1):
        if not isinstance(item.label, np.ndarray) and item.label is not None:
            counts[int(item.label)] += 1
        if num % stride:
            continue
        try:
            sides.append(_short_side(item.open()))
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
    return Pictures(num, side, tuple(counts[i] for i in range(len(listing.class_names))))


def _short_side(picture: Image.Image | np.ndarray) -> int:
    return min(picture.shape[:2] if isinstance(picture, np.ndarray) else picture.size)
