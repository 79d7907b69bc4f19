"""Labels of pictures: one class each as integers, or rows of numbers (attributes, cut one-hot)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int64

from limner.core.errors import DataError

Label = int | np.ndarray | None  # a row is float [columns]
Labels = Int64[np.ndarray, " n"] | Float32[np.ndarray, "n columns"]


def stacked(
    labels: Sequence[Label], names: Sequence[str], num_classes: int, most: int | None = None
) -> Labels:
    """The labels of all pictures: int64 [N], or float32 rows [N, L] where they are rows or are cut.

    Args:
        labels: of each picture; None counts as class 0.
        num_classes: classes, or columns of the rows, that the source names.
        most: keep the first so many columns; classes then become one-hot rows if they have more.

    Raises:
        DataError: a row has another number of columns, or a value that is not finite.
    """
    width = num_classes if most is None else min(most, num_classes)
    if width == num_classes and not any(isinstance(label, np.ndarray) for label in labels):
        return np.asarray([label or 0 for label in labels], np.int64)
    rows = np.zeros((len(labels), width), np.float32)
    for row, label, name in zip(rows, labels, names, strict=True):
        if not isinstance(label, np.ndarray):
            row[label or 0 :][:1] = 1  # nothing where the class is cut away
        elif label.shape != (num_classes,):
            raise DataError(
                f"{name}: a label of shape {label.shape}, the source names {num_classes} columns; "
                "give a row of so many numbers for each picture"
            )
        else:
            row[:] = finite(label, name)[:width]
    return rows


def only_used(labels: list[Label], class_names: list[str]) -> tuple[list[Label], list[str]]:
    """Classes numbered anew, without those that have no picture; rows of numbers as they are."""
    numbers = sorted({label for label in labels if isinstance(label, int)})
    if not numbers:
        return labels, class_names
    place = {number: i for i, number in enumerate(numbers)}
    kept: list[Label] = [place[label] if isinstance(label, int) else label for label in labels]
    return kept, [class_names[number] for number in numbers]


def finite(rows: np.ndarray, where: str, first: int = 0) -> Float32[np.ndarray, "..."]:
    """The numbers as float32. Raises DataError for one that is not finite, with its row, counted
    from `first` where there are several."""
    with np.errstate(over="ignore"):
        values = rows.astype(np.float32)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = f"row {first + bad[0][0]}, column {bad[0][1]}" if rows.ndim > 1 else "its label"
        raise DataError(
            f"{where}: {place} is {rows[tuple(bad[0])]}; labels are finite numbers: write them "
            "anew, or read the pictures without labels (--labels none, data.labels=none)"
        )
    return values


def has_class(labels: Labels, number: int) -> Bool[np.ndarray, " n"]:
    """Which pictures are of a class, or have a number other than 0 in a column."""
    return labels == number if labels.ndim == 1 else labels[:, number] != 0


def class_counts(labels: Labels, num_classes: int) -> Int64[np.ndarray, " classes"]:
    """The pictures of each class; see `has_class`."""
    if labels.ndim == 2:
        return np.count_nonzero(labels, axis=0)
    return np.bincount(labels, minlength=max(1, num_classes))[:num_classes]
