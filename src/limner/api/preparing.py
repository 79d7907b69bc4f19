"""Pictures brought into form, or into other programs' files, and looked at."""

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from limner import data
from limner.api.notebooks import counter
from limner.core.config import decode
from limner.core.counting import Progress
from limner.core.errors import LimnerError
from limner.core.files import temporary_name
from limner.data import DataConfig, DataReport, PreparedData, Source
from limner.data.opening import standing
from limner.data.pictures import DECODE_ERRORS
from limner.data.sources import LabelsAsked, find_source
from limner.data.sources.archive import ImageZip
from limner.data.sources.folder import ImageFolder
from limner.formats.tfrecords import level_of

NUM_LOOKED_AT = 100  # pictures whose size decides where no resolution is given


@dataclass(frozen=True)
class PrepareOptions:
    """How pictures are prepared (see DataConfig), and in whose files they are written.

    Attributes:
        resolution: the side in pixels of squares, or (height, width); None takes the pictures' own
            size where all have one.
        keep_aspect: store pictures whole, the short side at the resolution.
        label_file: a .csv or .json with the labels of a folder or zip, which lies elsewhere.
        read_as: see `source_as`.
        format: "hdf5" is BigGAN-PyTorch's, "zip" StyleGAN's, "tfrecord" PGGAN's.
        shuffle: of tfrecord: in the order of numpy's RandomState(123).
        chunk, compression: of hdf5: pictures stored together, and how.

    Examples:
        >>> limner.PrepareOptions(resolution=64, fit="pad").format
        'prepared'
    """

    resolution: int | tuple[int, int] | None = None
    fit: Literal["crop", "squash", "pad"] = "crop"
    keep_aspect: bool = False
    filter: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"] = "lanczos"
    channels: int | None = None
    labels: LabelsAsked = "classes"
    label_file: str | None = None
    value_range: tuple[float, float] | None = None
    max_label_size: int | None = None
    read_as: str | None = None
    format: Literal["prepared", "hdf5", "zip", "tfrecord"] = "prepared"
    shuffle: bool = True
    chunk: int = 500
    compression: Literal["none", "lzf", "gzip"] = "none"

    def __post_init__(self) -> None:
        if self.keep_aspect and self.fit != "crop":
            raise LimnerError(f"--keep-aspect keeps whole pictures; leave --fit {self.fit} out")
        if self.keep_aspect and self.format != "prepared":
            raise LimnerError(f"--keep-aspect: a {self.format} file holds squares; leave one out")


@dataclass(frozen=True)
class PreparedFacts:
    """What was prepared and where it lies.

    Attributes:
        image_shape: (C, H, W).
        num_classes: 0 without labels; with `has_rows` the numbers of a label.
        has_rows: labels are rows of numbers, and no image has one class.
        classes: {"name", "count"} of each class.
        refused: the first pictures left out, as {"name", "reason"}.
        notes: what a reader of the source should know.
        warnings: probable mistakes, as {"kind", "message"}.
    """

    out: Path
    num_images: int
    image_shape: tuple[int, int, int]
    num_classes: int
    has_rows: bool
    classes: list[dict[str, Any]]
    num_refused: int
    refused: list[dict[str, str]]
    notes: list[str]
    warnings: list[dict[str, str]]
    sha256: str


def prepare_data(
    source: str,
    out: str | Path,
    options: PrepareOptions | None = None,
    on_prepare: Progress | None = None,
    on_write: Progress | None = None,
    on_refused: Callable[[str, str], None] = lambda name, reason: None,
) -> PreparedFacts:
    """Bring a source into the prepared form or another program's file: `limner data prepare`.

    Args:
        source: built-in name, or path of anything that `limner train --data` takes.
        out: the directory to make, or the file with another format; it must not exist.
        on_prepare, on_write: called with (pictures done, their number or None).
        on_refused: called with (name, reason) of each picture left out, before a file is written.

    Raises:
        LimnerError: the source cannot be read, no picture of it can, `out` exists, or the options
            contradict a source that is prepared already.

    Examples:
        >>> options = limner.PrepareOptions(resolution=16)
        >>> facts = limner.prepare_data("photos/", "prepared/photos16", options)
        >>> facts.num_images, facts.image_shape
        (24, (3, 16, 16))
    """
    options, out = options or PrepareOptions(), Path(out)
    on_prepare, on_write = on_prepare or counter("preparing"), on_write or counter("writing")
    if options.format == "prepared":
        prepared = prepared_in(source, options, out, on_prepare)
        return _told(prepared, out, on_refused)
    if out.exists():
        raise LimnerError(f"--out {out}: exists already; remove it or give another place")
    if options.format == "tfrecord" and options.resolution is not None:
        for side in DataConfig(resolution=options.resolution).size:
            level_of(side, "--resolution")  # before the work, not after it
    place = temporary_name(out)
    try:
        found = standing(source)
        if found is not None:
            prepared = as_asked(found, options)
        else:
            prepared = prepared_in(source, options, place, on_prepare)
        facts = _told(prepared, out, on_refused)
        _write(prepared, out, options, on_write)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return facts


def prepared_in(
    source: str, options: PrepareOptions, out: Path, progress: Progress
) -> PreparedData:
    """The source, prepared at a place."""
    read = source_as(source, options.read_as, options.label_file)
    size = common_size(read) if options.resolution is None else options.resolution
    config = DataConfig(
        resolution=size,
        channels=options.channels,
        labels=options.labels,
        value_range=options.value_range,
        max_label_size=options.max_label_size,
        fit=options.fit,
        filter=options.filter,
        crop="random" if options.keep_aspect else "center",
    )
    return data.prepare(read, out, config, progress)


def as_asked(prepared: PreparedData, options: PrepareOptions) -> PreparedData:
    """What is prepared already; whatever was asked for besides the format must be its own."""
    made = prepared.info["settings"]
    if options.label_file is not None:
        raise LimnerError(
            f"--labels {options.label_file}: {prepared.place} is prepared with its labels: "
            "give the source itself"
        )
    names = ("resolution", "channels", "labels", "value_range", "max_label_size", "fit", "filter")
    for name in names:
        asked, held = getattr(options, name), made.get(name)
        held = tuple(held) if isinstance(held, list) else held
        if asked not in (getattr(PrepareOptions, name), held):
            raise LimnerError(
                f"--{name.replace('_', '-')} {asked}: {prepared.place} is prepared with "
                f"{made.get(name)}; leave it out, or give the source itself"
            )
    return prepared


def _write(prepared: PreparedData, out: Path, options: PrepareOptions, progress: Progress) -> None:
    if options.format == "zip":
        data.write_zip(prepared, out, progress)
    elif options.format == "tfrecord":
        data.write_tfrecords(prepared, out, options.shuffle, progress)
    else:
        data.write_hdf5(prepared, out, options.chunk, options.compression, progress)


def _told(
    prepared: PreparedData, out: Path, on_refused: Callable[[str, str], None]
) -> PreparedFacts:
    info = prepared.info
    for entry in info["refused"]:
        on_refused(entry["name"], entry["reason"])
    return PreparedFacts(
        out=out,
        num_images=len(prepared),
        image_shape=prepared.image_shape,
        num_classes=prepared.num_classes,
        has_rows=prepared.label_rows is not None,
        classes=info["classes"],
        num_refused=info["num_refused"],
        refused=info["refused"],
        notes=info["notes"],
        warnings=[
            finding._asdict()
            for finding in data.known_warnings(prepared)
            if finding.kind != "refused"  # they are told one by one
        ],
        sha256=prepared.sha256,
    )


def report_data(
    source: str,
    labels: LabelsAsked = "classes",
    read_as: str | None = None,
    label_file: str | None = None,
    sheet: str | Path | None = None,
    progress: Progress | None = None,
) -> DataReport:
    """Look at every picture of a source and say what is there: `limner data report`.

    Args:
        source: as for `prepare_data`, or a prepared directory.
        read_as, label_file: see `source_as`.
        sheet: FILE.png of example pictures to write, a row a class.
        progress: called with (pictures looked at, their number or None).

    Raises:
        LimnerError: the source cannot be read, or a sheet that is no PNG.

    Examples:
        >>> found = limner.report_data("photos/", sheet="photos.png")
        >>> found.num_images, [warning.kind for warning in found.warnings][:1]
        (24, ['few_images'])
    """
    if sheet is not None and Path(sheet).suffix.lower() != ".png":
        raise LimnerError(f"--out {sheet}: the sheet is a picture; give FILE.png")
    read = source_as(source, read_as, label_file)
    made = data.report(read, labels, progress or counter("looking"))
    if sheet is not None:
        from limner.sampling import save_png  # it brings torch, which nothing else here needs

        listed = "none" if labels == "none" else "classes"
        save_png(data.picture_sheet(read, labels=listed), Path(sheet))
    return made


def source_as(
    source: str, read_as: str | None = None, label_file: str | None = None
) -> str | Source:
    """A source as it stands, or what `read_as` makes of it, with the labels of a file elsewhere.

    Args:
        read_as: name of a kind of source ("MnistRgb", "module:Class"), or its settings as JSON:
            '{"type": "CelebaCrop", ...}'.

    Raises:
        LimnerError: no kind of source has that name, its settings are wrong, or it takes no labels
            from elsewhere.
    """
    if label_file is not None:
        found = find_source(source_as(source, read_as))
        if not isinstance(found, (ImageFolder, ImageZip)):
            raise LimnerError(
                f"--labels {label_file}: {source} is no folder or zip of pictures, and keeps its "
                "labels itself"
            )
        return found.replace(label_file=str(Path(label_file).expanduser()))
    if read_as is None:
        return source
    try:
        plain = json.loads(read_as) if read_as.lstrip().startswith("{") else {"type": read_as}
        settings = {"resolution": 1, "source": plain}
        given = decode(DataConfig, settings, import_modules=True).source
    except (ValueError, RecursionError) as error:
        raise LimnerError(f"--read-as {read_as[:200]}: {error}") from None
    return source if given is None else given.replace(path=source)  # pyright: ignore[reportAttributeAccessIssue]


def common_size(source: str | Source) -> int | tuple[int, int]:
    """The side of a source's pictures or their (height, width), where the first hundred have one.

    Raises:
        LimnerError: they are not, so that a size has to be chosen.
    """
    sizes: set[tuple[int, int]] = set()
    for item in itertools.islice(find_source(source).listing("none").items, NUM_LOOKED_AT):
        try:
            picture = item.open()
        except DECODE_ERRORS:  # preparing lists it with its reason
            continue
        if isinstance(picture, np.ndarray):
            sizes.add((picture.shape[0], picture.shape[1]))
            continue
        with picture:  # only its header was read
            sizes.add((picture.height, picture.width))
    if len(sizes) != 1:
        shown = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:3])
        name = source if isinstance(source, str) else source.path
        raise LimnerError(
            f"{name}: its pictures do not have one size ({shown or 'none readable'}, as height x "
            "width); give --resolution, for example 64"
        )
    height, width = sizes.pop()
    return height if height == width else (height, width)
