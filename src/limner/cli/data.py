"""`limner data prepare`, `shard` and `report`: bring pictures into form, or look at them."""

import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from limner.cli.parsing import Arg, parse
from limner.cli.progress import Counter
from limner.core.config import nearest
from limner.core.errors import LimnerError
from limner.core.outputs import named_after

if TYPE_CHECKING:
    from limner.api.preparing import PreparedFacts, PrepareOptions

ENDINGS = {
    "prepared": "prepared",
    "hdf5": "prepared.hdf5",
    "zip": "prepared.zip",
    "tfrecord": "tfrecords",
}
PREPARE_EXAMPLE = "limner data prepare photos/ --out data/photos64 --resolution 64"
REPORT_EXAMPLE = "limner data report photos/ --out sheet.png"

SHARD_EXAMPLE = "limner data shard photos/ --out s3://bucket/photos64 --resolution 64"

OVERVIEW = f"""usage: limner data prepare|shard|report [OPTIONS]

  prepare      decode and resize pictures once into arrays that training maps into memory
  shard        the same into tar files with an index, in a folder or an object store
  report       count pictures and classes, and say what looks like a mistake

examples:
  {PREPARE_EXAMPLE}
  {SHARD_EXAMPLE}
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

    out: Path | None = None
    """Directory to make, or FILE.hdf5 or FILE.zip with --format; named after SOURCE by default."""

    resolution: Annotated[str | None, Arg("N|HxW")] = None
    """Side in pixels of squares, or height x width as 48x80; may be left out where all pictures
    have one size."""

    fit: Literal["crop", "squash", "pad"] = "crop"
    """Largest centred part of that shape, squashed to it, or black bars."""

    keep_aspect: bool = False
    """Store pictures whole, the short side at the resolution; training with data.crop=random takes
    a square anywhere along the long side."""

    filter: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"] = "lanczos"
    """Resize filter."""

    channels: int | None = None
    """1 gray, 3 color, 4 color with transparency; by default 1 if every picture is gray, else 3."""

    value_range: Annotated[str | None, Arg("LOW,HIGH")] = None
    """Values that become black and white in pictures of more than 8 bits, as 0,4095."""

    labels: str = "classes"
    """classes (or folders): the source's classes; used: those that have pictures; none: one
    unlabelled set, read recursively; FILE.csv or FILE.json: labels that lie elsewhere."""

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
class Shard:
    """Put pictures into tar files of WebDataset's layout with an index, on a disk or in a store.

    Pictures that cannot be read are left out, a line each on stderr. --data takes the result.
    """

    source: SourceArgument
    """Any source that prepare takes, or a prepared directory."""

    out: Annotated[str, Arg("DIR|URL")]
    """Folder to make, or a URL such as s3://bucket/faces, whose driver (s3fs) is installed."""

    shard_size: Annotated[float, Arg("MB")] = 256
    """Most megabytes of a shard."""

    encoding: Literal["png", "jpeg"] = "png"
    """png keeps every value; jpeg (quality 95) is smaller and changes them a little."""

    shuffle: bool = True
    """Write in a random order, always the same; --no-shuffle keeps the source's."""

    resolution: Annotated[str | None, Arg("N|HxW")] = None
    """As for prepare, like the options below."""

    fit: Literal["crop", "squash", "pad"] = "crop"
    """Largest centred part of that shape, squashed to it, or black bars."""

    filter: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"] = "lanczos"
    """Resize filter."""

    channels: int | None = None
    """1 gray, 3 color, 4 color with transparency."""

    value_range: Annotated[str | None, Arg("LOW,HIGH")] = None
    """Values that become black and white in pictures of more than 8 bits."""

    labels: str = "classes"
    """classes (or folders), used, none, FILE.csv or FILE.json."""

    max_label_size: int | None = None
    """Keep the first so many columns of labels."""

    read_as: ReadAs = None
    """How to read SOURCE: a name or an object."""

    json: bool = False
    """Print the result as one JSON object on stdout."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Counts, classes, sizes, refused files, duplicates, and what looks like a mistake."""

    source: SourceArgument
    """Any source that prepare takes, or a prepared directory."""

    labels: str = "classes"
    """classes (or folders), none, or FILE.csv or FILE.json."""

    read_as: ReadAs = None
    """How to read SOURCE: a name or an object, as for prepare."""

    out: Path | None = None
    """FILE.png of example pictures, a row a class."""

    json: bool = False
    """Print the report as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Run the subcommand; 0, or 2 where none is named."""
    commands = {"prepare": prepare, "shard": shard, "report": report}
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

    from limner.api.preparing import prepare_data

    asked = options_of(options)
    out = options.out or named_after(options.source, ENDINGS[options.format])
    with Counter("preparing", quiet=options.json) as counter:
        writing = counter.then("writing")
        facts = prepare_data(options.source, out, asked, counter, writing, tell_refused)
    print(as_json(facts) if options.json else describe(facts))
    return 0


def options_of(options: Prepare | Shard) -> "PrepareOptions":
    """How pictures are prepared."""
    from limner.api.preparing import PrepareOptions

    names = {field.name for field in dataclasses.fields(PrepareOptions)}
    settings: dict[str, Any] = {
        name: value for name, value in vars(options).items() if name in names - {"shuffle"}
    }
    if isinstance(options, Prepare):
        settings["shuffle"] = options.shuffle
    settings["labels"], settings["label_file"] = labels_of(options.labels)
    settings["resolution"] = resolution_of(options.resolution)
    settings["value_range"] = range_of(options.value_range)
    return PrepareOptions(**settings)


def shard(argv: Sequence[str]) -> int:
    """Write a source as shards and say what came of it; 0."""
    options = parse(Shard, argv, "data shard", SHARD_EXAMPLE)

    from limner.api.sharding import ShardOptions, shard_data

    asked = options_of(options)
    sharding = ShardOptions(options.shard_size, options.encoding, options.shuffle)
    with Counter("preparing", quiet=options.json) as counter:
        writing = counter.then("writing")
        facts = shard_data(
            options.source, options.out, asked, sharding, counter, writing, tell_refused
        )
    if options.json:
        print(json.dumps(dataclasses.asdict(facts)))
        return 0
    channels, height, width = facts.image_shape
    print(
        f"{facts.out}: {facts.num_images:,} pictures {channels}x{height}x{width} in "
        f"{facts.num_shards:,} shards, {facts.num_bytes / 1e6:,.1f} MB"
    )
    return 0


def tell_refused(name: str, reason: str) -> None:
    """A picture that was left out, as a line on stderr."""
    print(f"limner data: refused {name}: {reason}", file=sys.stderr)


def report(argv: Sequence[str]) -> int:
    """Look at every picture and say what is there; 0."""
    options = parse(Report, argv, "data report", REPORT_EXAMPLE)
    labels, label_file = labels_of(options.labels)

    from limner.api.choosing import advise
    from limner.api.preparing import report_data, source_as

    with Counter("looking", quiet=options.json) as counter:
        made = report_data(
            options.source, labels, options.read_as, label_file, options.out, counter
        )
    advice = None
    if made.num_images:
        advice = advise(source_as(options.source, options.read_as, label_file), labels)
    if options.json:
        sheet = None if options.out is None else str(options.out)
        command = None if advice is None else advice.command
        print(json.dumps({**made.to_plain(), "sheet": sheet, "command": command}))
        return 0
    print("\n".join(made.lines()))
    if options.out is not None:
        print(f"sheet: {options.out}")
    if advice is not None:
        print("\n".join(["", *advice.lines()]))
    return 0


def labels_of(text: str) -> tuple[Literal["classes", "used", "none"], str | None]:
    """The setting behind --labels, and the file of labels that it names."""
    if text in ("classes", "folders"):
        return "classes", None
    if text == "used" or text == "none":
        return text, None
    if Path(text).suffix.lower() in (".csv", ".tsv", ".json"):
        return "classes", text
    raise LimnerError(
        f"--labels '{text}' is unknown; give classes, folders, used, none, or a file: FILE.csv "
        'with the columns file and label, or FILE.json, {"labels": [["picture.png", 3], ...]}'
    )


def resolution_of(text: str | None) -> int | tuple[int, int] | None:
    """The setting behind --resolution: a side, or height x width."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,4})(?:\s*[x,]\s*([1-9][0-9]{0,4}))?", text.strip("[] "))
    if match is None:
        raise LimnerError(f"--resolution '{text}': give a side, as 64, or height x width, as 48x80")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def range_of(text: str | None) -> tuple[float, float] | None:
    """The setting behind --value-range: two numbers, the second the larger."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.strip("[] ").split(","))
    except ValueError:
        raise LimnerError(f"--value-range '{text}': give two numbers, as 0,4095") from None
    return low, high


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
    lines += [f"  warning: {entry['message']}" for entry in facts.warnings]
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
            "warnings": facts.warnings,
            "sha256": facts.sha256,
        }
    )
