"""What a score needs, and what is said of one that cannot be had while others can."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.arrays import ImageSet, num_single_classes
from limner.metrics.base import Metric, Side
from limner.metrics.features import Extractor

if TYPE_CHECKING:
    from limner.metrics.reference import Reference
    from limner.metrics.streams import ImageStream

OWN_CLASSES = ("classifier", "random-conv", "pixels")  # they know no others than the data's

Tell = Callable[[str, str], None]  # of (metrics, what is said of them)


class NoScores(LimnerError):  # noqa: N818 - reads as a sentence in messages
    """None of the scores that were asked for can be had; the message has each one's reason."""


def warn(metric: str, line: str) -> None:
    """Tell as a Python warning."""
    warnings.warn(line, stacklevel=2)


def settled(asked: Sequence[str], reasons: dict[str, str], tell: Tell) -> list[str]:
    """The metrics that are left of those asked for; those with a reason are told.

    Raises:
        NoScores: none is left.
    """
    left = [name for name in asked if name not in reasons]
    if asked and not left:
        raise NoScores("; ".join(dict.fromkeys(reasons[name] for name in asked)))
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name in asked if reasons.get(name) == reason]
        tell(", ".join(names), f"{reason}; {'it is' if len(names) == 1 else 'they are'} left out")
    return left


def together(failed: Mapping[str, str]) -> dict[str, str]:
    """What went wrong by metric, each with the names of all of which the same did."""
    alike: dict[str, list[str]] = {}
    for name, why in failed.items():
        alike.setdefault(why, []).append(f"'{name}'")
    return {name: f"metric {', '.join(alike[why])}: {why}" for name, why in failed.items()}


def lacking_of_data(
    name: str, metric: Metric, data: ImageSet, extractor: str | Extractor
) -> str | None:
    """Why a metric cannot be had of data with features, before any image is there; or None."""
    num_classes = num_single_classes(data)
    if metric.needs_labels and data.num_classes > num_classes:
        return (
            f"metric '{name}' needs one class an image, and the labels are rows of "
            f"{data.num_classes} numbers"
        )
    if metric.needs_classes and num_classes < 2:
        return f"metric '{name}' needs data with classes"
    if metric.reads == "logits" and num_classes < 2 and extractor in OWN_CLASSES:
        return (
            f"metric '{name}' needs a classifier: data with classes, or an extractor that knows "
            "classes"
        )
    if min(data.image_shape[1:]) < metric.side_min:
        return (
            f"metric '{name}' needs images of at least {metric.side_min} pixels a side, not "
            f"{data.image_shape[2]}x{data.image_shape[1]}"
        )
    return None


def lacking(
    name: str,
    metric: Metric,
    reference: "Reference",
    stream: "ImageStream",
    labels: Tensor | None,
) -> str | None:
    """Why a metric cannot be had of these images beside the reference, before one is made."""
    real_lacks = reference.labels is None and not metric.alone
    if metric.needs_labels and (labels is None or real_lacks):
        side = "generated" if labels is None else "real"
        return f"metric '{name}' needs labels of the {side} images"
    try:
        if metric.reads == "logits":
            _check_logits(name, reference)
        if metric.reads == "generator":
            metric.check_generator(stream, reference)
    except LimnerError as error:
        return str(error)
    if metric.fixed is not None and stream.num != metric.fixed.num:
        return (
            f"metric '{name}' is of {metric.fixed.num:,} generated images, and there are "
            f"{stream.num:,}"
        )
    alone = metric.alone or reference.moments_for(metric) is not None
    real = Side(len(reference), stream.num, 0, reference.labels, reference.data.num_classes, True)
    missing = metric.lacks(reference.fakes(metric, stream.num, labels), None if alone else real)
    return None if missing is None else f"metric '{name}' needs {missing}"


def _check_logits(name: str, reference: "Reference") -> None:
    knows_classes = hasattr(reference.extractor, "logits")
    if not knows_classes and num_single_classes(reference.data) < 2:
        raise LimnerError(
            f"metric '{name}' needs a classifier: features '{reference.extractor.name}' have no "
            "logits and the data no classes; take other features"
        )
