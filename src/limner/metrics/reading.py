"""What is kept of generated images for a list of metrics, each image looked at once."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from limner.core.errors import LimnerError
from limner.core.streams import stream as random_stream
from limner.metrics.path_length import features_of_floats, path_lengths
from limner.metrics.reference import Reference, classified
from limner.metrics.requests import NUM_OF_PATHS_MAX
from limner.metrics.results import Metric
from limner.metrics.streams import ImageStream, Wanted

LARGE = ("images", "pixels")  # rows too large to keep more of them than metrics look at


def wanted_of(reference: Reference, metrics: Sequence[Metric], num: int) -> dict[str, Wanted]:
    """By what metrics read: the rows of `num` generated images that have to be kept."""
    wanted: dict[str, Wanted] = {}
    by_kind: dict[str, list[Metric]] = {}
    for metric in metrics:
        if metric.reads != "paths":
            by_kind.setdefault(metric.reads, []).append(metric)
    once = _Once(reference) if {"features", "probabilities"} <= by_kind.keys() else None
    beside = num if reference.moments is not None else len(reference)
    for kind, readers in by_kind.items():
        if once is not None and once.serves(readers[0]):
            rows = once.features if kind == "features" else once.probabilities(readers[0])
        else:
            rows = _rows_of(reference, readers[0])
        sums_do = all(metric.from_moments is not None for metric in readers)
        wanted[kind] = Wanted(
            rows,
            places=_places(readers, num, reference.seed) if kind in LARGE else None,
            sum_up_beside=beside if sums_do else None,
        )
    return wanted


def _rows_of(reference: Reference, metric: Metric) -> Callable[[Tensor], Tensor]:
    return lambda images: reference.rows_of(metric, images)


def _places(metrics: Sequence[Metric], num: int, seed: int) -> Tensor | None:
    """Which images to keep: those that the metrics would choose of all; None for all."""
    most = [num if metric.num_max is None else metric.num_max for metric in metrics]
    if max(most) >= num:
        return None
    order = torch.randperm(num, generator=random_stream("metrics", "rows", seed, "fakes"))
    return order[: max(most)]


class _Once:
    """Features and logits of one pass, for an extractor that has both."""

    def __init__(self, reference: Reference):
        self.extractor = reference.extractor
        self.both: Callable[[Tensor], tuple[Tensor, Tensor | None]] | None = getattr(
            reference.extractor, "rows", None
        )
        self.seen: Tensor | None = None
        self.made: tuple[Tensor, Tensor | None] | None = None

    def serves(self, metric: Metric) -> bool:
        both = self.both is not None and hasattr(self.extractor, "logits")
        return both and metric.reads in ("features", "probabilities")

    def _of(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.made is None or self.seen is not images:
            assert self.both is not None
            self.seen, self.made = images, self.both(images)
        return self.made

    def features(self, images: Tensor) -> Tensor:
        return self._of(images)[0]

    def probabilities(self, metric: Metric) -> Callable[[Tensor], Tensor]:
        def rows(images: Tensor) -> Tensor:
            logits = self._of(images)[1]
            assert logits is not None
            return classified(logits, metric)

        return rows


def paths_of(stream: ImageStream, reference: Reference) -> Tensor:
    """Lengths [n, 2], full and end, of as many ways as there are images, at most 10,000.

    Raises:
        LimnerError: images that no generator makes, or features that read no floats.
    """
    if stream.generate is None:
        raise LimnerError("metric 'ppl' needs a generator, and these are images; leave it out")
    features = features_of_floats(reference.extractor)
    num, generate = min(stream.num, NUM_OF_PATHS_MAX), stream.generate
    lengths = [
        path_lengths(
            generate, features, num, stream.z_dim, stream.num_classes, where, seed=reference.seed
        )
        for where in ("full", "end")
    ]
    return torch.stack(lengths, dim=1)
