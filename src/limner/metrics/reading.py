"""What is kept of generated images for a list of metrics, each image looked at once."""

from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from limner.core.errors import LimnerError
from limner.core.streams import stream as random_stream
from limner.metrics.inception_score import probabilities_of
from limner.metrics.path_length import features_of_floats, path_lengths
from limner.metrics.reference import Reference
from limner.metrics.requests import NUM_OF_PATHS_MAX
from limner.metrics.results import Metric
from limner.metrics.streams import ImageStream, Wanted

ONE_PASS = ("features", "probabilities")  # of an extractor that has both
LARGE = ("images", "pixels")  # of which those not kept should not be made, either

Made = TypeVar("Made")
Rows = Callable[[Tensor], Tensor]


class Plan(NamedTuple):
    """What is kept, and under which name of it each metric finds its own."""

    wanted: dict[str, Wanted]
    of_metric: dict[str, str]


def plan_of(reference: Reference, metrics: Mapping[str, Metric], num: int) -> Plan:
    """What metrics need of `num` generated images: sums where these do, else the rows that they
    look at, and all rows only of those that look at all.

    Metrics choose for themselves, so a figure is the same whatever else is asked for.
    """
    rows_of = _rows_by_kind(reference, metrics)
    plan = Plan({}, {})
    for name, metric in metrics.items():
        if metric.reads == "paths":
            continue
        places = _places(reference, metric, num)
        keeps_all = places is None and metric.from_moments is None and metric.sums is None
        key = plan.of_metric[name] = f"all {metric.reads}" if keeps_all else name
        beside = num if reference.moments is not None else len(reference)
        rows = rows_of[metric.reads]
        if metric.sums is not None and metric.reads == "probabilities":
            rows = _then(rows, probabilities_of)
        plan.wanted[key] = Wanted(
            rows,
            places=places,
            sum_up_beside=None if metric.from_moments is None else beside,
            sums=None if metric.sums is None else metric.sums(num),
            is_shared=_is_shared(metric, metrics),
        )
    return plan


def _is_shared(metric: Metric, metrics: Mapping[str, Metric]) -> bool:
    alike = ONE_PASS if metric.reads in ONE_PASS else (metric.reads,)
    num = sum(other.reads in alike for other in metrics.values())
    return num > 1 and metric.reads not in LARGE


def _places(reference: Reference, metric: Metric, num: int) -> Tensor | None:
    """The images that a metric looks at; None for all."""
    if metric.places is not None:
        places = metric.places(num, len(reference), reference.seed)
        return None if len(places) == num else places
    most = metric.num_used(num, len(reference) or num)
    if most == num:
        return None
    order = torch.randperm(num, generator=random_stream("metrics", "rows", reference.seed, "fakes"))
    return order[:most]


def _rows_by_kind(reference: Reference, metrics: Mapping[str, Metric]) -> dict[str, Rows]:
    """How the rows of each kind are made, once for all metrics that read them."""
    by_kind: dict[str, Rows] = {}
    for metric in metrics.values():
        if metric.reads not in (*by_kind, "paths"):
            by_kind[metric.reads] = _Last(_rows_of(reference, metric))
    both = getattr(reference.extractor, "rows", None)
    has_logits = hasattr(reference.extractor, "logits")
    if both is not None and has_logits and by_kind.keys() >= set(ONE_PASS):
        once = _Last(both)
        by_kind["features"] = _then(once, lambda pair: pair[0])
        by_kind["probabilities"] = _then(once, lambda pair: pair[1])
    return by_kind


def _rows_of(reference: Reference, metric: Metric) -> Rows:
    return lambda images: reference.rows_of(metric, images)


def _then(first: Callable[[Tensor], Made], second: Callable[[Made], Tensor]) -> Rows:
    return lambda images: second(first(images))


class _Last(Generic[Made]):
    """A function of images that remembers its last answer."""

    def __init__(self, function: Callable[[Tensor], Made]):
        self.function = function
        self.seen: tuple[Tensor, Made] | None = None

    def __call__(self, images: Tensor) -> Made:
        if self.seen is None or self.seen[0] is not images:
            self.seen = images, self.function(images)
        return self.seen[1]


def check_paths(stream: ImageStream, reference: Reference) -> None:
    """Refuse the path length before anything is made.

    Raises:
        LimnerError: images that no generator makes, or features that read no floats.
    """
    if stream.generate is None:
        raise LimnerError("metric 'ppl' needs a generator, and these are images; leave it out")
    features_of_floats(reference.extractor)


def paths_of(stream: ImageStream, reference: Reference) -> Tensor:
    """Lengths [n, 2], full and end, of as many ways as there are images, at most 10,000."""
    assert stream.generate is not None
    features = features_of_floats(reference.extractor)
    num, generate = min(stream.num, NUM_OF_PATHS_MAX), stream.generate
    lengths = [
        path_lengths(
            generate, features, num, stream.z_dim, stream.num_classes, where, seed=reference.seed
        )
        for where in ("full", "end")
    ]
    return torch.stack(lengths, dim=1)
