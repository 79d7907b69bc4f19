"""The public command in processes of its own, as a user's shell starts it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PYTHON = (sys.executable, "-m", "limner")


def train_words(run: Path, steps: int, *more: str) -> list[str]:
    """`limner train` of the smallest preset, without scores, pictures and saves of its own."""
    settings = ("metrics=[]", "batch_size=8", "intervals.sample=0", "intervals.save=0")
    return [
        *("train", "digits-tiny", "--device", "cpu", "--json", "--steps", str(steps)),
        *(word for setting in settings for word in ("--set", setting)),
        *("--set", "intervals.log=1", "--run", str(run), *more),
    ]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def start(words: list[str], **more: Any) -> subprocess.Popen[str]:
    """Start a command line (of the interpreter's own, or `PYTHON` and a command's words)."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, env=environment(), text=True, **{**streams, **more})


def until(condition: Callable[[], Any], seconds: float = 240.0) -> None:
    """Wait for something that another process does; the limit only ends what hangs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
