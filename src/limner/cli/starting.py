"""What a training command does before torch is imported: plain ends by signals, and the lock."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from limner import presets
from limner.checkpoints import RunLock, run_lock
from limner.core.leaving import leave_at_once


@contextlib.contextmanager
def plain_signals() -> Iterator[None]:
    """Outside the steps, SIGTERM and Ctrl-C end the command at once, with 143 and 130, and SIGUSR1
    has nothing to save.

    While it trains, `training.signals` answers instead.
    """
    answers: dict[signal.Signals, Any] = {signal.SIGTERM: _leave, signal.SIGINT: _leave}
    if hasattr(signal, "SIGUSR1"):
        answers[signal.SIGUSR1] = signal.SIG_IGN
    if threading.current_thread() is not threading.main_thread():
        answers.clear()
    before = {number: signal.signal(number, answer) for number, answer in answers.items()}
    try:
        yield
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)


def _leave(number: int, frame: FrameType | None) -> None:
    leave_at_once(number)


@contextlib.contextmanager
def early_lock(
    run: Path | None, preset: str, assignments: Sequence[str]
) -> Iterator[RunLock | None]:
    """Hold the run directory if its name is known by now; else None, and `api.train` locks it.

    Under torchrun process 0 holds it.

    Raises:
        LimnerError: another process holds it, or there is no such preset.
    """
    run = run or default_run(preset, assignments)
    if run is None or int(os.environ.get("RANK", "0")):
        yield None
        return
    with run_lock(run) as lock:
        yield lock


def default_run(preset: str, assignments: Sequence[str]) -> Path | None:
    """runs/NAME of a preset or a CONFIG.json, where neither code nor --set decides the name.

    A preset's config has the preset's name.
    """
    if any(item.partition("=")[0].strip() == "name" for item in assignments):
        return None
    if preset in presets.PRESETS:
        return Path("runs") / preset
    if preset.endswith(".json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            name = json.loads(Path(preset).read_bytes())["name"]
            return Path("runs") / name
    return None
