"""What a data set holds, and the mistakes in it that cost people weeks."""

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from limner.core.counting import Progress
from limner.data.decoding import ALPHA, BANDS, FRAMES, MORE_BANDS
from limner.data.findings import Finding, examples, plural
from limner.data.labels import class_counts
from limner.data.prepared import PreparedData
from limner.data.sheet import picture_sheet
from limner.data.sources import LabelsAsked
from limner.data.survey import Data, Survey, known, survey

__all__ = ["DataReport", "Finding", "known_warnings", "picture_sheet", "report", "told"]

FEW_IMAGES = 500  # below it a discriminator learns the pictures by heart within minutes
TINY_CLASS, TINY_SHARE = 10, 1 / 20  # fewer pictures, or less than this share of the median class
MIXED_ASPECTS = 1.1  # the widest over the narrowest aspect
SHOWN = 10
# Warnings of another set than its files look, whatever it is used for.
CHANGING = ("splits", "value_range", "dark", FRAMES, ALPHA, BANDS, MORE_BANDS)


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
            lines.append(_skipped_text(self.skipped))
        lines += [f"refused {name}: {reason}" for name, reason in self.refused[:SHOWN]]
        if self.num_refused > SHOWN:
            lines.append(f"and {self.num_refused - SHOWN} more refused")
        lines += [f"note: {note}" for note in self.notes]
        return lines + [f"warning: {finding.message}" for finding in self.warnings]

    def _classes_text(self) -> str:
        return f"{len(self.classes)} classes" if self.classes else "no classes"


def report(
    data: Data, labels: LabelsAsked = "classes", progress: Progress | None = None
) -> DataReport:
    """Look at every picture of a source or prepared set and say what is there.

    Args:
        labels: how to read a source; a prepared set keeps its own.

    Raises:
        DataError: the source as a whole cannot be read.
    """
    return _report_of(survey(data, labels, progress))


def known_warnings(data: PreparedData) -> list[Finding]:
    """Every warning of the report that needs no look at the pixels."""
    return _report_of(known(data)).warnings


def told(data: PreparedData) -> list[str]:
    """What a training says of its pictures before the first step, as lines: how many there are, of
    which classes and sizes, what was left out or done to them, and every warning of the report that
    needs no look at the pixels."""
    made = _report_of(known(data))
    channels, height, width = data.image_shape
    origin = data.info["source"]
    lines = [
        f"data {origin['name']} ({origin['kind']}): {made.num_images:,} pictures, "
        f"{_classes_of(data)}, {made.num_refused:,} refused; as {channels}x{height}x{width}",
        "  " + _sizes_text(made.sizes),
    ]
    if made.skipped:
        lines.append("  " + _skipped_text(made.skipped))
    lines += [f"  note: {note}" for note in made.notes]
    return lines + [f"  warning: {finding.message}" for finding in made.warnings]


def _classes_of(data: PreparedData) -> str:
    if not data.num_classes:
        return "no classes"
    if data.label_rows is not None:
        return f"labels of {data.num_classes} numbers"
    counts = zip(data.class_names, data.class_counts.tolist(), strict=True)
    listed = [f"{name} {count:,}" for name, count in counts]
    return f"{data.num_classes} classes ({examples(listed, SHOWN)})"


def _report_of(seen: Survey) -> DataReport:
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
    checks = (
        _few, _one_class, _empty_classes, _tiny_classes, _copies, _sizes, _gray_in_color, _refused,
    )  # fmt: skip
    found = [finding for check in checks for finding in check(made, seen)]
    made.warnings = [*seen.warnings, *found]
    return made


def changed(data: PreparedData) -> list[str]:
    """The warnings of what was left out of pictures, or may not be as it was meant."""
    seen = known(data).warnings
    return [finding.message for finding in seen if finding.kind in CHANGING]


def _few(made: DataReport, _: Survey) -> list[Finding]:
    if made.num_images >= FEW_IMAGES:
        return []
    text = f"only {made.num_images} pictures: a GAN will learn them by heart; gather more"
    return [Finding("few_images", text)]


def _one_class(made: DataReport, seen: Survey) -> list[Finding]:
    filled = [name for name, count in made.classes if count]
    if made.classes and len(filled) == 1 and seen.labels.ndim == 1:
        text = f"all pictures are of one class ('{filled[0]}'); train with data.labels=none"
        return [Finding("one_class", text)]
    return []


def _empty_classes(made: DataReport, seen: Survey) -> list[Finding]:
    num, empty = len(made.classes), [name for name, count in made.classes if not count]
    if not empty or not made.num_images or seen.labels.ndim == 2:
        return []
    which = f"{len(empty)} of {num} classes have no picture: {examples(empty, SHOWN)}"
    if len(empty) == 1:
        which = f"class {empty[0]} of {num} has no picture"
    if made.classes[0] == ("0", 0):
        which += f" (labels run from {next(name for name, count in made.classes if count)})"
    text = (
        f"{which}; they would be drawn and sampled like the others: --labels used "
        "(data.labels=used) takes only the classes that have pictures"
    )
    return [Finding("empty_classes", text)]


def _tiny_classes(made: DataReport, _: Survey) -> list[Finding]:
    if len(made.classes) < 2:
        return []
    filled = [count for _, count in made.classes if count] or [0]
    least = max(TINY_CLASS, TINY_SHARE * statistics.median(filled))
    tiny = [f"{name} ({count})" for name, count in made.classes if 0 < count < least]
    if not tiny:
        return []
    text = f"classes with too few pictures to learn: {examples(tiny, SHOWN)}"
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
    text = f"{plural(made.num_refused, 'picture')} cannot be used, such as {name}: {reason}"
    return [Finding("refused", text)]


def _skipped_text(skipped: dict[str, int]) -> str:
    return "files skipped: " + ", ".join(f"{num} {why}" for why, num in sorted(skipped.items()))


def _sizes_text(sizes: dict[str, Any]) -> str:
    if not sizes["num_distinct"]:
        return "sizes: none"
    common = ", ".join(f"{w}x{h} ({count})" for w, h, count in sizes["common"][:5])
    return f"sizes (width x height): {sizes['num_distinct']} different; most common {common}"
