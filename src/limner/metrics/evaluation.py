"""From images to results, and the evaluator that a training is handed."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from limner.core.config import nearest
from limner.core.errors import LimnerError
from limner.metrics.features import Extractor
from limner.metrics.features.base import pixel_rows
from limner.metrics.moments_file import Moments
from limner.metrics.reference import OF_CLASSIFIER, Reference, Side, classified
from limner.metrics.results import Metric, Result

if TYPE_CHECKING:
    from limner.data import PreparedData

OWN_CLASSES = (None, "classifier", "random-conv")  # extractors that know no others than the data's

Images = UInt8[Tensor, "n c h w"]
Classes = Int[Tensor, " n"]
Sample = Callable[[int, int], tuple[Images, Classes | None]]
Evaluator = Callable[[Sample], list[Result]]


def evaluate_images(
    fake_images: Images,
    fake_labels: Classes | None,
    data: "PreparedData",
    metrics: Sequence[str],
    extractor: str | Extractor | None = None,
    seed: int = 0,
    held_out: "PreparedData | None" = None,
    moments: Moments | str | os.PathLike[str] | None = None,
) -> list[Result]:
    """Score generated images against a data set, each figure with its real-against-real floor.

    Args:
        fake_images: of the data's shape.
        fake_labels: the classes that were asked for; None for unconditional images.
        data: real images; see `Reference` for which of them are compared with.
        metrics: names in METRICS.
        extractor: name, "module:Class" or object; None takes `classifier` for labelled data and
            `random-conv` for the rest. The results say which it was.
        seed: of the reference's order and of subsets.
        held_out: real images that the generator has not seen, to compare with in place of `data`.
        moments: a file of mu and sigma in the place of the real images, for the Frechet distance;
            the figure's name ends in the file's hash.

    Returns:
        one Result a figure, in the order of `metrics`.

    Raises:
        LimnerError: an unknown metric, one that lacks labels, images that do not fit the data.
    """
    check_metrics(metrics, data, extractor)
    reference = Reference(data, extractor, seed, held_out, moments)
    return score(reference, fake_images, fake_labels, metrics)


def make_evaluator(
    data: "PreparedData",
    metrics: Sequence[str],
    num: int,
    extractor: str | Extractor | None = None,
    seed: int = 0,
) -> Evaluator:
    """An evaluator for many calls: names are checked now, real images are read at the first call.

    It is called with `sample(num, seed) -> (images, labels or None)`, whose labels take all classes
    equally often, and returns what `evaluate_images` does.
    """
    check_metrics(metrics, data, extractor)
    if num < 2:
        raise LimnerError(f"{num} generated images are too few for any score")
    reference = functools.cache(lambda: Reference(data, extractor, seed))

    def evaluator(sample: Sample) -> list[Result]:
        images, labels = sample(num, seed)
        return score(reference(), images, labels, metrics)

    return evaluator


def score(
    reference: Reference, images: Images, labels: Classes | None, metrics: Sequence[str]
) -> list[Result]:
    """`evaluate_images` for a reference that is there already."""
    _check_images(images, labels, reference.data)
    images, labels = images.cpu(), None if labels is None else labels.cpu()
    rows: dict[str, Tensor] = {}
    results = []
    for name in metrics:
        metric = find_metric(name)
        real_lacks = metric.reads not in OF_CLASSIFIER and reference.labels is None
        if metric.needs_labels and (labels is None or real_lacks):
            side = "generated" if labels is None else "real"
            raise LimnerError(f"metric '{name}' needs labels of the {side} images; leave it out")
        if metric.reads not in rows:
            rows[metric.reads] = _read(reference, metric, images)
        results += _results(reference, name, metric, Side(rows[metric.reads], labels))
    return results


def _read(reference: Reference, metric: Metric, images: Tensor) -> Tensor:
    if metric.reads in OF_CLASSIFIER:
        return classified(reference.classifier.logits(images), metric)
    if metric.reads == "images":
        return images
    if metric.reads == "pixels":
        return pixel_rows(images)
    return reference.extractor.features(images)


def _results(reference: Reference, name: str, metric: Metric, fake: Side) -> list[Result]:
    floors = reference.floors(name, metric, len(fake.rows))
    used = reference.used_by(metric)
    extractor = "pixels" if used is None else used.name
    moments = reference.moments_for(metric)
    whose = extractor if moments is None else f"{extractor}-{moments.name}"
    return [
        Result(
            metric=name,
            name=f"{key}-{whose}" if metric.named_by_features else key,
            value=figure.value,
            std=figure.std,
            extractor=extractor,
            weights_sha256=None if used is None else used.weights_sha256,
            num=len(fake.rows),
            floor=floors[key],
            seed=reference.seed,
        )
        for key, figure in reference.compare(metric, fake).items()
    ]


def find_metric(name: str) -> Metric:
    """The entry of METRICS.

    Raises:
        LimnerError: unknown; names the nearest.
    """
    from limner.metrics import METRICS  # the package's table stands above this file

    if name not in METRICS:
        raise LimnerError(f"unknown metric '{name}'{nearest(name, METRICS)}")
    return METRICS[name]


def check_metrics(
    names: Sequence[str], data: "PreparedData", extractor: str | Extractor | None = None
) -> None:
    """Refuse metrics that are unknown or that the data cannot have with this extractor.

    Raises:
        LimnerError: names the metric and the reason.
    """
    for name in names:
        metric = find_metric(name)
        if metric.needs_labels and data.num_classes < 2:
            raise LimnerError(f"metric '{name}' needs data with classes; leave it out")
        if metric.reads == "probabilities" and data.num_classes < 2 and extractor in OWN_CLASSES:
            raise LimnerError(
                f"metric '{name}' needs a classifier: data with classes, or an extractor that "
                "knows classes; leave it out"
            )
        if min(data.image_shape[1:]) < metric.side_min:
            raise LimnerError(
                f"metric '{name}' needs images of at least {metric.side_min} pixels a side, not "
                f"{data.image_shape[2]}x{data.image_shape[1]}; leave it out"
            )


def _check_images(images: Tensor, labels: Tensor | None, data: "PreparedData") -> None:
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != data.image_shape:
        raise LimnerError(
            f"generated images are {images.dtype} {tuple(images.shape)}; the data need "
            f"uint8 [N, {', '.join(map(str, data.image_shape))}]"
        )
    if labels is not None and (labels.shape != (len(images),) or labels.is_floating_point()):
        raise LimnerError(
            f"labels are {labels.dtype} {tuple(labels.shape)}; give {len(images)} integers"
        )
