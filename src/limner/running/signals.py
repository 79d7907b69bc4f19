"""SIGTERM and Ctrl-C ask for a checkpoint at the step's edge; a second one ends at once.

In a job of Slurm SIGUSR1 does, too: it comes before the time limit. It may come several times, from
the queue and from torchrun, and ends nothing at once.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from limner.core import distributed
from limner.core.leaving import Interrupted, is_queued, leave_at_once

STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopRequests:
    """While entered, turns signals into wishes that the training loop reads between steps.

    Attributes:
        stop: the number of the signal that asked to stop, or 0. The process's exit code is
            128 + stop: 143 after SIGTERM, 130 after SIGINT, 138 after Slurm's SIGUSR1.
        save: whether SIGUSR1 outside Slurm asked for a checkpoint now; training goes on.
    """

    def __init__(self) -> None:
        self.stop, self.save = 0, False
        self._at_once = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequests":
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                self._before[number] = signal.signal(number, self._stop)
            if hasattr(signal, "SIGUSR1"):
                self._before[signal.SIGUSR1] = signal.signal(
                    signal.SIGUSR1, self._stop if is_queued() else self._save
                )
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a request to stop raises `Interrupted` instead of waiting for the step's edge; in
        work that other processes wait for, the next `check` does."""
        self._at_once = True
        try:
            if not distributed.is_awaited():
                self.check()
            yield
        finally:
            self._at_once = False
            if self.stop:  # raised in an import, it can come back as another error
                raise Interrupted from None

    def check(self) -> None:
        """Raise `Interrupted` if a signal asked to stop."""
        if self.stop:
            raise Interrupted

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop in STOPPING and number in STOPPING:
            # The user does not want to wait for the save: the last checkpoint on disk stands.
            leave_at_once(number)
        self.stop = self.stop or number
        if self._at_once and not distributed.is_awaited():
            raise Interrupted

    def _save(self, number: int, frame: FrameType | None) -> None:
        self.save = True
