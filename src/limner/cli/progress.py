"""Progress of long work: one live line on a terminal, which alone needs rich, and otherwise a plain
line every few seconds."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import TaskID

PLAIN_SECONDS = 5.0  # between two plain lines


class Live:
    """Lines on stderr, and on a terminal a live one below them while the context is entered; with
    `facts` it ends in a column "facts" of its tasks."""

    def __init__(self, quiet: bool = False, facts: bool = False, transient: bool = False):
        self._quiet = quiet
        self._live = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._progress: Any = _progress(facts, transient) if self._live else None

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._progress.stop()

    def _print(self, text: str) -> None:
        if self._live:
            self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)


def _progress(facts: bool, transient: bool) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=10 if facts else 24),
        TextColumn("{task.fields[count]}"),
        TextColumn("{task.fields[facts]}") if facts else TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=transient,
    )


class Counter(Live):
    """Counts on stderr. Use as a context manager and call it with (done, total or None)."""

    def __init__(self, verb: str, quiet: bool = False, unit: str = "images"):
        super().__init__(quiet, transient=True)
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
            self._print(f"{self._verb}: {count}")

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
