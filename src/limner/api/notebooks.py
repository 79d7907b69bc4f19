"""Progress under the cell of a notebook; outside of one nothing is shown."""

import dataclasses
import datetime
import sys
import time
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from limner.core.counting import Progress

if TYPE_CHECKING:
    from PIL import Image

    from limner.api.carrying import TrainedRun, TrainOptions
    from limner.engine import RunConfig

SECONDS = 0.5  # between two changes of what is shown
WIDEST = 640  # pixels of a sheet
FIGURES = ("loss_d", "loss_g", "real_logits", "fake_logits")
HOOKS = ("on_step", "on_log", "on_scores", "on_event", "on_sample")


def in_notebook() -> bool:
    """Whether a kernel runs this, and so whether a cell can show more than text."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


class Cell:
    """A bar, a line and more HTML under the running cell, changed as long as the work goes on."""

    def __init__(self) -> None:
        from IPython.display import display

        self._last = time.monotonic()
        self._handle: Any = display({"text/plain": ""}, raw=True, display_id=True)

    def show(
        self, line: str, done: float, total: float | None, more: str = "", at_once: bool = False
    ) -> None:
        """Replace what is shown, but for changes that follow too soon."""
        if not at_once and time.monotonic() - self._last < SECONDS:
            return
        self._last = time.monotonic()
        share = f'max="{total}" value="{done}"' if total else ""
        html = f'<progress {share} style="width: 24em"></progress><div>{escape(line)}</div>{more}'
        self._handle.update({"text/html": html, "text/plain": line}, raw=True)


def counter(verb: str) -> Progress:
    """What takes (done, total or None) of some work and shows it."""
    if not in_notebook():
        return lambda done, total: None
    cell: Cell | None = None

    def count(done: int, total: int | None) -> None:
        nonlocal cell
        cell = cell or Cell()
        line = f"{verb}: {done:,}" + (f" of {total:,}" if total else "")
        cell.show(line, done, total, at_once=done == total)

    return count


class TrainingCell:
    """A run as it trains: what is done and left, the newest figures, events, scores and sheet."""

    def __init__(self, config: "RunConfig"):
        self._config, self._cell = config, Cell()
        self._began: tuple[float, int] | None = None  # seconds on the clock, and what was done
        self._figures: list[str] = []
        self._lines: list[str] = []
        self._sheet = ""

    def listening(self, options: "TrainOptions") -> "TrainOptions":
        """The options with this cell beside the hooks that they have."""
        hooks = {name: _both(getattr(self, name), getattr(options, name)) for name in HOOKS}
        prepare = options.on_prepare or counter("preparing")
        return dataclasses.replace(options, **hooks, on_prepare=prepare)

    def on_step(self, step: int, nimg: int) -> None:
        """One more step."""
        steps, now = self._config.steps, time.monotonic()
        done, total = (step, steps) if steps else (nimg, (self._config.kimg or 0) * 1000)
        if self._began is None:
            self._began = now, done
            return
        began, before = self._began
        left = round((total - done) * (now - began) / max(done - before, 1))
        count = f"step {step:,} of {steps:,}" if steps else f"{nimg:,} of {total:,.0f} images"
        line = " · ".join([count, f"{datetime.timedelta(seconds=left)} left", *self._figures])
        self._cell.show(line, done, total, self._more())

    def on_log(self, record: dict[str, Any]) -> None:
        """One log record."""
        self._figures = [f"{record['images_per_second']:.0f} images/s"]
        self._figures += [f"{name} {record[name]:.3f}" for name in FIGURES if name in record]

    def on_scores(self, record: dict[str, Any]) -> None:
        """One evaluation."""
        figures = [f"{result['name']} {result['value']:.4g}" for result in record["results"]]
        self._lines.append(f"step {record['step']:,}: {', '.join(figures)}")

    def on_event(self, event: str, message: str) -> None:
        """Resumed, warnings and notes; saves are too many to show, the end stands above."""
        if event not in ("saved", "finished"):
            self._lines.append(f"{event}: {message}")

    def on_sample(self, step: int, picture: "Image.Image") -> None:
        """One sheet of samples."""
        from limner.sampling.showing import html_picture

        self._sheet = f"<div>step {step:,}</div>{html_picture(picture, WIDEST)}"

    def end(self, run: "TrainedRun") -> None:
        """What the call left."""
        ended = "stopped" if run.outcome.signal else "finished"
        line = f"{ended} at step {run.outcome.step:,}, {run.outcome.nimg:,} images shown"
        if run.verdict:
            self._lines.append(run.verdict)
        self._cell.show(line, 1, 1, self._more(), at_once=True)

    def _more(self) -> str:
        return "".join(f"<div>{escape(line)}</div>" for line in self._lines) + self._sheet


def _both(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        first(*arguments)
        second(*arguments)

    return call
