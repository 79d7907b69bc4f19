"""Scores as a picture."""

import numpy as np
from PIL import Image

from limner.core.errors import MissingExtra
from limner.metrics import Result

MOST_COLUMNS = 4
FLOOR = "#4b5563"  # a dashed line of real against real pictures


def plotted(by_step: dict[int, list[Result]], title: str) -> Image.Image:
    """A panel a figure: value and deviation beside the floor, or both along the steps.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "report", "the plot of scores") from None
    from limner.reports.plots import BLUE, STYLE

    steps = sorted(by_step)
    names = [result.name for result in by_step[steps[0]]]
    num_columns = min(len(names), MOST_COLUMNS)
    num_rows = -(-len(names) // num_columns)
    with matplotlib.rc_context(STYLE):
        drawing = Figure((3.2 * num_columns, 2.8 * num_rows), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(drawing)
        for place, name in enumerate(names):
            axes = drawing.add_subplot(num_rows, num_columns, place + 1)
            results = [by_step[step][place] for step in steps]
            values = [result.value for result in results]
            spread = np.array([result.std or 0.0 for result in results])
            floor = results[0].floor
            if len(steps) > 1:
                axes.plot(steps, values, color=BLUE, marker="o", markersize=3)
                axes.fill_between(
                    steps, values - spread, values + spread, color=BLUE, alpha=0.15, linewidth=0
                )
                axes.set_xlabel("step")
                if floor is not None:
                    axes.axhline(floor, color=FLOOR, linestyle="--", linewidth=1)
            else:
                bars = [("value", values[0])] + ([("floor", floor)] if floor is not None else [])
                colors = [BLUE, "#9aa3af"][: len(bars)]
                axes.bar([n for n, _ in bars], [v for _, v in bars], color=colors, width=0.6)
                axes.set_xlim(-0.6, 1.6)
                axes.errorbar([0], values, yerr=spread, color="#1f2937", capsize=3)
            axes.set_title(name)
        drawing.suptitle(title)
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
