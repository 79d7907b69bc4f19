"""What a reader of scores must know besides the figures, as lines."""

from collections.abc import Iterator, Sequence
from typing import Protocol


class Counted(Protocol):
    """What of a Result says how it may be read."""

    @property
    def metric(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def floor(self) -> float | None: ...
    @property
    def num(self) -> int: ...


def notes(results: Sequence[Counted]) -> list[str]:
    """One line for each metric that has too few images to be compared with published figures, and
    for each figure that is better than real images can expect."""
    return list(dict.fromkeys(line for result in results for line in _lines(result)))


def _lines(result: Counted) -> Iterator[str]:
    from limner.metrics.evaluation import find_metric

    metric = find_metric(result.metric)
    published = metric.num_published
    if published is not None and result.num < published:
        direction = "smaller" if metric.higher_is_better else "larger"
        yield (
            f"{result.metric} of {result.num:,} images is {direction} than of the "
            f"{published:,} of published figures; {metric.advice}"
        )
    if metric.under_floor is None:
        return
    if result.value < 0:
        yield (
            f"{result.name} {result.value:.4g} is below 0: an estimate without bias scatters "
            "around the true distance, which is about 0; read it as 0"
        )
    elif result.floor is not None and result.value < result.floor:
        yield (
            f"{result.name} {result.value:.4g} is under its floor {result.floor:.4g}: "
            f"{metric.under_floor}"
        )
