"""What is kept of generated images for a list of metrics, each image looked at once."""

import functools
from collections.abc import Callable, Mapping

from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.base import Accumulator, Metric, Reads, Rows
from limner.metrics.reference import Reference
from limner.metrics.streams import ImageStream, Wanted, read

ONE_PASS = ("features", "logits")  # of an extractor that has both
LARGE = ("images", "pixels")  # of which those not kept should not be made, either


def accumulated(
    stream: ImageStream,
    labels: Tensor | None,
    reference: Reference,
    metrics: Mapping[str, Metric],
) -> tuple[dict[str, Accumulator], dict[str, str]]:
    """What each metric keeps of the images, on every process, those of "generator" read none; and
    by name why another cannot have its rows.

    Metrics choose for themselves, so a figure is the same whatever else is asked for; rows that
    several of them keep are kept once.
    """
    found: dict[str, Accumulator] = {}
    of_all: dict[Reads, Rows] = {}
    wanted: list[Wanted] = []
    rows_of, lost = _rows_by_kind(reference, metrics)
    failed = {name: lost[metric.reads] for name, metric in metrics.items() if metric.reads in lost}
    for name, metric in metrics.items():
        if name in failed:
            continue
        side = reference.fakes(metric, stream.num, labels)
        found[name] = accumulator = metric.begin(side)
        if metric.reads == "generator":
            continue
        if type(accumulator) is Rows and accumulator.places is None:
            found[name] = of_all.setdefault(metric.reads, accumulator)
        if found[name] is accumulator:
            shared = _is_shared(metric, metrics)
            wanted.append(Wanted(accumulator, rows_of[metric.reads], shared))
    errors = read(stream, wanted)
    for want, error in zip(wanted, errors, strict=True):
        if error is not None:
            failed |= {name: error for name, kept in found.items() if kept is want.accumulator}
    return found, failed


def _is_shared(metric: Metric, metrics: Mapping[str, Metric]) -> bool:
    alike = ONE_PASS if metric.reads in ONE_PASS else (metric.reads,)
    num = sum(other.reads in alike for other in metrics.values())
    return num > 1 and metric.reads not in LARGE


def _rows_by_kind(
    reference: Reference, metrics: Mapping[str, Metric]
) -> tuple[dict[str, Callable[[Tensor], Tensor]], dict[str, str]]:
    """How the rows of each kind are made, once for all metrics that read them; and why those of
    another kind cannot be."""
    kinds: set[Reads] = {metric.reads for metric in metrics.values()}
    last = functools.lru_cache(maxsize=1)  # tensors are told apart by identity
    by_kind: dict[str, Callable] = {}
    lost: dict[str, str] = {}
    for kind in kinds - {"generator"}:
        try:
            by_kind[kind] = last(reference.rows_of(kind))
        except LimnerError as error:
            lost[kind] = str(error)
    if not by_kind.keys() >= set(ONE_PASS):
        return by_kind, lost
    both = getattr(reference.extractor, "rows", None)
    if both is not None and hasattr(reference.extractor, "logits"):
        once = last(both)
        by_kind |= {"features": lambda x: once(x)[0], "logits": lambda x: once(x)[1]}
    return by_kind, lost
