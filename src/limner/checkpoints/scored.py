"""What scores.jsonl says: figures, the metrics that they belong to, and which way is better."""

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limner.checkpoints.logs import GrowingLog


def higher_is_better(result: Mapping[str, Any]) -> bool:
    """The direction of a result in scores.jsonl. Older lines do not say it: then it is what the
    metric declares; what no metric is called is better when smaller."""
    own = result.get("higher_is_better")
    if own is not None:
        return own
    # by name, as parts are found: the metrics' room stands above this one
    declared = importlib.import_module("limner.metrics").METRICS.get(result.get("metric"))
    return declared is not None and declared.higher_is_better


class Scored:
    """What scores.jsonl says, as tables that grow with it."""

    def __init__(self, path: Path):
        self._log = GrowingLog(path, is_scores)
        self._clear()

    def _clear(self) -> None:
        self.figures: dict[str, dict[int, float]] = {}
        self.families: dict[str, str] = {}
        self.directions: dict[str, bool] = {}
        self.steps: set[int] = set()

    def now(self) -> "Scored":
        """The tables with what was written since the last call."""
        anew, records = self._log.more()
        if anew:
            self._clear()
        for record in records:
            self._add(record)
        return self

    def _add(self, record: Mapping[str, Any]) -> None:
        self.steps.add(record["step"])
        for result in record.get("results", []):
            name, value = result["name"], result.get("value")
            self.families[name] = result["metric"]
            self.directions[name] = higher_is_better(result)
            if isinstance(value, (int, float)) and math.isfinite(value):
                self.figures.setdefault(name, {})[record["step"]] = value


def ranked(scored: Scored, name: str, steps: Sequence[int]) -> list[int]:
    """Those of the steps that have a figure, best first; of equals the newer."""
    values = scored.figures.get(name, {})
    sign = -1 if scored.directions.get(name) else 1
    known = [step for step in steps if step in values]
    return sorted(known, key=lambda step: (sign * values[step], -step))


def is_scores(record: dict[str, Any]) -> bool:
    results = record.get("results", [])
    return (
        "step" in record
        and isinstance(results, list)
        and all(isinstance(result, dict) and _is_result(result) for result in results)
    )


def _is_result(result: dict[str, Any]) -> bool:
    value = result.get("value")
    is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1000)
    texts = (result.get("name"), result.get("metric"))
    has_direction = isinstance(result.get("higher_is_better", False), bool)
    return (value is None or is_number) and has_direction and all(isinstance(t, str) for t in texts)
