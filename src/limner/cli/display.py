"""What a training run shows: one live line on a terminal, plain key=value lines otherwise."""

import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import TaskID

from limner.cli.progress import PLAIN_SECONDS, Live
from limner.core.ticks import tick_line

if TYPE_CHECKING:
    from limner.api import RunConfig

SHOWN = ("loss_d", "loss_g", "real_logits", "fake_logits")


class Display(Live):
    """Use as a context manager around training; its methods are the hooks of TrainOptions."""

    def __init__(self, config: "RunConfig", quiet: bool = False):
        self.is_main = int(os.environ.get("RANK", "0")) == 0
        quiet = quiet or not self.is_main
        super().__init__(Console(file=sys.stderr, quiet=quiet), facts=True)
        self._config = config
        self._task: TaskID | None = None
        self._last_plain = 0.0
        self._preparing: TaskID | None = None

    def say(self, lines: Iterable[str]) -> None:
        """Plain lines."""
        for line in lines:
            self._say(line)

    def on_prepare(self, done: int, total: int | None) -> None:
        """Pictures prepared so far."""
        if not self._live:
            return
        if self._preparing is None:
            self._preparing = self._progress.add_task("preparing", total=total, count="", facts="")
        count = f"{done:,}" + (f"/{total:,}" if total else "")
        self._progress.update(self._preparing, completed=done, total=total, count=count)

    def on_step(self, step: int, nimg: int) -> None:
        """One more step."""
        if not self._live:
            return
        steps = self._config.steps
        if self._task is None:
            total = steps if steps is not None else (self._config.kimg or 0) * 1000
            self._task = self._progress.add_task("training", total=total, count="", facts="")
        done = step if steps is not None else nimg
        count = f"{step:,}/{steps:,}" if steps is not None else f"{nimg / 1000:.1f} kimg"
        self._progress.update(self._task, completed=done, count=count)

    def on_log(self, record: dict[str, Any]) -> None:
        """One log record: on the live line, or every few seconds as a plain one."""
        facts = [f"{record['images_per_second']:.0f} images/s"]
        if "lod" in record:  # a growing run: PGGAN's tick line
            facts.append(tick_line(record))
        facts += [f"{name}={record[name]:.3f}" for name in SHOWN if name in record]
        if self._live and self._task is not None:
            self._progress.update(self._task, facts="  ".join(facts))
        elif time.monotonic() - self._last_plain > PLAIN_SECONDS:
            self._last_plain = time.monotonic()
            self._say(f"step={record['step']} nimg={record['nimg']} {' '.join(facts)}")

    def on_scores(self, line: dict[str, Any]) -> None:
        """One evaluation."""
        shown = [f"{r['name']}={r['value']:.4g}" for r in line["results"]]
        self._say(f"step={line['step']} {' '.join(shown)}")

    def on_event(self, event: str, message: str) -> None:
        """Resumed, warnings and notes; saves are too many to show."""
        if event != "saved":
            self._say(f"{event}: {message}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
