"""`limner report`: write a run's page again."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from limner.cli.parsing import Arg, parse
from limner.core.errors import CheckpointError, LimnerError

EXAMPLE = "limner report runs/digits"


@dataclasses.dataclass(frozen=True)
class Report:
    """One self-contained page about a run: curves, samples over time, scores, config.

    Training writes it at its end; this makes it at any time, also while the run goes on.
    """

    run: Annotated[Path, Arg("RUN", positional=True)]
    """Run directory."""

    out: Annotated[Path | None, Arg("FILE")] = None
    """FILE.html; RUN/report.html by default."""


def main(argv: Sequence[str]) -> int:
    """Write the page and say where; 0."""
    options = parse(Report, argv, "report", EXAMPLE)
    if options.out is not None and options.out.suffix.lower() not in (".html", ".htm"):
        raise LimnerError(f"--out {options.out}: the report is a page; give FILE.html")
    if not options.run.is_dir():
        raise CheckpointError(f"{options.run}: no such run directory")

    from limner.api import write_report

    print(write_report(options.run, options.out))
    return 0
