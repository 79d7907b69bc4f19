"""What a reader of scores must know besides the figures, as lines."""

from collections.abc import Sequence
from typing import Protocol


class Counted(Protocol):
    """What of a Result says what it may be compared with."""

    @property
    def metric(self) -> str: ...
    @property
    def num(self) -> int: ...


def notes(results: Sequence[Counted]) -> list[str]:
    """One line for each metric that has too few images to be compared with published figures."""
    from limner.metrics.evaluation import find_metric

    lines: dict[str, str] = {}
    for result in results:
        metric = find_metric(result.metric)
        published = metric.num_published
        if published is not None and result.num < published:
            direction = "smaller" if metric.higher_is_better else "larger"
            lines[result.metric] = (
                f"{result.metric} of {result.num:,} images is {direction} than of the "
                f"{published:,} of published figures; {metric.advice}"
            )
    return list(lines.values())
