"""How long `limner --help` and every command's --help take: wall seconds, best of three each."""

import json
import subprocess
import sys
import time

from limner.cli.main import COMMANDS

REPEATS = 3


def seconds(words: list[str]) -> float:
    """Wall seconds of one fresh process; the best of several, because other work only adds."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        command = [sys.executable, "-m", "limner", *words, "--help"]
        subprocess.run(command, check=True, capture_output=True)
        best = min(best, time.perf_counter() - start)
    return round(best, 3)


def main() -> None:
    """Print one JSON object: seconds by command, and the slowest."""
    times = {"limner": seconds([])}
    times |= {name: seconds(name.split()) for name in sorted(COMMANDS)}
    print(json.dumps({"benchmark": "help", "seconds": times, "slowest": max(times.values())}))


if __name__ == "__main__":
    main()
