"""Each side of a row in a process of its own, as people run it, called in turn.

The processes share neither modules, of which some have equal names, nor memory that one has freed
and the other would find. A process warms up, says in one line what it serves, and then answers each
line it reads: "call" by the times of one, "where" by its profile, "peak" by its
peak of memory in megabytes.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
# limner's parts, which make a peer's weights, shall not keep freed memory there (core/memory.py).
LEFT_ALONE = {"GLIBC_TUNABLES": ""}
WARM_UPS, LONG_ENOUGH = (
    3,
    10.0,
)  # calls, seconds: memory that is kept has its size after two or three


class Failed(Exception):  # noqa: N818 - as its reader says it
    """What a process said before it ended."""


class Side:
    """A process that serves one side.

    Attributes:
        about: side, precisions, has_peer, num, apart, commit: see `serve`.
    """

    def __init__(self, row: str, side: str, peers: Path | None):
        command = [sys.executable, str(HERE), "--row", row, "--side", side]
        command += ["--peers", str(peers)] if peers else []
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with this
        environment = os.environ | ONE_THREAD | (LEFT_ALONE if side == "peer" else {})
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        self.about = self._line()

    def ask(self, word: str) -> Any:
        """The answer to a word.

        Raises:
            Failed: the process ended.
        """
        assert self._process.stdin is not None
        print(word, file=self._process.stdin, flush=True)
        return self._line()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # a peer's own prints come first
            if line.startswith("{"):
                return json.loads(line)
        self._errors.seek(0)
        raise Failed(self._errors.read().strip())


def serve(row: str, side: str, peers: Path | None) -> None:
    """The process of a `Side`; side: "peer", a precision of limner's, or "" for its first."""
    import torch

    torch.set_num_threads(1)
    from peers.table import ROWS

    of_row = ROWS[row]
    folder = peers / of_row.peer if peers and of_row.peer else None
    folder = folder if folder is None or folder.is_dir() else None
    sides = of_row.make(folder)
    side = side or next(iter(sides.limner))
    call = sides.limner.get(side) or sides.peer
    assert call is not None
    began = time.perf_counter()
    for _ in range(WARM_UPS):
        call()
        if time.perf_counter() - began > LONG_ENOUGH:
            break
    about = {
        "side": side,
        "precisions": list(sides.limner),
        "has_peer": sides.peer is not None,
        "num": sides.num,
        "apart": sides.apart,
        "commit": commit_of(folder),
    }
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(line.strip(), side, call)), flush=True)


def answer(word: str, side: str, call: Any) -> dict[str, Any]:
    """To a word of a `Side`."""
    if word == "where":
        from peers.profile import where

        return where(call, side)
    if word == "call":
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return {"peak": peak()}


def peak() -> float:
    """Of this process, in megabytes."""
    scale = 1 if platform.system() == "Linux" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / scale


def peak_of_torch() -> float:
    """That of a process that has imported torch."""
    words = "import torch; from peers.turns import peak; print(peak())"
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(HERE.parent)}
    ran = subprocess.run(
        [sys.executable, "-c", words], check=True, capture_output=True, text=True, env=environment
    )
    return float(ran.stdout)


def commit_of(folder: Path | None) -> str | None:
    """Of a clone, shortened; None where it is none."""
    if folder is None:
        return None
    command: Sequence[str] = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    ran = subprocess.run(command, capture_output=True, text=True)
    return ran.stdout.strip() or None
