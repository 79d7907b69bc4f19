"""`limner report`: write a run's page again, or one about several runs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from limner.cli.parsing import Arg, parse
from limner.core.errors import CheckpointError, LimnerError
from limner.core.outputs import free_name

EXAMPLE = "limner report runs/digits"


@dataclasses.dataclass(frozen=True)
class Report:
    """One self-contained page about a run: curves, samples over time, scores, config; or one about
    two to six runs, with a curve a run.

    Training writes it at its end; this makes it at any time, also while the run goes on.
    """

    runs: Annotated[tuple[Path, ...], Arg("RUN", positional=True)]
    """Run directory, or logs of BigGAN-PyTorch: logs/EXPERIMENT, or EXPERIMENT_log.jsonl."""

    out: Annotated[Path | None, Arg("FILE")] = None
    """FILE.html; RUN/report.html by default, comparison.html here for several runs."""


def main(argv: Sequence[str]) -> int:
    """Write the page and say where; 0."""
    options = parse(Report, argv, "report", EXAMPLE)
    if options.out is not None and options.out.suffix.lower() not in (".html", ".htm"):
        raise LimnerError(f"--out {options.out}: the report is a page; give FILE.html")
    for run in options.runs:
        if not run.exists():
            raise CheckpointError(f"{run}: no such run directory")

    from limner.api import write_comparison, write_report

    if len(options.runs) == 1:
        print(write_report(options.runs[0], options.out))
    else:
        print(write_comparison(options.runs, options.out or free_name("comparison.html")))
    return 0
