"""How names become classes: by first-level folder, or by a StyleGAN dataset.json."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from limner.core.errors import DataError

PICTURE_SUFFIXES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif",
))  # fmt: skip
MAX_CLASSES = 100_000
LABEL_FILE = "dataset.json"


@dataclass
class Grouping:
    """Names that stay, each with its label (None: no classes), and what was left out."""

    labelled: list[tuple[str, int | None]]
    class_names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def is_picture_name(name: str) -> bool:
    """Whether a file's suffix is one of a picture, in any case."""
    return "." + name.rpartition(".")[2].lower() in PICTURE_SUFFIXES


def unlabelled(names: list[str], *notes: str) -> Grouping:
    """All names, as one set without classes."""
    return Grouping([(name, None) for name in names], notes=list(notes))


def group_by_folder(names: list[str]) -> Grouping:
    """The first-level folders as classes, in the order of their names.

    A single folder is not one class: then, and for a flat set, the pictures have no classes.
    Pictures beside two or more class folders are refused, because they belong to none.
    """
    folders = sorted({name.split("/", 1)[0] for name in names if "/" in name})
    if not folders:
        return unlabelled(names)
    if len(folders) == 1:
        return unlabelled(names, _note_on_single(folders[0], names))
    number = {folder: i for i, folder in enumerate(folders)}
    grouping = Grouping([], class_names=folders)
    for name in names:
        folder, slash, _ = name.partition("/")
        if slash:
            grouping.labelled.append((name, number[folder]))
        else:
            grouping.refused.append((name, "lies beside the class folders, in none of them"))
    return grouping


def _note_on_single(folder: str, names: list[str]) -> str:
    inner = {name.split("/")[1] for name in names if name.count("/") >= 2}
    note = f"one subfolder ('{folder}') is not a class: the pictures are taken as unlabelled"
    if len(inner) > 1:
        note += f"; it holds {len(inner)} folders: give .../{folder} as the source to use them"
    return note


def labels_of_json(text: bytes, where: str) -> list[tuple[str, Any]] | None:
    """The pairs of a StyleGAN dataset.json; None where it holds no labels, DataError where the file
    is not of that form."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}); repair or remove it") from None
    pairs = content.get("labels") if isinstance(content, dict) else None
    if pairs is None:
        return None
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    well_formed = isinstance(pairs, list) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
        for pair in pairs
    )
    if not well_formed:
        raise DataError(f'{where}: "labels" must be a list of [file name, label]')
    return [(name.replace("\\", "/"), label) for name, label in pairs]


def group_by_json(names: list[str], pairs: list[tuple[str, Any]], where: str) -> Grouping:
    """Classes by a dataset.json: integers, or one-hot lists. Other lists (attributes, poses) are no
    classes: the pictures are then unlabelled, with a note. Raises DataError for a label that is
    negative or absurdly large."""
    labels = {name: class_of(label) for name, label in pairs}
    if any(label is None for label in labels.values()):
        return unlabelled(names, f"{where}: labels are not classes (no integer, no one-hot list)")
    numbers = [label for label in labels.values() if label is not None]
    if not numbers:
        return unlabelled(names)
    check_classes(min(numbers), max(numbers), where)
    grouping = Grouping([], class_names=[str(i) for i in range(max(numbers) + 1)])
    for name in names:
        if name in labels:
            grouping.labelled.append((name, labels[name]))
        else:
            grouping.refused.append((name, f"has no label in {LABEL_FILE}"))
    missing = len(labels.keys() - set(names))
    if missing:
        grouping.notes.append(f"{where}: {missing} labelled files are not there")
    return grouping


def check_classes(smallest: int, largest: int, where: str) -> None:
    """Raises DataError for labels that cannot be class numbers."""
    if smallest < 0 or largest >= MAX_CLASSES:
        raise DataError(
            f"{where}: labels run from {smallest} to {largest}; "
            f"classes are numbered from 0 and below {MAX_CLASSES}"
        )


def class_of(label: Any) -> int | None:
    """An integer label, or the place of the one in a one-hot list; None for anything else."""
    if isinstance(label, bool):
        return None
    if isinstance(label, int):
        return label
    if isinstance(label, list):
        if len(label) == 1 and isinstance(label[0], int) and not isinstance(label[0], bool):
            return label[0]
        counts = Counter(label) if all(isinstance(v, (int, float)) for v in label) else Counter()
        if counts[1] == 1 and counts[0] == len(label) - 1:
            return label.index(1)
    return None
