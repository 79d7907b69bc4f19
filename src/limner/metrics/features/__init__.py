"""Feature extractors by name. A user's own is given as "module:Class"."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from limner.core.config import load_module, nearest
from limner.core.errors import LimnerError
from limner.metrics.features.base import Classifier, Extractor
from limner.metrics.features.classifier import (
    ClassifierSettings,
    DataClassifier,
    classifier_of,
    train_classifier,
)
from limner.metrics.features.random_conv import RandomConv

if TYPE_CHECKING:
    from limner.data import PreparedData

EXTRACTORS: dict[str, Callable[["PreparedData"], Extractor]] = {
    "classifier": classifier_of,
    "random-conv": RandomConv,
}


def make_extractor(name: str | Extractor | None, data: "PreparedData") -> Extractor:
    """The extractor of a name; None takes `classifier` for labelled data, else `random-conv`.

    "module:Class" (or "FILE.py:Class") is imported, because the user asked for it by name, and
    called with the data.

    Raises:
        LimnerError: an unknown name, or a class that is no Extractor.
    """
    if name is None:
        name = "classifier" if data.num_classes > 1 else "random-conv"
    if not isinstance(name, str):
        return name
    if name in EXTRACTORS:
        return EXTRACTORS[name](data)
    if name == "inception":
        raise LimnerError(
            "features 'inception' are not built yet, so no score can be called FID; "
            "use 'classifier' or 'random-conv'"
        )
    module, colon, class_name = name.rpartition(":")
    if not colon:
        raise LimnerError(f"unknown features '{name}'{nearest(name, EXTRACTORS)}")
    cls = getattr(load_module(module), class_name, None)
    if cls is None:
        raise LimnerError(f"features '{name}': the module has no '{class_name}'")
    extractor = cls(data)
    if not isinstance(extractor, Extractor):
        raise LimnerError(
            f"features '{name}': an extractor has name, weights_sha256 and features(images)"
        )
    return extractor


__all__ = [
    "EXTRACTORS",
    "Classifier",
    "ClassifierSettings",
    "DataClassifier",
    "Extractor",
    "RandomConv",
    "classifier_of",
    "make_extractor",
    "train_classifier",
]
