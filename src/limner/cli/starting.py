"""How signals end a training command while no step runs."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from limner.core.leaving import is_queued, leave_at_once


@contextlib.contextmanager
def plain_signals() -> Iterator[None]:
    """Outside the steps, SIGTERM and Ctrl-C end the command at once, with 143 and 130, and SIGUSR1
    has nothing to save; in a job of Slurm it is the queue's end, with 138.

    While it trains, `running.signals` answers instead.
    """
    answers: dict[signal.Signals, Any] = {signal.SIGTERM: _leave, signal.SIGINT: _leave}
    if hasattr(signal, "SIGUSR1"):
        answers[signal.SIGUSR1] = _leave if is_queued() else signal.SIG_IGN
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
