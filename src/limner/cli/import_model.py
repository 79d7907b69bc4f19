"""`limner import`: turn a checkpoint of another system into a model folder."""

import dataclasses
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from limner.checkpoints.importers import IMPORTERS
from limner.cli.parsing import parse
from limner.core.config import nearest
from limner.core.errors import LimnerError

EXAMPLE = "limner import dcgan-mmgen iter_300000.pth --out models/faces"


@dataclasses.dataclass(frozen=True)
class Import:
    """Turn a checkpoint of another system into a model folder, which all commands take.

    Only tensors are read from the file; nothing in it is run.
    """

    format: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="FORMAT", help=f"The checkpoint's system: {', '.join(IMPORTERS)}."),
    ]

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """The checkpoint file."""

    out: Path
    """Model folder to write; one that holds a model is replaced, anything else is refused."""

    bgr: bool = False
    """The checkpoint was trained in BGR: swap its color channels, so that images are RGB."""

    suffix: str | None = None
    """Which of several sets of weights to take, for formats that have them."""

    json: bool = False
    """Print the result as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Import and say what came of it; 0."""
    options = parse(Import, argv, "import", EXAMPLE)
    if options.format not in IMPORTERS:
        raise LimnerError(
            f"no format '{options.format}'{nearest(options.format, IMPORTERS)}; "
            "see limner import --help"
        )
    if not options.source.exists():
        raise LimnerError(f"{options.source}: no such file")

    from limner.checkpoints import write_model

    importer = importlib.import_module(IMPORTERS[options.format])
    record = importer.read(options.source, bgr=options.bgr, suffix=options.suffix)
    write_model(options.out, record)
    config = record.config
    facts = {
        "out": str(options.out),
        "generator": type(config.generator).__name__,
        "image_shape": list(config.image_shape),
        "num_classes": config.num_classes,
        "origin": config.origin,
    }
    print(json.dumps(facts) if options.json else describe(facts))
    return 0


def describe(facts: dict) -> str:
    """The same for people, the origin item by item."""
    channels, height, width = facts["image_shape"]
    classes = f"{facts['num_classes']} classes" if facts["num_classes"] else "no classes"
    lines = [f"{facts['out']}: {facts['generator']}, {channels}x{height}x{width}, {classes}"]
    lines += [
        f"  {key.replace('_', ' ')}: {value}" for key, value in facts["origin"].items() if value
    ]
    return "\n".join(lines)
