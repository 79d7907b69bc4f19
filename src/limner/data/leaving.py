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
