"""Labels that stand in a file beside the pictures: StyleGAN's dataset.json, or a labels.csv."""

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from limner.core.errors import DataError, printable
from limner.data.findings import Finding, examples
from limner.data.foreign import foreign_pictures, kind_of_file
from limner.data.labels import Label, finite
from limner.data.sources.base import MAX_FILE_BYTES, Item, Listing
from limner.data.sources.grouping import (
    MAX_CLASSES,
    Grouping,
    check_classes,
    group_by_folder,
    in_order,
)

JSON_FILE, CSV_FILE = "dataset.json", "labels.csv"
TABLES = (".csv", ".tsv")
NAME_COLUMNS = (
    "filename", "file_name", "file", "image", "image_name", "img", "path", "filepath", "image_path",
    "name", "id", "image_id", "img_id",
)  # fmt: skip
LABEL_COLUMNS = ("label", "labels", "class", "class_name", "category", "target")
WITHOUT = "--labels none (data.labels=none) reads all without classes"


@dataclass(frozen=True)
class Labelling:
    """What a file of labels says: pairs of a name and its label, None where it has none; and what
    the columns are called, where a label is a row of numbers."""

    pairs: list[tuple[str, Any]]
    columns: tuple[str, ...] = ()


def is_label_file(name: str) -> bool:
    """Whether a file is one that labels are read from."""
    return name.rpartition("/")[2].casefold() in (JSON_FILE, CSV_FILE)


def listing_of(
    grouping: Grouping,
    items: Iterable[Item],
    refused: list[tuple[str, str]],
    others: list[str],
    num_hidden: int,
) -> Listing:
    """What a source of files holds: `refused` and `others`, which are no pictures by their names,
    come from the walk through it."""
    unread = [name for name in others if not is_label_file(name)]
    skipped = Counter({"hidden": num_hidden}) + Counter(map(kind_of_file, unread))
    warnings = grouping.warnings + foreign_pictures(unread)
    return Listing(
        items=items,
        num_items=len(grouping.labelled),
        class_names=[printable(name) for name in grouping.class_names],
        notes=[printable(note) for note in grouping.notes],
        warnings=[Finding(kind, printable(text)) for kind, text in warnings],
        refused=[(printable(name), reason) for name, reason in refused + grouping.refused],
        skipped={printable(why): num for why, num in (skipped | grouping.skipped).items()},
    )


def group_by_file(names: list[str], label_file: str) -> Grouping:
    """Classes by a file of labels that lies anywhere, a .json of dataset.json's form or a table.

    Raises:
        DataError: there is no such file, it is not of its form, or names none of the pictures.
    """
    try:
        with open(label_file, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(f"{label_file}: cannot be read ({error.strerror})") from None
    parse = labels_of_json if label_file.casefold().endswith(".json") else labels_of_csv
    found = parse(content, label_file)
    if found is None:
        raise DataError(f"{label_file}: it holds no labels; leave it out, or write them")
    return group_by_labels(names, found, "", label_file)


def grouped(
    names: list[str], others: Iterable[str], read: Callable[[str], bytes], where: str
) -> Grouping:
    """Classes by the file of labels that lies at the root, or in the folder around all pictures;
    where there is none, by folders.

    Args:
        names: of the pictures.
        others: names of the other files.
        read: gives the content of one of those.
        where: the source, for messages.

    Raises:
        DataError: the file is not of its form, or names none of the pictures.
    """
    tables = [name for name in others if is_label_file(name) or name.lower().endswith(TABLES)]
    unread = [name for name in tables if not is_label_file(name)]
    for name in sorted(filter(is_label_file, tables), key=lambda name: (name.count("/"), name)):
        base = name[: name.rfind("/") + 1]
        if not all(picture.startswith(base) for picture in names):
            unread.append(name)
            continue
        is_json = name.casefold().endswith(JSON_FILE)
        parse = labels_of_json if is_json else labels_of_csv
        found = parse(read(name), f"{where}/{name}")
        if found is not None:
            return group_by_labels(names, found, base, f"{where}/{name}")
    grouping = group_by_folder(names)
    if unread and not grouping.class_names:
        text = (
            f"{examples(unread)} may hold labels and is not read: they stand in {CSV_FILE}, beside "
            "the pictures or their folders, with the columns file and label"
        )
        grouping.warnings.append(Finding("labels_lost", text))
    return grouping


def labels_of_json(text: bytes, where: str) -> Labelling | None:
    """What a StyleGAN dataset.json says; None where it holds no labels, DataError where the file is
    not of that form."""
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
    return Labelling([(name, label) for name, label in pairs])


def labels_of_csv(text: bytes, where: str) -> Labelling | None:
    """What a table says: a column of names and one of labels, with a heading or, of two columns,
    without; or several columns of numbers. None for an empty file, DataError for anything else."""
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text; save it as UTF-8, or remove it") from None
    lines = [line for line in lines if line.strip()]
    if not lines:
        return None
    delimiter = max(",;\t", key=lines[0].count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error as error:
        raise DataError(f"{where}: not a table ({error}); repair or remove it") from None
    heading = [cell.casefold() for cell in rows[0]]
    known = [cell for cell in heading if cell in NAME_COLUMNS or cell in LABEL_COLUMNS]
    heading, rows = (heading, rows[1:]) if known else (["file", "label"], rows)
    width = len(heading)
    wrong = [i for i, row in enumerate(rows, 2 if known else 1) if len(row) != width]
    if wrong or width < 2:
        place = f"line {wrong[0]} has not {width} columns" if wrong else "one column"
        raise DataError(f'{where}: {place}; write a heading "file,label" and a line a picture')
    at = next((heading.index(name) for name in NAME_COLUMNS if name in heading), 0)
    label = next((heading.index(name) for name in LABEL_COLUMNS if name in heading), None)
    if label is None and width == 2:
        label = 1 - at
    if label is not None:
        return Labelling(_measured([(row[at], row[label] or None) for row in rows]))
    columns = [i for i in range(width) if i != at]
    try:
        pairs = [(row[at], [float(row[i]) for i in columns]) for row in rows]
    except ValueError:
        raise DataError(
            f"{where}: none of its columns ({examples(heading, 10)}) is called label; name the one "
            "that is so"
        ) from None
    return Labelling(pairs, tuple(heading[i] for i in columns))


def _measured(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Pairs with numbers as labels where all are that and some are no integers."""
    try:
        values = [None if label is None else float(label) for _, label in pairs]
    except ValueError:
        return pairs
    if all(value is None or value.is_integer() for value in values):
        return pairs
    return [(name, value) for (name, _), value in zip(pairs, values, strict=True)]


def group_by_labels(names: list[str], labels: Labelling, base: str, where: str) -> Grouping:
    """Classes by what a file says: numbers, texts (a class each, named so), one-hot rows, or rows
    of numbers, which stay such. Pictures without a label are refused.

    Raises:
        DataError: it names no picture, a class number is negative or absurdly large, or labels are
            of different kinds.
    """
    (matched, differing), grouping = _matched(names, labels.pairs, base, where), Grouping([])
    chosen = {name: label for name, (_, label) in matched.items() if label is not None}
    if not chosen:
        return Grouping([(name, None) for name in names])
    values, grouping.class_names, note = _as_labels(list(chosen.values()), labels.columns, where)
    by_name = dict(zip(chosen, values, strict=True))
    grouping.notes += [line for line in (note, differing) if line]
    missing = [name for name in names if name not in by_name]
    grouping.labelled = [(name, by_name[name]) for name in names if name in by_name]
    file = where.rpartition("/")[2]
    grouping.refused = [(name, f"has no label in {file}") for name in missing]
    if missing:
        text = (
            f"{len(missing)} of {len(names)} pictures have no label in {file}, such as "
            f"{missing[0]}: they are left out; {WITHOUT}"
        )
        grouping.warnings.append(Finding("unlabelled", text))
    _tell_names(grouping, labels.pairs, matched, file)
    return grouping


def _tell_names(
    grouping: Grouping,
    pairs: list[tuple[str, Any]],
    matched: dict[str, tuple[str, Any]],
    file: str,
) -> None:
    """What became of the names that the file holds."""
    counts = Counter(name for name, _ in pairs)
    taken = {written for written, _ in matched.values()}
    absent = [name for name in counts if name not in taken]
    if absent:
        text = f"{len(absent)} labelled files of {file} are not there, such as {absent[0]}"
        grouping.warnings.append(Finding("names", text))
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        text = f"{len(twice)} names stand in {file} more than once, such as {twice[0]}"
        grouping.warnings.append(Finding("names", f"{text}: the last label counts"))


def _matched(
    names: list[str], pairs: list[tuple[str, Any]], base: str, where: str
) -> tuple[dict[str, tuple[str, Any]], str]:
    """Picture -> (name as it is written, label), and a note where no name is written as that of a
    picture. Names are looked for as they stand and without regard to case; where none is found so,
    without regard to folders or the suffix, too, as far as a single picture remains."""
    open_labels = dict(pairs)
    open_names = {name: name[len(base) :] for name in names}
    matched: dict[str, tuple[str, Any]] = {}
    differing = ""
    for key, what in KEYS:
        if what and matched:
            break
        by_key: dict[str, list[str]] = {}
        for name, inner in open_names.items():
            by_key.setdefault(key(inner), []).append(name)
        counts = Counter(map(key, open_labels))
        for written in list(open_labels):
            found = by_key.get(key(written), [])
            if len(found) == 1 and counts[key(written)] == 1:
                matched[found[0]] = (written, open_labels.pop(written))
                del open_names[found[0]]
        if what and matched:
            name, (written, _) = next(iter(matched.items()))
            differing = f"{where}: names are matched {what}, such as {written} with {name}"
    if pairs and names and not matched:
        raise DataError(
            f"{where}: none of its {len(pairs)} names, such as {pairs[0][0]}, is a picture here, "
            f"such as {names[0][len(base) :]}; write the names as they stand, or {WITHOUT}"
        )
    return matched, differing


def _as_it_stands(name: str) -> str:
    return name.replace("\\", "/")


def _folded(name: str) -> str:
    plain = unicodedata.normalize("NFC", _as_it_stands(name)).casefold()
    return re.sub(r"^(\./|/)+", "", plain)


def _without_suffix(name: str) -> str:
    return re.sub(r"\.[a-z0-9]{1,5}$", "", _folded(name))


KEYS: tuple[tuple[Callable[[str], str], str], ...] = (
    (_as_it_stands, ""),
    (_folded, ""),
    (lambda name: "/".join(_folded(name).split("/")[-2:]), "by their last folder"),
    (lambda name: _folded(name).rpartition("/")[2], "without their folders"),
    (_without_suffix, "without their suffix"),
    (lambda name: _without_suffix(name).rpartition("/")[2], "without folders and suffix"),
)


def _as_labels(
    labels: list[Any], columns: tuple[str, ...], where: str
) -> tuple[list[Label], list[str], str]:
    """Labels, the names of the classes or columns, and a note on what was not as usual."""
    numbers = [class_of(label) for label in labels]
    classes = [number for number in numbers if number is not None]
    if len(classes) == len(labels):
        check_classes(min(classes), max(classes), where)
        widths = [len(label) for label in labels if isinstance(label, list)]
        num = max(max(classes) + 1, *widths, len(columns))
        return list(numbers), list(columns) or [str(i) for i in range(num)], ""
    scalars = all(isinstance(label, (str, int, float)) for label in labels)
    if scalars and any(isinstance(label, str) for label in labels):
        texts = [label if isinstance(label, str) else json.dumps(label) for label in labels]
        names = in_order(set(texts))
        check_classes(0, len(names) - 1, where)
        place = {name: i for i, name in enumerate(names)}
        return [place[text] for text in texts], names, ""
    rows = [[label] if scalars else label for label in labels]
    widths = {len(row) if _is_row(row) else 0 for row in rows}
    width = max(widths)
    if widths == {width} and 0 < width <= MAX_CLASSES:
        held = finite(_as_floats(rows, where), where)
        note = f"{where}: labels are rows of {width} numbers, not one class a picture"
        return list(held), list(columns) or [str(i) for i in range(width)], note
    raise DataError(
        f"{where}: labels of different kinds, such as {json.dumps(labels[0])[:80]}; give each "
        f"picture a number, a text, or a row of so many numbers as all others, or {WITHOUT}"
    )


def _as_floats(rows: list[list[float]], where: str) -> np.ndarray:
    try:
        return np.asarray(rows, np.float64)
    except OverflowError:
        raise DataError(f"{where}: labels beyond what floats hold; write them anew") from None


def class_of(label: Any) -> int | None:
    """An integer label, or the place of the one in a one-hot list; None for anything else."""
    if isinstance(label, bool):
        return None
    if isinstance(label, int) or (isinstance(label, float) and label.is_integer()):
        return int(label)
    if isinstance(label, list):
        if len(label) == 1 and isinstance(label[0], int) and not isinstance(label[0], bool):
            return label[0]
        counts = Counter(label) if _is_row(label) else Counter()
        if counts[1] == 1 and counts[0] == len(label) - 1:
            return label.index(1)
    return None


def _is_row(label: Any) -> bool:
    return isinstance(label, list) and all(isinstance(value, (int, float)) for value in label)
