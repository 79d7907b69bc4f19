"""Example pictures of every class on one sheet, to look at before anything is trained."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from limner.core.errors import DataError
from limner.data.decoding import Decoder
from limner.data.labels import Label, has_class
from limner.data.pictures import DECODE_ERRORS, as_image, fitted
from limner.data.prepared import PreparedData
from limner.data.sources import Labels, Source
from limner.data.survey import Data, resolved

MARGIN, TEXT_WIDTH = 2, 96


def picture_sheet(
    data: Data, columns: int = 10, max_rows: int = 20, cell: int = 64, labels: Labels = "classes"
) -> Image.Image:
    """A row of example pictures for each class (the first `max_rows` of them), or for each column
    of labels that are rows of numbers; unlabelled data fills the rows in order.

    Args:
        columns: examples a class.
        cell: pixels of an example's side; a picture is fitted into it whole.

    Returns:
        An RGB image, class names on the left where there are classes.

    Raises:
        DataError: the source cannot be read, or holds no picture.
    """
    found = resolved(data)
    if isinstance(found, PreparedData):
        names, examples = found.class_names, _of_prepared(found, columns, max_rows)
    else:
        names, examples = _of_source(found, columns, max_rows, labels)
    rows: list[list[np.ndarray]] = list(examples.values())
    if not rows:
        raise DataError(f"{data}: no picture to show")
    left = TEXT_WIDTH if names else 0
    step = cell + MARGIN
    size = (left + columns * step + MARGIN, len(rows) * step + MARGIN)
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for y, (label, row) in enumerate(examples.items()):
        if names:
            draw.text((4, y * step + cell // 2 - 5), names[label][:14], fill=(0, 0, 0))
        for x, pixels in enumerate(row):
            square = fitted(as_image(_shown(pixels)), (cell, cell), 3, "pad", "lanczos")
            sheet.paste(Image.fromarray(square), (left + MARGIN + x * step, MARGIN + y * step))
    return sheet


def _shown(pixels: np.ndarray) -> np.ndarray:
    """As many channels as can be seen: the first three, or the first."""
    if pixels.ndim == 2 or pixels.shape[2] in (1, 3):
        return pixels
    return pixels[:, :, : 3 if pixels.shape[2] > 3 else 1]


def _of_prepared(data: PreparedData, columns: int, max_rows: int) -> dict[int, list[np.ndarray]]:
    if not data.num_classes:
        chosen = np.linspace(0, len(data) - 1, min(len(data), columns * max_rows)).astype(int)
        return _in_rows(iter([data.picture(i) for i in chosen]), columns)
    examples: dict[int, list[np.ndarray]] = {}
    for label in range(min(data.num_classes, max_rows)):
        places = np.flatnonzero(has_class(data.labels, label))
        spread = np.linspace(0, len(places) - 1, min(len(places), columns)).astype(int)
        examples[label] = [data.picture(i) for i in places[spread]]
    return examples


def _of_source(
    source: Source, columns: int, max_rows: int, labels: Labels
) -> tuple[list[str], dict[int, list[np.ndarray]]]:
    listing = source.listing(labels)
    num_rows = min(len(listing.class_names), max_rows)
    examples: dict[int, list[np.ndarray]] = defaultdict(list)
    room = columns if listing.class_names else columns * max_rows
    decode = Decoder(again=lambda: source.listing(labels).items)
    for item in listing.items:
        rows = [row for row in _rows_of(item.label) if row < max(num_rows, 1)]
        rows = [row for row in rows if len(examples[row]) < room]
        if not rows:
            continue
        try:
            pixels = np.asarray(decode(item))
        except DataError:
            raise
        except DECODE_ERRORS:  # the report lists it; the sheet shows what can be shown
            continue
        for row in rows:
            examples[row].append(pixels)
    if not listing.class_names:
        return [], _in_rows(iter(examples[0]), columns)
    return listing.class_names, {label: examples[label] for label in range(num_rows)}


def _rows_of(label: Label) -> list[int]:
    if isinstance(label, np.ndarray):
        return np.flatnonzero(label).tolist()
    return [label or 0]


def _in_rows(pictures: Iterator[np.ndarray], columns: int) -> dict[int, list[np.ndarray]]:
    rows: dict[int, list[np.ndarray]] = defaultdict(list)
    for number, picture in enumerate(pictures):
        rows[number // columns].append(picture)
    return rows
