"""One training process a run directory. Needs no torch, so a second start fails at once."""

import contextlib
import datetime
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from limner.core.errors import CheckpointError
from limner.core.files import make_directory, write_atomically

LOCK_NAME = ".lock"
OWNER_NAME = "lock.json"
PATIENCE_SECONDS = 0.5  # for the winner of a race to say who it is


@dataclass(frozen=True)
class RunLock:
    """Says that this process holds a run directory; only `run_lock` makes one."""

    run: Path


@contextlib.contextmanager
def run_lock(run: Path) -> Iterator[RunLock]:
    """Hold a run directory (made if missing) against other processes.

    The lock is the operating system's and ends with the process, however that dies; lock.json only
    says who holds it.

    Raises:
        CheckpointError: another process holds it; names its pid, host and start.
    """
    run = Path(run)
    make_directory(run)
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
        yield RunLock(run)
    finally:
        (run / OWNER_NAME).unlink(missing_ok=True)
        lock.release()


def _owner(run: Path) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        owner = _record(run)
        if owner is not None and _may_hold(owner):
            return f"process {owner['pid']} on {owner['host']} (since {owner['since']})"
        if time.monotonic() > deadline:
            return "another process"
        time.sleep(0.01)


def _record(run: Path) -> dict[str, Any] | None:
    try:
        owner = json.loads((run / OWNER_NAME).read_bytes())
        return {key: owner[key] for key in ("pid", "host", "since")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _may_hold(owner: dict[str, Any]) -> bool:
    """False for what a process left that was killed here; the holder has not said so yet then."""
    if os.name != "posix" or owner["host"] != socket.gethostname():
        return True
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError, TypeError):
        pass
    return True
