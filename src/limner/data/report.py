"""What a data set holds, and the mistakes in it that cost people weeks."""

import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from limner.data.labels import class_counts
from limner.data.prepare import Progress
from limner.data.prepared import PreparedData
from limner.data.sheet import picture_sheet
from limner.data.sources import Labels
from limner.data.survey import Data, Survey, survey

__all__ = ["DataReport", "Finding", "picture_sheet", "report", "told"]

# What pictures came from; older prepared data call it by the second name.
FOLDER, ZIP = ("ImageFolder", "folder"), ("ImageZip", "zip")
FEW_IMAGES = 500  # below it a discriminator learns the pictures by heart within minutes
TINY_CLASS, TINY_SHARE = 10, 1 / 20  # fewer pictures, or less than this share of the median class
MIXED_ASPECTS = 1.1  # the widest over the narrowest aspect
SHOWN = 10


class Finding(NamedTuple):
    """A probable mistake: a fixed short `kind`, and a line for people."""

    kind: str
    message: str


@dataclass
class DataReport:
    """The facts about a data set.

    `duplicates` are groups of names whose decoded pixels are equal; `num_near_duplicates` counts
    pictures that look alike at 8x8 pixels but are not equal (a hint, not a finding). `sizes` is
    what dataset.json holds. `classes` are (name, count) pairs, empty for unlabelled data; of labels
    that are rows of numbers the columns, and the pictures with a number other than 0 there.
    """

    name: str
    kind: str
    num_images: int
    classes: list[tuple[str, int]]
    num_gray: int
    sizes: dict[str, Any]
    num_refused: int
    refused: list[tuple[str, str]]
    skipped: dict[str, int]
    notes: list[str]
    num_duplicates: int
    duplicates: list[list[str]]
    num_near_duplicates: int
    warnings: list[Finding] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        plain = asdict(self)
        plain["warnings"] = [finding._asdict() for finding in self.warnings]
        return plain

    def lines(self) -> list[str]:
        """The report as lines of text, the warnings last."""
        count = f"{self.num_images} pictures"
        if 0 < self.num_gray < self.num_images:
            count += f" ({self.num_gray} gray)"
        elif self.num_gray:
            count += " (all gray)"
        lines = [f"{self.name} ({self.kind}): {count}, {self._classes_text()}"]
        if self.classes:
            lines += [f"  class {name}: {number}" for name, number in self.classes[:50]]
            if len(self.classes) > 50:
                lines.append(f"  and {len(self.classes) - 50} more classes")
        lines.append(_sizes_text(self.sizes))
        lines.append(
            f"duplicates: {self.num_duplicates} exact copies, "
            f"{self.num_near_duplicates} pictures that look alike"
        )
        if self.skipped:
            parts = ", ".join(f"{number} {why}" for why, number in sorted(self.skipped.items()))
            lines.append(f"files skipped: {parts}")
        lines += [f"refused {name}: {reason}" for name, reason in self.refused[:SHOWN]]
        if self.num_refused > SHOWN:
            lines.append(f"and {self.num_refused - SHOWN} more refused")
        lines += [f"note: {note}" for note in self.notes]
        return lines + [f"warning: {finding.message}" for finding in self.warnings]

    def _classes_text(self) -> str:
        return f"{len(self.classes)} classes" if self.classes else "no classes"


def report(data: Data, labels: Labels = "classes", progress: Progress | None = None) -> DataReport:
    """Look at every picture of a source or prepared set and say what is there.

    Args:
        labels: how to read a source; a prepared set keeps its own.

    Raises:
        DataError: the source as a whole cannot be read.
    """
    seen = survey(data, labels, progress)
    counts = class_counts(seen.labels, len(seen.class_names)).tolist()
    groups = [[seen.names[i] for i in group] for group in seen.duplicates]
    made = DataReport(
        name=seen.name,
        kind=seen.kind,
        num_images=len(seen.names),
        classes=list(zip(seen.class_names, counts, strict=True)),
        num_gray=sum(seen.gray),
        sizes=seen.sizes,
        num_refused=len(seen.refused),
        refused=seen.refused,
        skipped=seen.skipped,
        notes=seen.notes,
        num_duplicates=sum(len(group) - 1 for group in groups),
        duplicates=groups,
        num_near_duplicates=seen.num_near,
    )
    checks = (_few, _one_class, _nested, _tiny_classes, _copies, _sizes, _gray_in_color, _refused)
    made.warnings = [finding for check in checks for finding in check(made, seen)]
    return made


def told(data: PreparedData) -> list[str]:
    """What a training says of its pictures before the first step, as lines."""
    info = data.info
    counts = data.class_counts.tolist() if data.num_classes else []
    seen = Survey(
        name=info["source"]["name"],
        kind=info["source"]["kind"],
        labels_mode=info["settings"]["labels"],
        class_names=data.class_names,
        names=data.names(),
        labels=np.array(data.labels),
        sizes=info["sizes"],
        refused=[(entry["name"], entry["reason"]) for entry in info["refused"]],
    )
    made = DataReport(
        name=seen.name,
        kind=seen.kind,
        num_images=len(data),
        classes=list(zip(data.class_names, counts, strict=True)),
        num_gray=0,
        sizes=seen.sizes,
        num_refused=info["num_refused"],
        refused=seen.refused,
        skipped=info["skipped"],
        notes=info["notes"],
        num_duplicates=0,
        duplicates=[],
        num_near_duplicates=0,
    )
    classes = f"{data.num_classes} classes" if data.num_classes else "no classes"
    lines = [
        f"data {made.name} ({made.kind}): {made.num_images:,} pictures, {classes}, "
        f"{made.num_refused:,} refused",
        f"  {_sizes_text(made.sizes)}",
        *(f"  note: {note}" for note in made.notes),
    ]
    checks = (_few, _one_class, _nested, _tiny_classes, _sizes, _refused)
    found = [finding for check in checks for finding in check(made, seen)]
    return lines + [f"  warning: {finding.message}" for finding in found]


def _few(made: DataReport, _: Survey) -> list[Finding]:
    if made.num_images >= FEW_IMAGES:
        return []
    text = f"only {made.num_images} pictures: a GAN will learn them by heart; gather more"
    return [Finding("few_images", text)]


def _parts(seen: Survey) -> list[list[str]]:
    """The components of the names of files, without a folder that wraps a whole zip."""
    if seen.kind not in (*FOLDER, *ZIP) or seen.labels_mode == "none":
        return []
    parts = [name.split("/") for name in seen.names]
    firsts = {part[0] for part in parts}
    if seen.kind in ZIP and len(firsts) == 1 and all(len(part) > 1 for part in parts):
        return [part[1:] for part in parts]
    return parts


def _one_class(made: DataReport, seen: Survey) -> list[Finding]:
    filled = [name for name, count in made.classes if count]
    if made.classes and len(filled) == 1 and seen.labels.ndim == 1:
        text = f"all pictures are of one class ('{filled[0]}'); train with data.labels=none"
        return [Finding("one_class", text)]
    parts = _parts(seen)
    folders = {part[0] for part in parts if len(part) > 1}
    if not made.classes and len(folders) == 1:
        text = (
            f"one subfolder ('{folders.pop()}') only: it is not taken as a class; "
            "put each class into its own folder, or say data.labels=none"
        )
        return [Finding("one_class", text)]
    return []


def _nested(_: DataReport, seen: Survey) -> list[Finding]:
    deep = [part for part in _parts(seen) if len(part) > 2]
    if not deep:
        return []
    inner = Counter(outer_inner for outer_inner in {(part[0], part[1]) for part in deep})
    repeated = Counter(name for _, name in inner)
    shared = sorted(name for name, count in repeated.items() if count > 1)
    text = f"{len(deep)} pictures lie in folders inside the class folders, such as "
    text += "/".join(deep[0][:-1])
    if shared:
        outer = ", ".join(sorted({outer for outer, _ in inner})[:4])
        text += f"; '{shared[0]}' occurs in several ({outer}): give one of these as the source"
    else:
        text += "; only the first level counts as the class"
    return [Finding("nested_folders", text)]


def _tiny_classes(made: DataReport, _: Survey) -> list[Finding]:
    if len(made.classes) < 2:
        return []
    least = max(TINY_CLASS, TINY_SHARE * statistics.median(count for _, count in made.classes))
    tiny = [f"{name} ({count})" for name, count in made.classes if count < least]
    if not tiny:
        return []
    more = "" if len(tiny) <= SHOWN else f" and {len(tiny) - SHOWN} more"
    text = f"classes with too few pictures to learn: {', '.join(tiny[:SHOWN])}{more}"
    return [Finding("tiny_classes", text)]


def _copies(made: DataReport, seen: Survey) -> list[Finding]:
    if not made.num_duplicates:
        return []
    first = made.duplicates[0]
    text = f"{made.num_duplicates} exact copies, such as {first[0]} and {first[1]}; remove them"
    findings = [Finding("duplicates", text)]
    kinds = [label.tobytes() for label in seen.labels]
    crossing = [group for group in seen.duplicates if len({kinds[i] for i in group}) > 1]
    if crossing:
        one = crossing[0][0]
        other = next(i for i in crossing[0] if kinds[i] != kinds[one])
        text = (
            f"{len(crossing)} pictures stand in more than one class, such as {seen.names[one]} "
            f"and {seen.names[other]}"
        )
        findings.append(Finding("duplicates_across_classes", text))
    return findings


def _sizes(made: DataReport, _: Survey) -> list[Finding]:
    sizes, findings = made.sizes, []
    if sizes["num_distinct"] > 1:
        (w0, h0), (w1, h1) = sizes["smallest"], sizes["largest"]
        text = f"{sizes['num_distinct']} different sizes, {w0}x{h0} to {w1}x{h1}"
        findings.append(Finding("mixed_sizes", text + "; the small ones will be blurred"))
        narrow, wide = sizes["aspects"]
        if wide > MIXED_ASPECTS * narrow:
            text = f"width / height from {narrow:.2f} to {wide:.2f}: fit=crop cuts, squash distorts"
            findings.append(Finding("mixed_aspects", text + ", pad adds black; choose one"))
    return findings


def _gray_in_color(made: DataReport, seen: Survey) -> list[Finding]:
    if not 0 < made.num_gray < made.num_images:
        return []
    example = seen.names[seen.gray.index(True)]
    text = f"{made.num_gray} gray pictures among the colored, such as {example}"
    return [Finding("gray_in_color", text)]


def _refused(made: DataReport, _: Survey) -> list[Finding]:
    if not made.num_refused:
        return []
    name, reason = made.refused[0]
    text = f"{made.num_refused} pictures cannot be used, such as {name}: {reason}"
    return [Finding("refused", text)]


def _sizes_text(sizes: dict[str, Any]) -> str:
    if not sizes["num_distinct"]:
        return "sizes: none"
    common = ", ".join(f"{w}x{h} ({count})" for w, h, count in sizes["common"][:5])
    return f"sizes: {sizes['num_distinct']} different; most common {common}"
