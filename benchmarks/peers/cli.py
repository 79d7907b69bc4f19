"""limner beside other programs at the same work, each row in a process of its own.

    python benchmarks/peers --peers DIR                 all rows; DIR holds clones of the peers
    python benchmarks/peers --peers DIR --only "sample BigGAN"
    python benchmarks/peers                             limner's side alone

Without --out nothing is written; with it the rows go into results/peers.json and the table of
README.md. Times are CPU seconds of one thread, medians of pairs of calls in
turn in one process, after one call of each; memory is the peak of a process that does one side's
work, less that of a process that has imported torch and nothing else.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers import page

HERE = Path(__file__).resolve().parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def parsed(words: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peers", type=Path, help="folder of clones, each called as it is there")
    parser.add_argument("--only", default="", help="rows whose names contain this")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--out", action="store_true", help="write results/peers.json and README.md")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # of a process of its own
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Returns 0, or 1 where a row failed."""
    options = parsed(words)
    if options.row is not None:
        print(json.dumps(one(options)))
        return 0
    from peers.table import ROWS

    lines: list[dict[str, Any]] = []
    failed = False
    for name, row in ROWS.items():
        if options.only not in name:
            continue
        found = apart_from_here(options, name)
        failed |= found is None
        if found is None:
            continue
        if row.about_memory:
            found["memory"] = memory(options, name)
        for line in lines_of(name, found):
            print(json.dumps(line), flush=True)
            lines.append(line)
    if options.out:
        merge(page.RESULTS, lines)
        page.write()
    return int(failed)


def one(options: argparse.Namespace) -> dict[str, Any]:
    """Times of a row in this process, or the peak of one of its sides in megabytes."""
    import torch

    torch.set_num_threads(1)
    if options.side == "torch":
        return {"peak": peak()}
    from peers.table import ROWS
    from peers.work import measured

    row = ROWS[options.row]
    folder = options.peers / row.peer if options.peers and row.peer else None
    folder = folder if folder is None or folder.is_dir() else None
    sides = row.make(options.peers if not row.peer else folder)
    if options.side is not None:
        call = sides.peer if options.side == "peer" else sides.limner[options.side]
        for _ in range(2):
            if call is not None:
                call()
        return {"peak": peak()}
    times = measured(sides, options.pairs)
    return {
        "times": {name: vars(each) for name, each in times.items()},
        "apart": sides.apart,
        "n": options.pairs,
        "commit": commit_of(folder),
    }


def peak() -> float:
    """Of this process, in megabytes."""
    scale = 1 if platform.system() == "Linux" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / scale


def apart_from_here(
    options: argparse.Namespace, name: str, side: str | None = None
) -> dict[str, Any] | None:
    """`one` in a fresh process, for programs have modules of equal names."""
    command = [sys.executable, str(HERE), "--row", name, "--pairs", str(options.pairs)]
    command += ["--peers", str(options.peers)] if options.peers else []
    command += ["--side", side] if side else []
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | ONE_THREAD)
    if ran.returncode:
        print(f"{name}: {ran.stderr.strip()}", file=sys.stderr, flush=True)
        return None
    return json.loads(ran.stdout.splitlines()[-1])


def memory(options: argparse.Namespace, name: str) -> dict[str, float]:
    """Megabytes above torch: side -> its peak."""
    peaks = {side: apart_from_here(options, name, side) for side in ("torch", "peer", "float32")}
    base = peaks["torch"]
    assert base is not None
    return {
        side: round(found["peak"] - base["peak"], 1)
        for side, found in peaks.items()
        if found is not None and side != "torch"
    }


def lines_of(name: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each precision: what benchmarks/results/peers.json holds."""
    from peers.table import ROWS

    row, times = ROWS[name], found["times"]
    peer = times.get("peer")
    lines = []
    for precision, own in times.items():
        if precision == "peer":
            continue
        line = {
            "row": name,
            "precision": precision,
            "peer": row.peer,
            "commit": found["commit"],
            "unit": row.unit,
            "peer_s": peer and round(peer["cpu"], 5),
            "limner_s": round(own["cpu"], 5),
            "peer_wall_s": peer and round(peer["wall"], 5),
            "limner_wall_s": round(own["wall"], 5),
            "ratio": peer and round(peer["cpu"] / own["cpu"], 2),
            "target": row.targets.get(precision),
            "n": found["n"],
            "equal": found["apart"],
        }
        if precision == "float32" and "memory" in found:
            line["memory_mb"] = found["memory"]
        lines.append(line)
    return lines


def merge(path: Path, lines: list[dict[str, Any]]) -> None:
    """Rows that were measured now replace those of their names; the others stay."""
    kept = json.loads(path.read_text()) if path.exists() else []
    names = {line["row"] for line in lines}
    rows = [line for line in kept if line["row"] not in names] + lines
    text = ",\n".join(json.dumps(line) for line in rows)
    path.write_text(f"[\n{text}\n]\n")


def commit_of(folder: Path | None) -> str | None:
    """Of a clone, shortened; None where it is none."""
    if folder is None:
        return None
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    ran = subprocess.run(command, capture_output=True, text=True)
    return ran.stdout.strip() or None
