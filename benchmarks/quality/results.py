"""Results: one JSON line a run, failures too, and the page made of them."""

import json
import math
import statistics
from pathlib import Path
from typing import Any

from limner.checkpoints.logs import append_line
from limner.core.files import write_atomically
from quality.published import PUBLISHED, Published

Record = dict[str, Any]

TITLES = {
    "conditional": "MNIST, class-conditional, 28x28 (8,000 digits; 2,000 held out)",
    "ring": "2-D ring",
    "grid": "2-D grid",
    "free-10k": "Stacked MNIST, protocol free-10k (limner's own: free recipe, 10,000 digits)",
    "photographs": "Crops of two photographs, 64x64 (1,500; 1,000 held out), 4 CPU minutes",
    "few-digits": "500 digits of MNIST, 32x32, unlabelled (2,000 held out), 2.5 CPU minutes",
    "thumbnails": "Crops of five photographs, 32x32 (5,000; 1,000 held out), 15 CPU minutes",
    "protocol-b-half": "Stacked MNIST, protocol B shortened to 60,000 iterations, D = 1/2 G",
    "protocol-b-quarter": "Stacked MNIST, protocol B shortened to 60,000 iterations, D = 1/4 G",
}
PERCENT = ("good",)
HEAD = """# Results of the quality benchmarks

Made by `python benchmarks/quality table` from the JSON lines beside it; what they mean and how they
are run stands in [docs/quality.md](../../docs/quality.md). "Floor" is what real digits or points
score in the place of generated ones. Published rows come from other data, networks and lengths:
they stand in tables of their own and are not compared row by row.
"""


def append(folder: Path, record: Record) -> None:
    """Add a line to the benchmark's file."""
    folder.mkdir(parents=True, exist_ok=True)
    append_line(folder / f"{record['benchmark']}.jsonl", record)


def records(folder: Path, name: str) -> list[Record]:
    """The lines of a benchmark, oldest first."""
    path = folder / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def finished(folder: Path, name: str, seed: int, steps: int, data: str) -> bool:
    """Whether a run of that seed, length and data stands there and did not fail."""
    return any(
        (line["seed"], line["planned_steps"], line["data"]) == (seed, steps, data)
        and line["failure"] is None
        for line in records(folder, name)
    )


# --- the page ----------------------------------------------------------------------------


def render(folder: Path, families: dict[str, str]) -> str:
    """The page of all results.

    Args:
        families: benchmark -> the section that it stands in.
    """
    parts = [HEAD]
    for family, title in TITLES.items():
        found = [
            line for name in families if families[name] == family for line in records(folder, name)
        ]
        parts.append(f"## {title}\n\n### limner\n")
        parts.append(own_table(found) if found else "No run yet.\n")
        parts += [published_table(table) for table in PUBLISHED.get(family, ())]
    return "\n".join(parts)


def write(folder: Path, families: dict[str, str]) -> Path:
    """The page as README.md beside the lines."""
    path = folder / "README.md"
    write_atomically(path, render(folder, families))
    return path


def own_table(found: list[Record]) -> str:
    """A row a run, then a mean over the seeds, a floor, and the commands."""
    good = [line for line in found if line["failure"] is None]
    names = list(good[0]["figures"]) if good else []
    columns = ["benchmark", "seed", "steps", *names, "goal", "CPU min", "wall min", "load"]
    rows = [_row(line, names) for line in found]
    for benchmark in dict.fromkeys(line["benchmark"] for line in good):
        of_one = [line for line in good if line["benchmark"] == benchmark]
        if len(of_one) > 1:
            rows.append(_mean_row(benchmark, of_one, names))
    if good:
        floor = good[-1]["floor"]
        rows.append(["floor (real)", "", "", *(_figure(n, floor[n]) for n in names), *[""] * 4])
    commands = sorted({line["command"] for line in found})
    goals = sorted({line["goal"] for line in found})
    below = [f"Goal: {'; '.join(goals)}.", "", *(f"    {command}" for command in commands), ""]
    return table(columns, rows) + "\n" + "\n".join(below)


def _row(line: Record, names: list[str]) -> list[str]:
    start = [line["benchmark"], str(line["seed"])]
    if line["failure"] is not None:
        cells = [f"FAILED at step {line['steps']}: {line['failure']}", *[""] * len(names)]
        return [*start, *cells, *_times(line)]
    of_planned = "" if line["steps"] == line["planned_steps"] else f" of {line['planned_steps']}"
    cells = [_figure(name, line["figures"][name]) for name in names]
    reached = "reached" if line["reached"] else "missed"
    return [*start, f"{line['steps']}{of_planned}", *cells, reached, *_times(line)[1:]]


def _times(line: Record) -> list[str]:
    minutes = (f"{line[name] / 60:.1f}" for name in ("cpu_seconds", "wall_seconds"))
    return ["", *minutes, str(line["load"])]


def _mean_row(benchmark: str, lines: list[Record], names: list[str]) -> list[str]:
    cells = []
    for name in names:
        values = [line["figures"][name] for line in lines]
        error = statistics.stdev(values) / math.sqrt(len(values))
        cells.append(f"{_figure(name, statistics.fmean(values))}+-{_figure(name, error)}")
    num = f"{sum(line['reached'] for line in lines)} of {len(lines)}"
    return [f"**{benchmark}**, mean+-s.e.", "", "", *cells, num, "", "", ""]


def _figure(name: str, value: float | None) -> str:
    if value is None:  # not finite: JSON has none
        return "-"
    value = 100 * value if name in PERCENT else value
    return f"{value:.0f}" if name == "modes" and value == round(value) else f"{value:.4g}"


def published_table(published: Published) -> str:
    """A published table with its source."""
    rows = [list(row) for row in published.rows]
    return f"### Published: {published.title}\n\nSource ({published.source}).\n\n" + table(
        list(published.columns), rows
    )


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
