"""Several runs on one page: a curve a run in each chart, and a table of their best scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limner.checkpoints import RunDirectory
from limner.core.errors import LimnerError
from limner.reports.page import as_run, gather_figures, monotonic, write_page
from limner.reports.plots import (
    COLORS,
    MOST_MARKED,
    Chart,
    Curve,
    Panel,
    Points,
    Records,
    draw,
    series,
)

KEYS = {
    "loss_d": ("Loss of the discriminator", ""),
    "loss_g": ("Loss of the generator", ""),
    "real_logits": ("The discriminator's answers to real pictures", "Mean output."),
    "fake_logits": ("The discriminator's answers to generated pictures", "Mean output."),
}


def write_comparison(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write one HTML file about several runs, or logs of BigGAN-PyTorch, that needs nothing else.

    Args:
        runs: two to six, each as for `write_report`.
        out: the file, which is written whole or not at all.

    Raises:
        LimnerError: too few or many runs; CheckpointError, MissingExtra: see `write_report`.

    Examples:
        >>> limner.write_comparison(["runs/digits", "runs/digits"], "comparison.html").name
        'comparison.html'
    """
    if not 2 <= len(runs) <= len(COLORS):
        raise LimnerError(f"{len(runs)} runs: a comparison takes 2 to {len(COLORS)}")
    found = []
    for run in runs:
        with as_run(Path(run)) as directory:
            found.append(_Run(str(run), directory))
    scores = list(dict.fromkeys(name for run in found for name in run.best))
    words = {
        "names": [run.name for run in found],
        "scores": scores,
        "rows": [
            (run.name, run.status, [run.best.get(name, "-") for name in scores]) for run in found
        ],
        "score_charts": _score_charts(found, scores),
        "training_charts": _training_charts(found),
    }
    write_page("comparison.html.j2", words, Path(out))
    return Path(out)


class _Run:
    """What a comparison reads of a run."""

    def __init__(self, name: str, directory: RunDirectory):
        figures = gather_figures(directory)
        self.name, self.status = name, figures["status"]
        self.best = {row["name"]: row["best"] for row in figures["score_rows"]}
        self.log: Records = monotonic(directory.read_log("log"))
        self.scores: Records = monotonic(directory.read_log("scores"))
        self.spectra: Records = monotonic(directory.read_log("spectra"))

    def score(self, name: str) -> Points:
        """Steps and values of a score."""
        values = [
            {"step": record["step"], name: result.get("value")}
            for record in self.scores
            for result in record.get("results", [])
            if result.get("name") == name
        ]
        return series(values, name)

    def largest(self, player: str) -> Points:
        """The largest singular value of all layers of a player."""
        rows: list[dict[str, Any]] = []
        for record in self.spectra:
            values = [record[key] for key in record if key.startswith(f"{player}.")]
            known = [value for value in values if value is not None]
            rows.append({"step": record["step"], "largest": max(known, default=None)})
        return series(rows, "largest")


def _score_charts(runs: Sequence[_Run], scores: Sequence[str]) -> list[Chart]:
    charts = [_chart(name, "", [(run, run.score(name)) for run in runs]) for name in scores]
    return [chart for chart in charts if chart is not None]


def _training_charts(runs: Sequence[_Run]) -> list[Chart]:
    charts = [
        _chart(title, note, [(run, series(run.log, key)) for run in runs])
        for key, (title, note) in KEYS.items()
    ]
    charts += [
        _chart(
            f"Largest singular value, {name}",
            "Over all normalized layers. A sudden rise often comes before a collapse.",
            [(run, run.largest(player)) for run in runs],
        )
        for player, name in (("g", "generator"), ("d", "discriminator"))
    ]
    return [chart for chart in charts if chart is not None]


def _chart(title: str, note: str, found: Sequence[tuple[_Run, Points]]) -> Chart | None:
    curves = [
        Curve(Path(run.name).name, points, color)
        for (run, points), color in zip(found, COLORS, strict=False)
        if len(points[0])
    ]
    if not curves:
        return None
    few = max(len(curve.points[0]) for curve in curves) <= MOST_MARKED
    return draw(title, note, [Panel(curves, markers=few)])
