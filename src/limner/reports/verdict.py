"""What the scores of a run say of its pictures, in one plain sentence."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Shares of what real pictures get against other real ones: (at least this much, or still partly).
SHARP, VARIED = (0.85, 0.5), (0.7, 0.35)
CLOSE = (2.0, 10.0)  # of a Frechet distance: at most so many floors
COPIES = (0.02, 0.2)  # of the share of copies: at most so much more than that of real pictures

Results = Sequence[Mapping[str, Any]]


def verdict(record: Mapping[str, Any]) -> str | None:
    """One sentence about a line of scores.jsonl, {"step", "results"}: sharp or not, varied or not,
    copies or not, each with its figures, and what of it was not measured; None where nothing was.

    docs/scores.md says what decides. Without precision the distance says how close they are.
    """
    results: Results = record.get("results", [])
    precision, recall = _figures(results, "precision"), _figures(results, "recall")
    distance, copies = _figures(results, "fid", "fd-"), _figures(results, "copies")
    found: list[str] = []
    missing: list[tuple[str, str]] = []  # what, and the metric that tells
    if precision:
        found.append(_share("sharp", "precision", precision, SHARP))
    elif distance and distance[1]:
        found.append(_closeness(distance[0], distance[1]))
    if not precision:
        missing.append(("sharpness", "prdc"))
    if not recall:
        missing.append(("variety", "prdc"))
    elif precision and precision[0] < SHARP[1] * (precision[1] or 1.0):
        # what lies between the real pictures has wide balls, which hold many of them
        found.append(f"of a variety that cannot be told by then ({_beside('recall', recall)})")
    else:
        found.append(_share("varied", "recall", recall, VARIED))
    if copies:
        found.append(_copies(*copies))
    else:
        missing.append(("copies", "copies"))
    if not found:
        return None
    said = " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
    left = "".join(f"; {what} not measured (metric {metric})" for what, metric in missing)
    return f"At step {record['step']:,} the pictures are {said}{left}."


def _figures(results: Results, name: str, prefix: str = "\0") -> tuple[float, float | None] | None:
    """Value and floor of the first figure of a name, or whose name begins so."""
    for result in results:
        value, floor = result.get("value"), result.get("floor")
        named = result.get("name") == name or str(result.get("name")).startswith(prefix)
        if named and isinstance(value, (int, float)) and math.isfinite(value):
            known = isinstance(floor, (int, float)) and math.isfinite(floor)
            return value, floor if known else None
    return None


def _share(
    word: str, name: str, figures: tuple[float, float | None], limits: tuple[float, float]
) -> str:
    share = figures[0] / (figures[1] or 1.0)
    how = "" if share >= limits[0] else "partly " if share >= limits[1] else "not "
    return f"{how}{word} ({_beside(name, figures)})"


def _beside(name: str, figures: tuple[float, float | None]) -> str:
    value, floor = figures
    return f"{name} {value:.2f}" + ("" if floor is None else f", real ones {floor:.2f}")


def _closeness(value: float, floor: float) -> str:
    floors = value / floor
    how = "close to" if floors <= CLOSE[0] else "not far from" if floors <= CLOSE[1] else "far from"
    return f"{how} the real ones as a whole (Frechet distance {floors:.1f} times theirs)"


def _copies(value: float, floor: float | None) -> str:
    more = value - (floor or 0.0)
    how = "no" if more <= COPIES[0] else "partly" if more <= COPIES[1] else "largely"
    beside = "" if floor is None else f", of real ones {floor:.1%}"
    return f"{how} copies ({value:.1%} nearly a picture of the data{beside})"
