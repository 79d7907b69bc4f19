"""`limner import known`: the table of public checkpoints, and one of them fetched and imported."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from limner.api.cards import write_card
from limner.api.importing import save_preview
from limner.api.known import KNOWN, Known, import_known, known_named
from limner.cli.loading import warnings_as_lines
from limner.cli.parsing import Arg, parse
from limner.cli.progress import Counter

EXAMPLE = "limner import known r3gan-ffhq-256 --out models/faces"
HEADINGS = ("", "format", "MB", "sha256", "licence")


@dataclasses.dataclass(frozen=True)
class ImportKnown:
    """List public checkpoints that limner reads, or fetch one and turn it into a model folder.

    What a checkpoint may be used for its page says; a column is empty where no page says it.
    """

    name: Annotated[str | None, Arg("NAME", positional=True)] = None
    """Checkpoint to fetch; without it they are listed."""

    out: Path | None = None
    """Model folder to write; by default NAME here."""

    json: bool = False
    """Print the list or the result as JSON on stdout."""


def main(argv: Sequence[str]) -> int:
    """List, or fetch and import; 0."""
    options = parse(ImportKnown, argv, "import known", EXAMPLE)
    if options.name is None:
        return _list(options.json)
    known_named(options.name)
    out = options.out or Path(options.name)
    with Counter("fetching", quiet=options.json) as counter, warnings_as_lines("import known"):
        record = import_known(options.name, out, counter)
        preview = save_preview(out)
        write_card(out, sheet=preview)
    if options.json:
        facts = {"out": str(out), "origin": record.config.origin, "preview": str(preview)}
        print(json.dumps(facts))
    else:
        print(f"{out}\npreview: {preview}\nnext: limner sample {out} --grid --out sheet.png")
    return 0


def _list(as_json: bool) -> int:
    if as_json:
        print(json.dumps([_plain(name, known) for name, known in KNOWN.items()]))
        return 0
    rows = [HEADINGS, *(_row(name, known) for name, known in KNOWN.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    print(
        "\nlimner import known NAME fetches and imports one; with --json the list has addresses.\n"
        "Empty: no page says it. None of them was fetched by limner's own tests."
    )
    return 0


def _row(name: str, known: Known) -> tuple[str, ...]:
    size = "" if known.megabytes is None else str(known.megabytes)
    note = known.licence if known.files else f"{known.licence}; by hand: {known.page}"
    return (name, known.format, size, known.sha256[:8], note)


def _plain(name: str, known: Known) -> dict[str, Any]:
    return {"name": name, **dataclasses.asdict(known)}
