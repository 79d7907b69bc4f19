"""Fidelity against diversity: scores along the truncation, the strip of the same seeds, a plot."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner.api.scoring import data_for
from limner.core.config import encode
from limner.core.errors import LimnerError, MissingExtra
from limner.core.files import write_atomically
from limner.core.images import to_uint8
from limner.data import DataConfig
from limner.sampling import Model, SamplePlan, StandingPlan, save_png, sheet, using_statistics
from limner.sampling.latents import TruncationMode
from limner.sampling.standing import Statistics, standing_statistics

if TYPE_CHECKING:
    from limner.metrics import ImageStream, Result

SATURATED = 0.99  # of the largest value: a pixel beyond is as black or white as it gets
MOST_TRUNCATIONS = 1000
NUM_STRIP_ROWS, MOST_STRIP_COLUMNS = 8, 20


@dataclass(frozen=True)
class CurveOptions:
    """What is measured and how.

    Attributes:
        truncations: ascending.
        truncation_mode, truncation_cutoff: see `Model.sample`; "statistics" takes the stored sets.
        metrics, features, seed: as for `evaluate`.
        num: generated images a point; by default as many as there are pictures, at most 10,000.
        standing: standing statistics are accumulated for each point, or once at `standing_at`.
        batch_size: images a forward pass.
    """

    truncations: Sequence[float]
    truncation_mode: TruncationMode | None = None
    metrics: Sequence[str] = ("fid", "is")
    num: int | None = None
    features: str | None = None
    seed: int = 0
    standing: StandingPlan | None = None
    standing_at: float | None = None
    batch_size: int = 64
    truncation_cutoff: int | None = None

    def __post_init__(self) -> None:
        from limner.metrics import find_metric

        if not self.metrics:
            raise LimnerError("metrics: give at least one, for example fid,is")
        for name in self.metrics:
            metric = find_metric(name)
            if metric.reads == "generator" or metric.fixed is not None:
                raise LimnerError(
                    f"metric '{name}' is of whole latents, which no truncation changes; "
                    "leave it out"
                )
        given = list(self.truncations)
        if not given or given != sorted(set(given)) or given[0] <= 0:
            raise LimnerError("truncations: give numbers above 0, each once, in rising order")
        if self.standing is None and self.standing_at is not None:
            raise LimnerError("standing_at says where to accumulate; say how much, too: standing")
        if self.standing is not None and self.truncation_mode == "statistics":
            raise LimnerError(
                "truncation mode 'statistics' uses the stored statistics; leave standing out, or "
                "take resample or scale"
            )

    def plan(
        self, model: Model, truncation: float, seeds: Sequence[int], y: np.ndarray | None = None
    ) -> SamplePlan:
        """Images of a point."""
        return model.plan(
            seeds=seeds,
            y=y,
            truncation=truncation,
            truncation_mode=self.truncation_mode,
            truncation_cutoff=self.truncation_cutoff,
        )


@dataclass
class Curve:
    """The points, one a truncation, and the strip.

    Attributes:
        points: {"truncation", "saturated", "results": as `limner evaluate` gives them}.
        first: the results of the first point with most; names, floors, origins are those of all.
        strip: uint8 [rows x columns, H, W, C], a row a seed, a column one of `strip_truncations`.
    """

    points: list[dict[str, Any]]
    first: "list[Result]"
    strip: np.ndarray
    strip_truncations: list[float] = field(default_factory=list)


def parse_truncations(text: str) -> list[float]:
    """Numbers from "0.05:1.0:0.05" (first:last:step, the last included) or "0.5,1,2".

    Raises:
        LimnerError: another text, a step that is not positive, too many points.
    """
    pieces = text.split(":")
    try:
        numbers = [float(piece) for piece in (pieces if len(pieces) == 3 else text.split(","))]
    except ValueError:
        numbers = []
    if not numbers or not np.isfinite(numbers).all():
        raise LimnerError(
            f"truncations '{text}': write FIRST:LAST:STEP or numbers, for example 0.05:1.0:0.05"
        )
    if len(pieces) != 3:
        return numbers
    first, last, step = numbers
    if step <= 0 or last < first or (last - first) / step > MOST_TRUNCATIONS:
        raise LimnerError(
            f"truncations '{text}': the step must be positive, the last not below the first, and "
            f"the points at most {MOST_TRUNCATIONS}"
        )
    count = int((last - first) / step + 1e-6) + 1
    return [round(first + i * step, 9) for i in range(count)]


def truncation_curve(
    model: Model,
    data: str | Path,
    options: CurveOptions,
    recipe: DataConfig | None = None,
    on_point: Callable[[int, int], None] = lambda done, total: None,
) -> Curve:
    """Score the model along truncations; every point has the same seeds and classes. Noise of a
    model with styles is random in what is scored, and that of the model in the strip.

    Raises:
        LimnerError: unknown metrics, a truncation that the model has no statistics for.
    """
    from limner.metrics import make_evaluator

    for truncation in options.truncations:
        options.plan(model, truncation, [0])  # refused now, if at all
    prepared = data_for(model, data, recipe)
    num = min(len(prepared), 10_000) if options.num is None else options.num
    evaluator = make_evaluator(
        prepared, list(options.metrics), num, options.features, options.seed, model.device
    )
    labelled = model.num_classes == prepared.num_classes
    points, columns, results = [], [], []
    shown = _spread(list(options.truncations), MOST_STRIP_COLUMNS)
    fixed = None if options.standing_at is None else _standing(model, options, options.standing_at)
    for done, truncation in enumerate(options.truncations):
        statistics = _standing(model, options, truncation) if fixed is None else fixed
        with using_statistics(model.generator, statistics):
            images = _Images(model, options, truncation, labelled)
            results.append(evaluator(images))
            points.append(
                {
                    "truncation": truncation,
                    "saturated": images.saturated,
                    "results": [encode(result) for result in results[-1]],
                }
            )
            if truncation in shown:
                columns.append(_strip_column(model, options, truncation))
        on_point(done + 1, len(options.truncations))
    strip = np.stack(columns, axis=1)
    return Curve(points, max(results, key=len), strip.reshape(-1, *strip.shape[2:]), shown)


def _standing(model: Model, options: CurveOptions, truncation: float) -> Statistics:
    if options.standing is None:
        return {}
    mode = model.look(truncation, options.truncation_mode).mode
    return standing_statistics(
        model.generator, options.standing, model.num_classes, truncation, mode
    )


class _Images:
    """sample(num, seed) of a truncation, made as they are looked at, and their saturated share."""

    def __init__(self, model: Model, options: CurveOptions, truncation: float, labelled: bool):
        self._model, self._options, self._truncation = model, options, truncation
        self._labelled = labelled
        self._beyond: dict[int, tuple[int, int]] = {}  # by a part's beginning: pixels beyond, all

    def __call__(self, num: int, seed: int) -> "tuple[ImageStream, Tensor | None]":
        from limner.metrics import ImageStream

        classes = self._model.num_classes
        y = np.arange(num) % classes if classes else None

        def part(begin: int, end: int) -> Tensor:
            seeds, labels = range(seed + begin, seed + end), None if y is None else y[begin:end]
            plan = self._options.plan(self._model, self._truncation, seeds, labels)
            plan = replace(plan, look=replace(plan.look, noise="random"))
            pieces, beyond = [], 0
            for images in self._model.batches(plan, self._options.batch_size):
                beyond += int((images.abs() > SATURATED).sum())
                pieces.append(to_uint8(images).cpu())
            pixels = torch.cat(pieces)
            self._beyond[begin] = (beyond, pixels.numel())
            return pixels

        labels = None if y is None or not self._labelled else torch.from_numpy(y)
        return ImageStream(num, self._model.image_shape, part), labels

    @property
    def saturated(self) -> float:
        """Of what was looked at."""
        beyond, pixels = np.sum(list(self._beyond.values()), axis=0)
        return float(beyond / pixels)


def _strip_column(model: Model, options: CurveOptions, truncation: float) -> np.ndarray:
    seeds = range(options.seed, options.seed + NUM_STRIP_ROWS)
    return model.draw(options.plan(model, truncation, seeds), options.batch_size)


def _spread(items: list[float], most: int) -> list[float]:
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


# --- files -----------------------------------------------------------------


def write_curve(curve: Curve, folder: str | Path, title: str = "") -> dict[str, Path]:
    """curve.csv, strip.png and curve.png in a folder.

    Raises:
        MissingExtra: the plot wants matplotlib; the other files are then there.
    """
    folder = Path(folder)
    paths = {name: folder / name for name in ("curve.csv", "strip.png", "curve.png")}
    write_atomically(paths["curve.csv"], _as_csv(curve))
    headings = [f"{truncation:g}" for truncation in curve.strip_truncations]
    strip = sheet(curve.strip, columns=len(headings), headings=headings)
    save_png(strip, paths["strip.png"], {"Software": "limner", "truncations": " ".join(headings)})
    save_png(_plot(curve, title), paths["curve.png"], {"Software": "limner"})
    return paths


def figures(curve: Curve) -> dict[str, list[float]]:
    """The columns of curve.csv: the truncations, the saturated shares, each figure, deviations."""
    columns: dict[str, list[float]] = {
        "truncation": [point["truncation"] for point in curve.points],
        "saturated": [point["saturated"] for point in curve.points],
    }
    by_name = [{each["name"]: each for each in point["results"]} for point in curve.points]
    for result in curve.first:
        found = [results.get(result.name, {}) for results in by_name]  # without what was left out
        columns[result.name] = [each.get("value", math.nan) for each in found]
        if result.std is not None:
            columns[f"{result.name}-std"] = [each.get("std", math.nan) for each in found]
    return columns


def _as_csv(curve: Curve) -> str:
    columns = figures(curve)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def _plot(curve: Curve, title: str) -> Image.Image:
    """One panel a figure over the truncation, its floor dashed; and the first two against each
    other."""
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "report", "the plot of a curve") from None
    from limner.api.score_plot import mark_floor
    from limner.reports.plots import BLUE, STYLE

    columns = figures(curve)
    floors = {result.name: result.floor for result in curve.first}
    truncations = columns.pop("truncation")
    names = [name for name in columns if not name.endswith("-std") and name != "saturated"]
    panels = [("truncation", truncations, name, columns[name]) for name in [*names, "saturated"]]
    if len(names) > 1:
        panels.insert(0, (names[0], columns[names[0]], names[1], columns[names[1]]))
    num_columns = 2 if len(panels) in (2, 4) else min(len(panels), 3)
    num_rows = -(-len(panels) // num_columns)
    with matplotlib.rc_context(STYLE):
        drawing = Figure((4.2 * num_columns, 3.2 * num_rows), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(drawing)
        for number, (x_name, x, y_name, y) in enumerate(panels, 1):
            axes = drawing.add_subplot(num_rows, num_columns, number)
            axes.plot(x, y, color=BLUE, marker="o", markersize=3)
            if f"{y_name}-std" in columns and x_name == "truncation":
                spread = np.array(columns[f"{y_name}-std"])
                axes.fill_between(x, y - spread, y + spread, color=BLUE, alpha=0.15, linewidth=0)
            if y_name == "saturated":
                axes.set_ylim(bottom=0)
            if x_name == "truncation":
                mark_floor(axes, floors.get(y_name), y)
            if x_name != "truncation":
                for place in {0, len(x) - 1}:
                    text, point = f"T = {truncations[place]:g}", (x[place], y[place])
                    axes.annotate(text, point, (6, -9), textcoords="offset points")
                axes.margins(x=0.15)
            axes.set_xlabel(x_name)
            axes.set_ylabel("share of pixels beyond 0.99" if y_name == "saturated" else y_name)
        drawing.suptitle(title)
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
