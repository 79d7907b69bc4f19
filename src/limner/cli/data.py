"""`limner data prepare` and `limner data report`: bring pictures into form, or look at them."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from limner.cli.parsing import Arg, parse
from limner.cli.progress import Counter
from limner.core.config import nearest
from limner.core.errors import LimnerError

if TYPE_CHECKING:
    from limner.api.preparing import PreparedFacts

PREPARE_EXAMPLE = "limner data prepare photos/ --out data/photos64 --resolution 64"
REPORT_EXAMPLE = "limner data report photos/ --out sheet.png"

OVERVIEW = f"""usage: limner data prepare|report [OPTIONS]

  prepare      decode and resize pictures once into arrays that training maps into memory
  report       count pictures and classes, and say what looks like a mistake

examples:
  {PREPARE_EXAMPLE}
  {REPORT_EXAMPLE}
  limner data prepare --help
"""

ReadAs = Annotated[str | None, Arg(metavar="NAME|JSON")]
SourceArgument = Annotated[str, Arg("SOURCE", positional=True)]


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

    from limner.api.preparing import PrepareOptions, prepare_data

    names = [field.name for field in dataclasses.fields(PrepareOptions)]
    settings: dict[str, Any] = {name: getattr(options, name) for name in names}
    settings["labels"] = labels_of(options.labels)
    asked = PrepareOptions(**settings)
    with Counter("preparing", quiet=options.json) as counter:
        writing = counter.then("writing")
        facts = prepare_data(options.source, options.out, asked, counter, writing, tell_refused)
    print(as_json(facts) if options.json else describe(facts))
    return 0


def tell_refused(name: str, reason: str) -> None:
    """A picture that was left out, as a line on stderr."""
    print(f"limner data: refused {name}: {reason}", file=sys.stderr)


def report(argv: Sequence[str]) -> int:
    """Look at every picture and say what is there; 0."""
    options = parse(Report, argv, "data report", REPORT_EXAMPLE)
    labels = labels_of(options.labels)

    from limner.api.preparing import report_data

    with Counter("looking", quiet=options.json) as counter:
        made = report_data(options.source, labels, options.read_as, options.out, counter)
    if options.json:
        sheet = None if options.out is None else str(options.out)
        print(json.dumps({**made.to_plain(), "sheet": sheet}))
        return 0
    print("\n".join(made.lines()))
    if options.out is not None:
        print(f"sheet: {options.out}")
    return 0


def labels_of(text: str) -> Literal["classes", "none"]:
    """The setting behind --labels; a file of labels is told where it has to stand."""
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


def describe(facts: "PreparedFacts") -> str:
    """What was prepared, for people."""
    channels, height, width = facts.image_shape
    classes = f"{facts.num_classes} classes" if facts.num_classes else "no classes"
    if facts.has_rows:
        classes = f"labels of {facts.num_classes} numbers"
    lines = [f"{facts.out}: {facts.num_images:,} pictures {channels}x{height}x{width}, {classes}"]
    lines += [f"  note: {note}" for note in facts.notes]
    if facts.num_refused:
        first = facts.refused[0]
        where = f" (all in {facts.out / 'dataset.json'})" if facts.out.is_dir() else ""
        lines.append(
            f"  refused: {facts.num_refused}, first {first['name']}: {first['reason']}{where}"
        )
    return "\n".join(lines)


def as_json(facts: "PreparedFacts") -> str:
    """The same for programs."""
    return json.dumps(
        {
            "out": str(facts.out),
            "num_images": facts.num_images,
            "image_shape": list(facts.image_shape),
            "num_classes": facts.num_classes,
            "classes": facts.classes,
            "num_refused": facts.num_refused,
            "notes": facts.notes,
            "sha256": facts.sha256,
        }
    )
