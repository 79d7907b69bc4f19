"""Processes beside the training that end with it."""

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Where Linux is: be killed with the training process, at once and even when stopped. A worker
    that lives on would hold the run directory's lock, which it inherited, against the next start.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def quieten() -> None:
    """The training process handles signals at its step's edge; one beside it must neither print a
    traceback at Ctrl-C, nor die of a wish for a checkpoint, nor inherit a handler that keeps it
    alive at SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
