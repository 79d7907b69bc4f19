"""`limner import`: turn a checkpoint of another system into a model folder, or a run."""

import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from limner.api.cards import write_card
from limner.api.importing import IMPORTERS, import_model, import_run, importer_named, save_preview
from limner.cli.loading import warnings_as_lines
from limner.cli.parsing import Arg, parse
from limner.core.errors import ConfigError, LimnerError
from limner.core.outputs import named_after

EXAMPLE = "limner import biggan-pytorch weights/cifar --suffix best0 --out models/cifar"


@dataclasses.dataclass(frozen=True)
class Import:
    """Turn a checkpoint of another system into a model folder, which all commands take.

    Only tensors and plain values are read; nothing in a file is run. With --run, a training becomes
    a run that `limner train RUN/config.json --run RUN` goes on with, where the format has one.
    """

    format: Annotated[
        str,
        Arg(
            "FORMAT",
            positional=True,
            help=f"The checkpoint's system: {', '.join(IMPORTERS)}; or an importer of your own, "
            "FILE.py:CLASS or MODULE:CLASS. `limner import FORMAT --help` shows its options, "
            "`limner import known` lists public checkpoints.",
        ),
    ]

    source: Annotated[Path, Arg("SOURCE", positional=True)]
    """The checkpoint: a file, a folder of them, or hf:USER/NAME[@REVISION][/FILE] on the hub."""

    out: Path | None = None
    """Model folder to write; one that holds a model is replaced, anything else is refused. By
    default SOURCE-model here."""

    run: Path | None = None
    """Run directory to write instead, to train on; needs --data."""

    data: str | None = None
    """The pictures that the run goes on with, as for `limner train`."""

    set: Annotated[tuple[str, ...], Arg("KEY=VALUE")] = ()
    """What the files do not say, or say wrongly: an option of the format, or one of its program's
    flags (SN_eps=1e-6); may be repeated."""

    json: bool = False
    """Print the result as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Import and say what came of it; 0."""
    if argv[:1] == ["known"]:
        from limner.cli import known

        return known.main(argv[1:])
    options: Any = parse(options_of(argv), argv, "import", EXAMPLE)
    if options.out is not None and options.run is not None:
        raise LimnerError("give either --out MODEL or --run RUN")
    out = options.out or named_after(str(options.source), "model")
    names = {field.name for field in dataclasses.fields(Import)}
    own = (field.name for field in dataclasses.fields(options) if field.name not in names)
    settings = {name: getattr(options, name) for name in own}
    settings |= dict(_assignment(text) for text in options.set)
    what = (options.format, options.source)
    with warnings_as_lines("import"):
        preview = None
        if options.run is None:
            place, record = out, import_model(*what, out, settings)
            preview = str(save_preview(out))
            write_card(out, sheet=Path(preview))
        elif options.data is None:
            raise LimnerError("--run: give the pictures that training goes on with, --data DATA")
        else:
            place, record = options.run, import_run(*what, options.run, options.data, settings)
    config = record.config
    facts = {
        "out": str(place),
        "generator": type(config.generator).__name__,
        "image_shape": list(config.image_shape),
        "num_classes": config.num_classes,
        "origin": config.origin,
        "preview": preview,
        "next": next_command(options, place),
    }
    print(json.dumps(facts) if options.json else describe(facts))
    return 0


def next_command(options: Any, place: Path) -> str:
    """What to type now."""
    if options.run is not None:
        return f"limner train {place / 'config.json'} --run {place} --data {options.data}"
    return f"limner sample {place} --num 16 --grid --out sheet.png"


def options_of(argv: Sequence[str]) -> type[Import]:
    """`Import` with the options of the importer that the words name, where they name one."""
    named = [word for word in argv if word in IMPORTERS or word == argv[0]]
    if not named or named[0].startswith("-"):
        return Import
    importer: Any = importer_named(named[0])[1]
    texts = _attributes(importer.__doc__ or "")
    typed = [field for field in msgspec.structs.fields(importer) if not _is_object(field.type)]
    fields = [
        (field.name, Annotated[field.type, Arg(help=texts.get(field.name, ""))], field.default)
        for field in typed
    ]
    kind = dataclasses.make_dataclass("Import", fields, bases=(Import,), frozen=True, kw_only=True)
    kind.__doc__ = Import.__doc__
    return kind


def _is_object(annotation: Any) -> bool:
    """Whether values have names of their own, which --set gives."""
    return typing.get_origin(annotation) is dict


def _attributes(text: str) -> dict[str, str]:
    """name -> text under "Attributes:" of a docstring."""
    _, _, listed = inspect.cleandoc(text).partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", listed, re.MULTILINE)
    return {name: f"{words[0].upper()}{words[1:]}" for name, words in found}


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write KEY=VALUE, for example SN_eps=1e-6")
    try:
        return key.strip(), json.loads(value)
    except (ValueError, RecursionError):
        return key.strip(), value.strip()


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
    lines += [f"preview: {facts['preview']}"] if facts["preview"] else []
    lines.append(f"next: {facts['next']}")
    return "\n".join(lines)
