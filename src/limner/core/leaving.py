"""The end of a process at a signal that is not to be waited for."""

import os
import signal
import sys
from typing import NoReturn

SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(BaseException):
    """A signal ends work that can be done again; no Exception, so that nothing takes it for one."""


def leave_at_once(number: int) -> NoReturn:
    """Exit with 128 + the signal's number, without cleaning up: what is on the disk stands.

    An exception would not do: raised by a handler, it can meet code that swallows it (measured in
    the import of torch, which went on to fail in a recursion).
    """
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(sys.stderr.fileno(), SHOW_CURSOR + b"\n")  # a live display has hidden it
    os._exit(128 + number)


def is_queued() -> bool:
    """Whether this is a job of Slurm, which announces its end by SIGUSR1."""
    return "SLURM_JOB_ID" in os.environ


def starting_again_is_useless() -> None:
    """Have a torchrun that starts failed commands again not do so with this one, which would be
    refused again; nothing without one."""
    restarts = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if restarts > int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
        os.kill(os.getppid(), signal.SIGTERM)
