"""`limner import`: turn a checkpoint of another system into a model folder, or a run."""

import dataclasses
import importlib
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from limner.checkpoints.importers import IMPORTERS
from limner.cli.parsing import parse
from limner.core.config import nearest
from limner.core.errors import ConfigError, LimnerError

if TYPE_CHECKING:
    from limner.checkpoints import ModelRecord

EXAMPLE = "limner import biggan-pytorch weights/cifar --suffix best0 --out models/cifar"


@dataclasses.dataclass(frozen=True)
class Import:
    """Turn a checkpoint of another system into a model folder, which all commands take.

    Only tensors and plain values are read; nothing in a file is run. With --run, biggan-pytorch
    becomes a run that `limner train RUN/config.json --run RUN` goes on with.
    """

    format: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(metavar="FORMAT", help=f"The checkpoint's system: {', '.join(IMPORTERS)}."),
    ]

    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SOURCE")]
    """The checkpoint: a file, or a folder of them."""

    out: Path | None = None
    """Model folder to write; one that holds a model is replaced, anything else is refused."""

    run: Path | None = None
    """Run directory to write instead, to train on; needs --data."""

    data: str | None = None
    """The pictures that the run goes on with, as for `limner train`."""

    bgr: bool = False
    """The checkpoint was trained in BGR: swap its color channels, so that images are RGB."""

    suffix: str | None = None
    """Which of several sets of weights to take, for formats that have them: best0, copy1."""

    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")
    ] = ()
    """What the files do not say, or say wrongly: an option of the format, or for biggan-pytorch one
    of that program's flags (SN_eps=1e-6); may be repeated."""

    json: bool = False
    """Print the result as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Import and say what came of it; 0."""
    options = parse(Import, argv, "import", EXAMPLE)
    if options.format not in IMPORTERS:
        raise LimnerError(
            f"no format '{options.format}'; the formats are {', '.join(sorted(IMPORTERS))}"
        )
    if not options.source.exists():
        raise LimnerError(f"{options.source}: no such file")
    if (options.out is None) == (options.run is None):
        raise LimnerError("give either --out MODEL or --run RUN")
    importer = importlib.import_module(IMPORTERS[options.format])
    facts = _model(options, importer) if options.run is None else _run(options, importer)
    print(json.dumps(facts) if options.json else describe(facts))
    return 0


def _model(options: Import, importer: Any) -> dict[str, Any]:
    from limner.checkpoints import write_model

    assert options.out is not None
    record = importer.read(options.source, **keywords(options, importer.read))
    write_model(options.out, record)
    return _facts(options.out, record)


def _run(options: Import, importer: Any) -> dict[str, Any]:
    if not hasattr(importer, "read_training"):
        raise LimnerError(f"{options.format}: its files hold no training; give --out instead")
    if options.data is None:
        raise LimnerError("--run: give the pictures that training goes on with, --data DATA")
    from limner.api.importing import import_run
    from limner.checkpoints import find_model

    assert options.run is not None
    given = keywords(options, importer.read_training)
    import_run(options.source, options.run, options.data, **given)
    return _facts(options.run, find_model(options.run))


def keywords(options: Import, read: Callable[..., Any]) -> dict[str, Any]:
    """Those of the options that were given, as arguments of an importer's function.

    Raises:
        LimnerError: it does not take one of them; names what it takes.
    """
    settings = dict(_assignment(text) for text in options.set)
    given = {"bgr": options.bgr, "suffix": options.suffix}
    given = {name: value for name, value in given.items() if value}
    takes = list(inspect.signature(read).parameters)[1:]
    if "settings" in takes:
        given |= {"settings": settings} if settings else {}
    else:
        given |= settings
    for name in given:
        if name not in takes:
            flag = f"--set {name}" if name in settings else f"--{name}"
            hint = nearest(name, takes) if name in settings else ""
            raise LimnerError(f"{options.format}: has no {flag}{hint}; leave it out")
    return given


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write KEY=VALUE, for example SN_eps=1e-6")
    try:
        return key.strip(), json.loads(value)
    except (ValueError, RecursionError):
        return key.strip(), value.strip()


def _facts(place: Path, record: "ModelRecord") -> dict[str, Any]:
    config = record.config
    return {
        "out": str(place),
        "generator": type(config.generator).__name__,
        "image_shape": list(config.image_shape),
        "num_classes": config.num_classes,
        "origin": config.origin,
    }


def describe(facts: dict) -> str:
    """The same for people, the origin item by item."""
    channels, height, width = facts["image_shape"]
    classes = f"{facts['num_classes']} classes" if facts["num_classes"] else "no classes"
    lines = [f"{facts['out']}: {facts['generator']}, {channels}x{height}x{width}, {classes}"]
    for key, value in facts["origin"].items():
        if isinstance(value, dict):
            lines += [f"  {name}: {item}" for name, item in value.items()]
        elif value:
            lines.append(f"  {key.replace('_', ' ')}: {value}")
    return "\n".join(lines)
