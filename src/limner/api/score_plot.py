"""Scores as a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from limner.api.judging import best_steps
from limner.core.errors import MissingExtra
from limner.metrics import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_COLUMNS = 4
GRAY = "#4b5563"
ROOM = 3.0  # heights of a curve: a floor that is farther away would make it flat


def plotted(by_step: dict[int, list[Result]], title: str) -> Image.Image:
    """A panel a figure: a bar beside its floor, or a line along the steps with the floor dashed.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "report", "the plot of scores") from None
    from limner.reports.plots import STYLE

    steps = sorted(by_step)
    best = best_steps(by_step)
    names = [result.name for result in by_step[steps[0]]]
    num_columns = min(len(names), MOST_COLUMNS)
    num_rows = -(-len(names) // num_columns)
    with matplotlib.rc_context(STYLE):
        drawing = Figure((3.2 * num_columns, 2.8 * num_rows), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(drawing)
        for place, name in enumerate(names):
            axes = drawing.add_subplot(num_rows, num_columns, place + 1)
            results = [by_step[step][place] for step in steps]
            if len(steps) > 1:
                _draw_along(axes, steps, results, best[name])
            else:
                _draw_beside_floor(axes, results[0])
            axes.set_title(name)
        drawing.suptitle(title)
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _draw_along(axes: "Axes", steps: list[int], results: list[Result], best: int) -> None:
    """A line along the steps, its band of deviations, the best ringed."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    from limner.reports.plots import BLUE, short_number

    values = np.array([result.value for result in results])
    spread = np.array([result.std or 0.0 for result in results])
    axes.plot(steps, values, color=BLUE, marker="o", markersize=3)
    axes.fill_between(steps, values - spread, values + spread, color=BLUE, alpha=0.15, linewidth=0)
    place = steps.index(best)
    axes.plot([best], [values[place]], "o", markersize=9, color=GRAY, fillstyle="none")
    axes.annotate("best", (best, values[place]), (0, 7), textcoords="offset points", color=GRAY)
    mark_floor(axes, results[0].floor, values)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axes.margins(y=0.15)


def _draw_beside_floor(axes: "Axes", result: Result) -> None:
    from limner.reports.plots import BLUE

    bars = [("value", result.value)]
    if result.floor is not None:
        bars.append(("floor", result.floor))
    colors = [BLUE, "#9aa3af"][: len(bars)]
    axes.bar([name for name, _ in bars], [value for _, value in bars], color=colors, width=0.6)
    axes.set_xlim(-0.6, 1.6)
    if result.std:
        axes.errorbar([0], [result.value], yerr=[result.std], color="#1f2937", capsize=3)


def mark_floor(axes: "Axes", floor: float | None, values: Sequence[float] | np.ndarray) -> None:
    """A dashed line at the figure of real against real pictures; in words where it is so far from
    a curve's values that they would lie flat."""
    if floor is None:
        return
    low, high = float(np.min(values)), float(np.max(values))
    room = ROOM * (high - low)
    if room == 0 or low - room <= floor <= high + room:
        axes.axhline(floor, color=GRAY, linestyle="--", linewidth=1)
        words, place, coordinates, side = "floor", (0.01, floor), ("axes fraction", "data"), "left"
    else:
        words, place, coordinates, side = f"floor {floor:.4g}", (1.0, 1.0), "axes fraction", "right"
    axes.annotate(
        words, place, (0, 2), xycoords=coordinates, textcoords="offset points", ha=side,
        va="bottom", color=GRAY, fontsize=9,
    )  # fmt: skip
