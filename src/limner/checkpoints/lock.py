"""One training process a run directory. Needs no torch, so a second start fails at once."""

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

from limner.core.errors import CheckpointError
from limner.core.files import write_atomically

LOCK_NAME = ".lock"
OWNER_NAME = "lock.json"


@contextlib.contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold a run directory (made if missing) against other processes.

    The lock is the operating system's and ends with the process, however that dies; lock.json only
    says who holds it.

    Raises:
        CheckpointError: another process holds it; names its pid, host and start.
    """
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(run / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise CheckpointError(
            f"{run}: {_owner(run)} is training here; wait for it or stop it, or give another --run"
        ) from None
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    try:
        write_atomically(run / OWNER_NAME, json.dumps(owner) + "\n")
        yield
    finally:
        (run / OWNER_NAME).unlink(missing_ok=True)
        lock.release()


def _owner(run: Path) -> str:
    try:
        owner = json.loads((run / OWNER_NAME).read_bytes())
        return f"process {owner['pid']} on {owner['host']} (since {owner['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it has the lock and is just about to say who it is
