"""Progress of long work: one live line on a terminal, a plain line every few seconds otherwise."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 5.0  # between two plain lines


class Live:
    """A console, and on a terminal a live line, shown while the context is entered; with `facts`
    it ends in a column "facts" of its tasks."""

    def __init__(self, console: Console, facts: bool = False, transient: bool = False):
        self._console = console
        self._live = console.is_terminal and not console.quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10 if facts else 24),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[facts]}") if facts else TimeRemainingColumn(),
            console=console,
            disable=not self._live,
            transient=transient,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


class Counter(Live):
    """Counts on stderr. Use as a context manager and call it with (done, total or None)."""

    def __init__(self, verb: str, quiet: bool = False, unit: str = "images"):
        super().__init__(Console(stderr=True, quiet=quiet), transient=True)
        self._verb, self._unit = verb, unit
        self._task: TaskID | None = None
        self._last_plain = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        """So many of so many are done."""
        count = f"{done:,}" + (f"/{total:,}" if total else "") + f" {self._unit}"
        if self._live:
            if self._task is None:
                self._task = self._progress.add_task(self._verb, total=total, count="")
            self._progress.update(self._task, completed=done, total=total, count=count)
        elif time.monotonic() - self._last_plain > PLAIN_SECONDS:
            self._last_plain = time.monotonic()
            self._console.print(f"{self._verb}: {count}", highlight=False, markup=False)

    def then(self, verb: str) -> Callable[[int, int | None], None]:
        """The counter of the next stage of the same work; its first call ends this one."""

        def count(done: int, total: int | None) -> None:
            if self._verb != verb:
                self._verb = verb
                if self._task is not None:
                    self._progress.remove_task(self._task)
                    self._task = None
            self(done, total)

        return count
