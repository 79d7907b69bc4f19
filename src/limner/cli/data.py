"""`limner data prepare` and `limner data report`: bring pictures into form, or look at them."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from limner.cli.parsing import parse
from limner.cli.progress import Counter
from limner.core.config import nearest
from limner.core.errors import LimnerError

if TYPE_CHECKING:
    from limner.data import PreparedData, Source

PREPARE_EXAMPLE = "limner data prepare photos/ --out data/photos64 --resolution 64"
REPORT_EXAMPLE = "limner data report photos/ --out sheet.png"
NUM_LOOKED_AT = 100  # pictures whose size decides where no --resolution is given

OVERVIEW = f"""usage: limner data prepare|report [OPTIONS]

  prepare      decode and resize pictures once into arrays that training maps into memory
  report       count pictures and classes, and say what looks like a mistake

examples:
  {PREPARE_EXAMPLE}
  {REPORT_EXAMPLE}
  limner data prepare --help
"""

ReadAs = Annotated[str | None, tyro.conf.arg(metavar="NAME|JSON")]
SourceArgument = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Decode, check and resize pictures once into arrays that training maps into memory.

    Pictures that cannot be read are left out, a line each on stderr and in DIR/dataset.json.
    """

    source: SourceArgument
    """Folder (flat or a folder a class), zip, .npz, HDF5, TFRecords, folder of CIFAR, MNIST, SVHN
    or LSUN, or the built-in digits."""

    out: Path
    """Directory to make, or FILE.hdf5 or FILE.zip with --format."""

    resolution: int | None = None
    """Height and width in pixels; may be left out where the pictures have one square size."""

    fit: Literal["crop", "squash", "pad"] = "crop"
    """Largest centred square, squashed to a square, or black bars."""

    keep_aspect: bool = False
    """Store pictures whole, the short side at the resolution; training with data.crop=random takes
    a square anywhere along the long side."""

    filter: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"] = "lanczos"
    """Resize filter."""

    channels: int | None = None
    """1 gray, 3 color; by default 1 if every picture is gray, else 3."""

    labels: str = "classes"
    """classes (or folders): the source's classes; none: one unlabelled set, read recursively."""

    max_label_size: int | None = None
    """Keep the first so many columns of labels, one-hot or rows of numbers (as PGGAN's option)."""

    read_as: ReadAs = None
    """How to read SOURCE where its look does not tell, or with settings: a name (MnistRgb,
    CelebaCrop, your "module:Class") or an object such as
    '{"type": "CelebaCrop", "center": [89, 121], "size": 128}'."""

    format: Literal["prepared", "hdf5", "zip", "tfrecord"] = "prepared"
    """prepared; hdf5 (BigGAN-PyTorch's layout); zip (StyleGAN's: PNGs and dataset.json); tfrecord
    (PGGAN's: OUT/OUT-rXX.tfrecords for each resolution)."""

    shuffle: bool = True
    """tfrecord: write in the order of numpy's RandomState(123), as PGGAN's dataset_tool does."""

    chunk: int = 500
    """Pictures stored together in an HDF5 file."""

    compression: Literal["none", "lzf", "gzip"] = "none"
    """Of an HDF5 file."""

    json: bool = False
    """Print the result as one JSON object on stdout."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Counts, classes, sizes, refused files, duplicates, and what looks like a mistake."""

    source: SourceArgument
    """Any source that prepare takes, or a prepared directory."""

    labels: str = "classes"
    """classes (or folders), or none."""

    read_as: ReadAs = None
    """How to read SOURCE: a name or an object, as for prepare."""

    out: Path | None = None
    """FILE.png of example pictures, a row a class."""

    json: bool = False
    """Print the report as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; 0, or 2 where none is named."""
    commands = {"prepare": prepare, "report": report}
    if argv and argv[0] in commands:
        return commands[argv[0]](argv[1:])
    if argv and argv[0] in ("-h", "--help"):
        print(OVERVIEW)
        return 0
    if argv:
        print(f"limner data: no command '{argv[0]}'{nearest(argv[0], commands)}", file=sys.stderr)
    else:
        print(OVERVIEW, file=sys.stderr)
    return 2


def prepare(argv: Sequence[str]) -> int:
    """Prepare a source and say what came of it; 0."""
    options = parse(Prepare, argv, "data prepare", PREPARE_EXAMPLE)
    labels = labels_of(options.labels)
    if options.keep_aspect and options.fit != "crop":
        raise LimnerError(f"--keep-aspect keeps whole pictures; leave --fit {options.fit} out")
    if options.keep_aspect and options.format != "prepared":
        raise LimnerError(f"--keep-aspect: a {options.format} file holds squares; leave one out")
    if options.format == "prepared":
        _tell(_prepared(options, labels, options.out), options.out, options.json)
        return 0

    from limner.core.files import temporary_name

    place = temporary_name(options.out)
    try:
        prepared = _export(options, labels, place)
        _tell(prepared, options.out, options.json)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return 0


def _prepared(options: Prepare, labels: Literal["classes", "none"], out: Path) -> "PreparedData":
    from limner.data import DataConfig, prepare

    resolution, source = options.resolution, source_of(options.source, options.read_as)
    config = DataConfig(
        resolution=common_size(source) if resolution is None else resolution,
        channels=options.channels,
        labels=labels,
        max_label_size=options.max_label_size,
        fit=options.fit,
        filter=options.filter,
        crop="random" if options.keep_aspect else "center",
    )
    with Counter("preparing", quiet=options.json) as counter:
        return prepare(source, out, config, counter)


def _export(options: Prepare, labels: Literal["classes", "none"], place: Path) -> "PreparedData":
    """Write the file; what is no prepared directory is prepared at a place beside it first."""
    from limner.data import PreparedData, write_hdf5, write_tfrecords, write_zip
    from limner.data.prepared import is_prepared
    from limner.formats.tfrecords import level_of

    if options.out.exists():
        raise LimnerError(f"--out {options.out}: exists already; remove it or give another place")
    if options.format == "tfrecord" and options.resolution is not None:
        level_of(options.resolution, "--resolution")  # before the work, not after it
    source = Path(options.source).expanduser()
    if is_prepared(source):
        prepared = PreparedData(source)
        made = prepared.info["settings"]
        for name in ("resolution", "channels", "labels", "max_label_size", "fit", "filter"):
            asked = getattr(options, name)
            if asked not in (getattr(Prepare, name), made.get(name)):
                raise LimnerError(
                    f"--{name.replace('_', '-')} {asked}: {source} is prepared with "
                    f"{made.get(name)}; leave it out, or give the source itself"
                )
    else:
        prepared = _prepared(options, labels, place)
    with Counter("writing", quiet=options.json) as counter:
        if options.format == "zip":
            write_zip(prepared, options.out, counter)
        elif options.format == "tfrecord":
            write_tfrecords(prepared, options.out, options.shuffle, counter)
        else:
            write_hdf5(prepared, options.out, options.chunk, options.compression, counter)
    return prepared


def _tell(prepared: "PreparedData", out: Path, as_object: bool) -> None:
    for entry in prepared.info["refused"]:
        print(f"limner data: refused {entry['name']}: {entry['reason']}", file=sys.stderr)
    print(as_json(prepared, out) if as_object else describe(prepared, out))


def report(argv: Sequence[str]) -> int:
    """Look at every picture and say what is there; 0."""
    options = parse(Report, argv, "data report", REPORT_EXAMPLE)
    labels = labels_of(options.labels)
    if options.out is not None and options.out.suffix.lower() != ".png":
        raise LimnerError(f"--out {options.out}: the sheet is a picture; give FILE.png")

    from limner import data

    source = source_of(options.source, options.read_as)
    with Counter("looking", quiet=options.json) as counter:
        made = data.report(source, labels, counter)
    if options.out is not None:
        from limner.sampling import save_png

        save_png(data.picture_sheet(source, labels=labels), options.out)
    if options.json:
        sheet = None if options.out is None else str(options.out)
        print(json.dumps({**made.to_plain(), "sheet": sheet}))
        return 0
    print("\n".join(made.lines()))
    if options.out is not None:
        print(f"sheet: {options.out}")
    return 0


def labels_of(text: str) -> Literal["classes", "none"]:
    """The setting behind --labels.

    Raises:
        LimnerError: neither of the two; a file of labels is told where it has to stand.
    """
    if text in ("classes", "folders"):
        return "classes"
    if text == "none":
        return "none"
    if Path(text).suffix:
        raise LimnerError(
            f"--labels {text}: labels in a separate file are not read; put it into the source as "
            'dataset.json, {"labels": [["picture.png", 3], ...]}, or make a folder a class'
        )
    raise LimnerError(f"--labels '{text}' is unknown; give classes, folders or none")


def source_of(source: str, read_as: str | None) -> "str | Source":
    """SOURCE as it stands, or what --read-as makes of it.

    Raises:
        LimnerError: no kind of source has that name, or its settings are wrong.
    """
    if read_as is None:
        return source
    from limner.core.config import decode
    from limner.data import DataConfig

    try:
        plain = json.loads(read_as) if read_as.lstrip().startswith("{") else {"type": read_as}
        given = decode(DataConfig, {"resolution": 1, "source": plain}, import_modules=True).source
    except (ValueError, RecursionError) as error:
        raise LimnerError(f"--read-as {read_as[:200]}: {error}") from None
    return source if given is None else given.replace(path=source)  # pyright: ignore[reportAttributeAccessIssue]


def common_size(source: "str | Source") -> int:
    """The side of the source's pictures, where the first hundred are squares of one size.

    Raises:
        LimnerError: they are not, so that a size has to be chosen.
    """
    import itertools

    import numpy as np

    from limner.data.pictures import DECODE_ERRORS
    from limner.data.sources import find_source

    sizes: set[tuple[int, int]] = set()
    for item in itertools.islice(find_source(source).listing("none").items, NUM_LOOKED_AT):
        try:
            picture = item.open()
        except DECODE_ERRORS:  # preparing lists it with its reason
            continue
        if isinstance(picture, np.ndarray):
            sizes.add((picture.shape[1], picture.shape[0]))
            continue
        with picture:  # only its header was read
            sizes.add(picture.size)
    shown = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)[:3]) or "none readable"
    if len(sizes) != 1 or len(set(*sizes)) != 1:
        name = source if isinstance(source, str) else source.path
        raise LimnerError(
            f"{name}: its pictures are not squares of one size ({shown}); give --resolution, "
            "for example 64"
        )
    return next(iter(sizes))[0]


def describe(prepared: "PreparedData", out: Path) -> str:
    """What was prepared, for people."""
    channels, height, width = prepared.image_shape
    classes = f"{prepared.num_classes} classes" if prepared.num_classes else "no classes"
    if prepared.label_rows is not None:
        classes = f"labels of {prepared.num_classes} numbers"
    info = prepared.info
    lines = [f"{out}: {len(prepared):,} pictures {channels}x{height}x{width}, {classes}"]
    lines += [f"  note: {note}" for note in info["notes"]]
    if info["num_refused"]:
        first = info["refused"][0]
        where = f" (all in {out / 'dataset.json'})" if out.is_dir() else ""
        lines.append(
            f"  refused: {info['num_refused']}, first {first['name']}: {first['reason']}{where}"
        )
    return "\n".join(lines)


def as_json(prepared: "PreparedData", out: Path) -> str:
    """The same for programs."""
    return json.dumps(
        {
            "out": str(out),
            "num_images": len(prepared),
            "image_shape": list(prepared.image_shape),
            "num_classes": prepared.num_classes,
            "classes": prepared.info["classes"],
            "num_refused": prepared.info["num_refused"],
            "notes": prepared.info["notes"],
            "sha256": prepared.sha256,
        }
    )
