"""What a training run shows: one live line on a terminal, plain key=value lines otherwise."""

import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from limner.cli.progress import PLAIN_SECONDS, Live
from limner.core.ticks import duration, rate_words, tick_line

if TYPE_CHECKING:
    from rich.progress import TaskID

    from limner.api import RunConfig

PLAIN = ("data", "setting")  # events whose lines speak for themselves
SHOWN = ("loss_d", "loss_g", "real_logits", "fake_logits")


class Display(Live):
    """Use as a context manager around training; its methods are the hooks of TrainOptions."""

    def __init__(self, config: "RunConfig", quiet: bool = False):
        self.is_main = int(os.environ.get("RANK", "0")) == 0
        quiet = quiet or not self.is_main
        super().__init__(quiet, facts=True)
        self._config = config
        self._task: TaskID | None = None
        self._last_plain = 0.0
        self._preparing: TaskID | None = None

    def say(self, lines: Iterable[str]) -> None:
        """Plain lines."""
        for line in lines:
            self._print(line)

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
        done, total = self._config.length(step, nimg)
        if self._task is None:
            self._task = self._progress.add_task("training", total=total, count="", facts="")
        count = f"{nimg / 1000:.1f}/{total / 1000:g} kimg"
        if self._config.steps is not None:
            count = f"{step:,}/{total:,}"
        self._progress.update(self._task, completed=done, count=count)

    def on_glance(self, record: dict[str, Any]) -> None:
        """How it goes: on the live line, or every few seconds as a plain one."""
        facts = [rate_words(record["images_per_second"])]
        if record["seconds_left"]:
            facts.append(f"{duration(record['seconds_left'])} left")
        facts += [f"{name}={record[name]:.3f}" for name in SHOWN if name in record]
        if "lod" in record:  # a growing run: PGGAN's tick line
            facts.append(tick_line(record))
        if self._live and self._task is not None:
            self._progress.update(self._task, facts="  ".join(facts))
        elif time.monotonic() - self._last_plain > PLAIN_SECONDS:
            self._last_plain = time.monotonic()
            self._print(f"step={record['step']} nimg={record['nimg']} {' '.join(facts)}")

    def on_scores(self, line: dict[str, Any]) -> None:
        """One evaluation."""
        shown = [f"{r['name']}={r['value']:.4g}" for r in line["results"]]
        self._print(f"step={line['step']} {' '.join(shown)}")

    def on_event(self, event: str, message: str) -> None:
        """Resumed, warnings and notes; saves are too many to show."""
        if event in PLAIN:
            self._print(message)
        elif event != "saved":
            self._print(f"{event}: {message}")
