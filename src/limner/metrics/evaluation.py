"""From images to results, and the evaluator that a training is handed."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from limner.core import distributed
from limner.core.errors import LimnerError
from limner.metrics.arrays import ImageSet
from limner.metrics.base import Accumulator, Figure, Metric, Result, fed
from limner.metrics.features import Extractor, default_features
from limner.metrics.features.base import CPU, PIXELS_MAX
from limner.metrics.moments_file import Moments
from limner.metrics.named import named
from limner.metrics.needs import Tell, lacking, lacking_of_data, settled, together, warn
from limner.metrics.protocols import PROTOCOLS, num_reals, settings_of
from limner.metrics.reading import accumulated
from limner.metrics.reference import Reference
from limner.metrics.sharing import share
from limner.metrics.streams import ImageStream, as_stream

INCEPTION = "inception"  # the network of 2015 with the published weights, and nothing else

Images = UInt8[Tensor, "n c h w"] | ImageStream
Classes = Int[Tensor, " n"]
Sample = Callable[[int, int], tuple[Images, Classes | None]]
Evaluator = Callable[[Sample], list[Result]]


def evaluate_images(
    fake_images: Images,
    fake_labels: Classes | None,
    data: ImageSet,
    metrics: Sequence[str],
    extractor: str | Extractor | None = None,
    seed: int = 0,
    held_out: ImageSet | None = None,
    moments: Moments | str | os.PathLike[str] | None = None,
) -> list[Result]:
    """Score generated images against a data set, each figure with its real-against-real floor.

    A score that cannot be had is left out with a warning, and does not take the others along.

    Args:
        fake_images: of the data's shape.
        fake_labels: the classes that were asked for; None for unconditional images.
        metrics: see `find_metric`.
        data, extractor, held_out, moments: see `Reference`; a figure against moments has a name
            that ends in their hash.
        seed: of the reference's order and of subsets.

    Returns:
        one Result a figure, in the order of `metrics`.

    Raises:
        LimnerError: an unknown metric, none that can be had, images that do not fit the data.
    """
    metrics = check_metrics(metrics, data, extractor)
    reference = Reference(data, extractor, seed, held_out, moments)
    return score(reference, fake_images, fake_labels, metrics)


def make_evaluator(
    data: ImageSet,
    metrics: Sequence[str],
    num: int,
    extractor: str | Extractor | None = None,
    seed: int = 0,
    device: torch.device = CPU,
    tell: Tell = warn,
) -> Evaluator:
    """An evaluator for many calls: names are checked now, real images are read at the first call.
    What cannot be had is told and left out.

    It is called with `sample(num, seed) -> (images, labels or None)`, whose labels take all classes
    equally often, and returns what `evaluate_images` does. `device` is where pretrained features
    are computed.
    """
    found = {name: find_metric(name) for name in metrics}
    settings_of(found, num, extractor)
    possible = check_metrics(metrics, data, extractor, tell)
    if num < 2:
        raise LimnerError(f"{num} generated images are too few for any score; give 2")
    most = num_reals(found)
    reference = functools.cache(lambda: Reference(data, extractor, seed, device=device, most=most))

    def evaluator(sample: Sample) -> list[Result]:
        with distributed.apart():
            images, labels = sample(num, seed)
            against = reference()
        return score(against, images, labels, possible, tell)

    return evaluator


def score(
    reference: Reference,
    images: Images,
    labels: Classes | None,
    metrics: Sequence[str],
    tell: Tell = warn,
) -> list[Result]:
    """`evaluate_images` for a reference that is there already.

    Images are looked at once, part by part. With several processes each takes its share of the
    parts, the first has the results, and the others an empty list.

    Raises:
        NoScores: none can be had; else each that cannot is told, and one without a floor.
    """
    _check_images(images, labels, reference.data)
    stream = as_stream(images)
    labels = None if labels is None else labels.cpu()
    found = {name: find_metric(name) for name in metrics}
    lacks = {name: lacking(name, m, reference, stream, labels) for name, m in found.items()}
    reasons = {name: lack for name, lack in lacks.items() if lack}
    possible = {name: m for name, m in found.items() if name not in reasons}
    kept, failed = accumulated(stream, labels, reference, possible) if possible else ({}, {})
    share(reference, {name: m for name, m in possible.items() if name not in failed}, stream.num)
    if distributed.rank() != 0:
        settled(metrics, reasons | together(failed), lambda metrics, line: None)
        return []
    results = []
    with distributed.alone():
        for name in (name for name in possible if name not in failed):
            try:
                results += _results_of(reference, name, found[name], kept[name], stream, tell)
            except LimnerError as error:
                failed[name] = str(error)
    settled(metrics, reasons | together(failed), tell)
    return results


def _results_of(
    reference: Reference,
    name: str,
    metric: Metric,
    fake: Accumulator,
    stream: ImageStream,
    tell: Tell,
) -> list[Result]:
    if metric.reads == "generator":
        num = metric.num_used(stream.num, stream.num)
        fed(fake, metric.of_generator(stream, reference, num))
    figures = reference.compare(metric, fake, stream.num)
    floors: Mapping[str, float] = {}
    try:
        floors = reference.floors(name, metric, stream.num)
    except LimnerError as error:
        tell(name, f"metric '{name}' has no floor: {error}")
    return _results(reference, name, metric, figures, floors, stream.num)


def _results(
    reference: Reference,
    name: str,
    metric: Metric,
    figures: Mapping[str, Figure],
    floors: Mapping[str, float],
    num: int,
) -> list[Result]:
    used = reference.used_by(metric.reads)
    moments = reference.moments_for(metric)
    num_real = 0 if metric.alone or moments is not None else len(reference)
    resize = getattr(used, "resize", None)
    if metric.reads == "pixels" and max(reference.data.image_shape[1:]) > PIXELS_MAX:
        resize = f"area-{PIXELS_MAX}"
    return [
        Result(
            metric=name,
            name=name_of(key, metric, used, moments),
            value=figure.value,
            std=figure.std,
            extractor="pixels" if used is None else used.name,
            weights_sha256=None if used is None else used.weights_sha256,
            num=metric.num_used(num, num_real or num),
            floor=floors.get(key),
            seed=reference.seed,
            num_real=metric.num_used(num_real, num),
            resize=resize,
            data_sha256=reference.real.sha256 if moments is None else moments.sha256,
            higher_is_better=metric.higher_is_better,
        )
        for key, figure in figures.items()
    ]


def name_of(
    key: str, metric: Metric, used: Extractor | None, moments: Moments | None = None
) -> str:
    """What a figure is called: "recall", "fd-classifier", "fid" only with Inception's weights."""
    if not metric.named_by_features or used is None:
        return key
    if used.name == INCEPTION and metric.inception_name is not None:
        key = metric.inception_name
    else:
        key = f"{key}-{used.name}"
    return key if moments is None else f"{key}-{moments.name}"


def find_metric(name: str) -> Metric:
    """The entry of METRICS or PROTOCOLS, or a user's own as "module:Class" or "FILE.py:Class".

    Raises:
        LimnerError: unknown, or no Metric; see `named`.
    """
    from limner.metrics import METRICS  # the package's table stands above this file

    cls = named(name, {**METRICS, **PROTOCOLS}, "metric")
    if not (isinstance(cls, type) and issubclass(cls, Metric)):
        raise LimnerError(f"metric '{name}': derive it from limner.metrics.Metric")
    return cls()


def check_metrics(
    names: Sequence[str],
    data: ImageSet,
    extractor: str | Extractor | None = None,
    tell: Tell = warn,
) -> list[str]:
    """The metrics that the data can have with this extractor; the others are told.

    Raises:
        LimnerError: an unknown metric, or none that can be had.
    """
    used = default_features(data) if extractor is None else extractor
    found = {name: find_metric(name) for name in names}
    lacks = {name: lacking_of_data(name, metric, data, used) for name, metric in found.items()}
    return settled(names, {name: lack for name, lack in lacks.items() if lack}, tell)


def _check_images(images: Tensor | ImageStream, labels: Tensor | None, data: ImageSet) -> None:
    is_tensor = isinstance(images, Tensor)
    if (is_tensor and images.dtype != torch.uint8) or tuple(images.shape[-3:]) != data.image_shape:
        kind = images.dtype if is_tensor else torch.uint8
        raise LimnerError(
            f"generated images are {kind} {tuple(images.shape)}; the data need "
            f"uint8 [N, {', '.join(map(str, data.image_shape))}]"
        )
    if labels is not None and (labels.shape != (len(images),) or labels.is_floating_point()):
        raise LimnerError(
            f"labels are {labels.dtype} {tuple(labels.shape)}; give {len(images)} integers"
        )
