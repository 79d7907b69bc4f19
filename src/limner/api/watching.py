"""What a run's directory shows of it, for who looks at it while it trains. Reads only."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limner.api.choosing import compared, value_text
from limner.checkpoints import RunDirectory
from limner.core.errors import CheckpointError
from limner.reports.page import gather_figures, sheets_in

_DRAWING = threading.Lock()  # matplotlib's settings are those of the whole process


@dataclass(frozen=True)
class RunView:
    """A run as it is now.

    Attributes:
        figures: those of the report's template: title, status, facts, charts, score_rows, alarms.
        sheets: step -> picture of the samples at it.
    """

    figures: dict[str, Any]
    sheets: dict[int, Path]


def view_run(run: str | Path) -> RunView:
    """The run as it is now.

    Raises:
        CheckpointError: no run there, or a file of it that cannot be read.
        MissingExtra: matplotlib is not installed.
    """
    directory = RunDirectory(run)
    if not directory.exists():
        raise CheckpointError(f"{run}: no run here (config.json is missing)")
    with _DRAWING:
        return RunView(gather_figures(directory), dict(sheets_in(directory.samples)))


def stamp_of(run: str | Path) -> tuple[int, ...]:
    """Another one when the run logged, scored or drew something."""
    directory = RunDirectory(run)
    logs = (directory.log, directory.scores, directory.spectra, directory.events)
    sizes = [path.stat().st_size if path.exists() else 0 for path in logs]
    return *sizes, len(sheets_in(directory.samples))


def differences(first: str | Path, second: str | Path) -> list[tuple[str, str, str]]:
    """(dotted key, value in the first, in the second) as `limner presets A --diff B` shows them."""
    found = compared(str(first), str(second))
    return [(key, value_text(old), value_text(new)) for key, old, new in found]
