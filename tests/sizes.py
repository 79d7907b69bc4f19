"""Fast and full sizes of the reliability tests, and the JSON line that each leaves.

The default suite runs the fast sizes. `make test-full` sets LIMNER_TEST_SIZE=full and collects
reports/reliability.jsonl, a line a test: what was done how often, how often it failed, how long it
took, and the seed that repeats it.
"""

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

FULL = os.environ.get("LIMNER_TEST_SIZE") == "full"
REPORT = Path(__file__).resolve().parents[1] / "reports" / "reliability.jsonl"

Size = TypeVar("Size")


def sized(fast: Size, full: Size) -> Size:
    """The size of a test: how many kills, steps or seconds."""
    return full if FULL else fast


@dataclass
class Tally:
    """Counts of one test: `n` trials, of which `failures` failed; `more` holds its own figures."""

    n: int = 0
    failures: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    def count(self, good: bool) -> None:
        self.n += 1
        self.failures += not good


@contextmanager
def tallied(test: str, seed: int = 0) -> Iterator[Tally]:
    """Time a test ("T1 kills") and write its line, also when it fails."""
    tally, begin = Tally(), time.monotonic()
    try:
        yield tally
    finally:
        line = {
            "test": test,
            "size": "full" if FULL else "fast",
            "n": tally.n,
            "failures": tally.failures,
            "seconds": round(time.monotonic() - begin, 1),
            "seed": seed,
            **tally.more,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        print(json.dumps(line))
        if FULL:
            REPORT.parent.mkdir(exist_ok=True)
            with open(REPORT, "a") as file:
                file.write(json.dumps(line) + "\n")
