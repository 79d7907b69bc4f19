"""Scores as a table, as JSON and as a plot."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from limner.api.early import check_metrics
from limner.api.starting import own_data
from limner.cli.parsing import Arg
from limner.core.errors import LimnerError

if TYPE_CHECKING:
    from rich.console import Console

    from limner.api import Result

Features = Annotated[
    str | None,
    Arg(
        "NAME|FILE",
        help="Feature extractor: inception, inception-torchvision, inception-bfloat16, "
        "effnet-lite0, classifier, random-conv, pixels, timm:NAME, torchvision:NAME, a file of "
        "weights or .onnx, or module:Class of your own; by default what fits the pictures "
        "(docs/scores.md).",
    ),
]


def metric_names(text: str, modules: Sequence[str]) -> list[str]:
    """The names of "fid,prdc", among them those of the modules that the user named."""
    from limner.api import find_metric
    from limner.core.config import load_module

    names = check_metrics(text)
    for module in modules:
        load_module(module)
    for name in names:
        find_metric(name)
    return names


def data_or_own(data: str | None, model: str) -> str:
    """--data, or the pictures that a run learned from."""
    own = data or own_data(model)
    if own is None:
        raise LimnerError(
            f"{model}: no run, whose pictures would be known; give real ones to compare with, "
            "--data DATA"
        )
    return own


def say_notes(results: "list[Result]", command: str, more: Iterable[str] = ()) -> list[str]:
    """What a reader must know besides the figures, after `more`, as lines on stderr; the lines."""
    from limner.api import notes

    lines = [*more, *notes(results)]
    for line in lines:
        print(f"limner {command}: note: {line}", file=sys.stderr)
    return lines


def as_json(by_step: "dict[int, list[Result]]", along: bool, notes: list[str]) -> dict[str, Any]:
    """{"results", "notes"}; of several checkpoints also all of them and the best of each figure.

    "results" is then those of the step that is best by the first figure.
    """
    from limner.api.judging import as_records, best_steps
    from limner.core.config import encode

    if not along:
        results = by_step.get(0, [])
        return {"results": [encode(result) for result in results], "notes": notes}
    best = best_steps(by_step)
    step = best[next(iter(by_step.values()))[0].name]
    results = [encode(result) for result in by_step[step]]
    return {
        "results": results,
        "notes": notes,
        "step": step,
        "best": best,
        "checkpoints": as_records(by_step),
    }


def title_of(model: str, data: str | Path | None) -> str:
    """What a table or plot is of."""
    own = data is not None and own_data(model) == str(data)
    return f"{model} against {'its own pictures' if own else data}"


def show(by_step: "dict[int, list[Result]]", along: bool, title: str) -> None:
    """A row a figure, or, of several checkpoints, a row a checkpoint with the best ones marked."""
    from rich.console import Console

    if not by_step:
        return
    table = _table_along(by_step) if along else _table(by_step[0])
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(title, markup=False, highlight=False, soft_wrap=True)
    console.print(table, markup=False)
    show_origins(console, next(iter(by_step.values())))


def show_origins(console: "Console", results: "list[Result]") -> None:
    """A line for each extractor that figures come from."""
    for line in dict.fromkeys(_origin(result) for result in results):
        console.print(line, markup=False, highlight=False)


def _table(results: "list[Result]") -> Any:
    from rich.table import Table

    from limner.api import Scores
    from limner.api.tables import HEADINGS

    table = Table()
    table.add_column(HEADINGS[0])
    for heading in HEADINGS[1:]:
        table.add_column(heading, justify="right")
    for row in Scores(results).rows():
        table.add_row(*row)
    return table


def _table_along(by_step: "dict[int, list[Result]]") -> Any:
    from rich.table import Table

    from limner.api.judging import best_steps
    from limner.api.tables import shown

    best, table = best_steps(by_step), Table()
    table.add_column("step", justify="right")
    first = max(by_step.values(), key=len)
    for result in first:
        table.add_column(result.name, justify="right")
    for step, results in sorted(by_step.items()):
        cells = {r.name: shown(r.value) + (" *"[best[r.name] == step]) for r in results}
        table.add_row(f"{step:,}", *(cells.get(result.name, "") for result in first))
    table.add_section()
    table.add_row("floor", *(shown(result.floor) + " " for result in first))
    return table


def _origin(result: "Result") -> str:
    """What else decides a figure, on one line."""
    weights = f", weights {result.weights_sha256[:8]}" if result.weights_sha256 else ""
    resize = f", resize {result.resize}" if result.resize else ""
    real = f" of {result.num_real:,} real images" if result.num_real else ""
    return (
        f"{result.extractor}{weights}{resize}; data {result.data_sha256[:8]}{real}; "
        f"seed {result.seed}"
    )


def write_plot(path: Path, by_step: "dict[int, list[Result]]", title: str) -> None:
    """See `plotted`."""
    from limner.api import save_png
    from limner.api.score_plot import plotted

    save_png(plotted(by_step, title), path, {"Software": "limner"})
