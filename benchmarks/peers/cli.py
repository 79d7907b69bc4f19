"""limner beside other programs at the same work, each side in a process of its own.

    python benchmarks/peers --peers DIR                 all rows; DIR holds clones of the peers
    python benchmarks/peers --peers DIR --only "sample BigGAN"
    python benchmarks/peers                             limner's side alone

Without --out nothing is written; with it the rows go into results/peers.json and the table of
README.md. Times are CPU seconds of one thread, medians of calls in turn, after three of each;
memory is the peak of each process, less that of one that has imported torch and nothing else. Where
limner misses its goal, a profile says where its time goes.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from peers import page, turns


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
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Returns 0, or 1 where a row failed."""
    options = parsed(words)
    if options.row is not None:
        turns.serve(options.row, options.side, options.peers)
        return 0
    from peers.table import ROWS

    failed = False
    for name in ROWS:
        if options.only not in name:
            continue
        try:
            found = measured(name, options.peers, options.pairs)
        except turns.Failed as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        for line in found:
            print(json.dumps(line), flush=True)
        if options.out:
            merge(page.RESULTS, found)
            page.write()
    return int(failed)


def measured(name: str, peers: Path | None, pairs: int) -> list[dict[str, Any]]:
    """A line for each precision: what benchmarks/results/peers.json holds."""
    from peers.table import ROWS

    first = turns.Side(name, "", peers)
    about, sides = first.about, {first.about["side"]: first}
    try:
        more = [*about["precisions"], *(["peer"] if about["has_peer"] else [])]
        for side in more:
            if side not in sides:
                sides[side] = turns.Side(name, side, peers)
        taken = {side: [] for side in sides}
        for _ in range(pairs):
            for side, process in sides.items():
                taken[side].append(process.ask("call"))
        times = {side: medians(each, about["num"]) for side, each in taken.items()}
        peaks = {side: process.ask("peak")["peak"] for side, process in sides.items()}
        base = turns.peak_of_torch() if ROWS[name].about_memory else 0.0
        lines = []
        for precision in about["precisions"]:
            line = line_of(name, ROWS[name], about, precision, times, pairs)
            if ROWS[name].about_memory:
                own = {side: peaks[side] for side in (precision, "peer") if side in peaks}
                line["memory_mb"] = {side: round(each - base, 1) for side, each in own.items()}
            if line["ratio"] and line["target"] and line["ratio"] < line["target"]:
                line["where"] = sides[precision].ask("where")
            lines.append(line)
        return lines
    finally:
        for process in sides.values():
            process.close()


def medians(taken: list[dict[str, float]], num: int) -> dict[str, float]:
    """CPU seconds of all threads and seconds on the wall of what the row counts."""
    return {key: statistics.median(each[key] for each in taken) / num for key in ("cpu", "wall")}


def line_of(
    name: str,
    row: Any,
    about: dict[str, Any],
    precision: str,
    times: dict[str, dict[str, float]],
    pairs: int,
) -> dict[str, Any]:
    own, peer = times[precision], times.get("peer")
    return {
        "row": name,
        "precision": precision,
        "peer": row.peer,
        "commit": about["commit"],
        "unit": row.unit,
        "peer_s": peer and rounded(peer["cpu"]),
        "limner_s": rounded(own["cpu"]),
        "peer_wall_s": peer and rounded(peer["wall"]),
        "limner_wall_s": rounded(own["wall"]),
        "ratio": peer and round(peer["cpu"] / own["cpu"], 2),
        "target": row.targets.get(precision),
        "n": pairs,
        "equal": about["apart"],
    }


def rounded(seconds: float) -> float:
    """To four digits."""
    return float(f"{seconds:.4g}")


def merge(path: Path, lines: list[dict[str, Any]]) -> None:
    """Rows that were measured now replace those of their names, in the table's order."""
    from peers.table import ROWS

    kept = json.loads(path.read_text()) if path.exists() else []
    names = {line["row"] for line in lines}
    rows = [line for line in kept if line["row"] not in names] + lines
    rows.sort(key=lambda line: list(ROWS).index(line["row"]))
    text = ",\n".join(json.dumps(line) for line in rows)
    path.write_text(f"[\n{text}\n]\n")
