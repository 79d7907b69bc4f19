"""What a run leaves on the disk, and what it does when the disk refuses."""

from collections.abc import Callable
from typing import Any

from limner.checkpoints import RunDirectory, save_state
from limner.core import distributed
from limner.core.errors import DiskError

Record = dict[str, Any]


class Keeper:
    """Writes lines, checkpoints and sheets of a run.

    With `failed_saves` = 0 the first refusal of the disk ends the run. Otherwise the run goes on:
    lines wait in memory until they can be written, sheets are left out, and only more than so many
    failed saves in a row end it. Nothing is ever dropped from a log, and a checkpoint is not
    written before all lines up to its step are.

    `complain` is given one line when the disk begins to refuse, and one for each failed save.
    """

    def __init__(self, run: RunDirectory, failed_saves: int, complain: Callable[[str], None]):
        self._run, self._allowed, self._complain = run, failed_saves, complain
        self._waiting: list[tuple[str, Record]] = []
        self._failed = 0

    def append(self, name: str, record: Record) -> None:
        """Add a record to one of the run's logs, now or when the disk takes it."""
        self._waiting.append((name, record))
        if len(self._waiting) == 1 or not self._allowed:
            self.attempt(self._write_lines)
        else:
            self._write_quietly()

    def _write_lines(self) -> None:
        while self._waiting:
            self._run.append(*self._waiting[0])
            del self._waiting[0]

    def _write_quietly(self) -> None:
        try:
            self._write_lines()
        except DiskError:  # said when it began
            return

    def attempt(self, work: Callable[[], None]) -> None:
        """Do what a run can do without: a refusal of the disk ends the run only if it must."""
        try:
            work()
        except (DiskError, OSError) as error:
            if not self._allowed:
                raise
            self._complain(f"{_line(error)}; the run goes on")

    def save(self, step: int, tree: Record, rank_tree: Record | None, last: bool = False) -> bool:
        """Write a checkpoint (see `save_state`), and say whether it was written; all processes call
        it. After the `last` one nothing comes, so its failure ends the run in any case.

        Raises:
            DiskError: too many saves in a row failed; names path, bytes needed and free.
        """
        try:
            save_state(self._run.checkpoints, step, tree, rank_tree, first=self._flush)
        except DiskError as error:
            self._failed += 1
            if last or self._failed > self._allowed:
                raise
            if distributed.rank() == 0:
                self._complain(f"{error}; failed saves in a row: {self._failed}, the run goes on")
            return False
        self._failed = 0
        return True

    def finish(self) -> None:
        """The run ends: lines that still wait are written now, or the disk's refusal is raised."""
        self._write_lines()

    def _flush(self) -> None:
        self._write_lines()
        self._run.sync_logs()


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
