"""The features of EfficientNet-lite0 (models/effnet.py), whose weights a package brings."""

from pathlib import Path
from typing import Any

from torch import Tensor

from limner.core.files import sha256_of
from limner.metrics.features.pretrained import PretrainedClassifier, scaled
from limner.models.effnet import read_effnet, require_weights

NAME, SIZE = "effnet-lite0", 224


def effnet_lite0(_: Any = None, path: Path | None = None) -> PretrainedClassifier:
    """The extractor `effnet-lite0`: 1280 features after the pooling, 1000 logits of ImageNet.

    Raises:
        MissingExtra: the package is not installed.
        LimnerError: the file is not of this network.
    """
    path = require_weights(f"features '{NAME}'") if path is None else path
    resize = f"bilinear-antialias-{SIZE}"
    return PretrainedClassifier(NAME, sha256_of(path), read_effnet(path), _prepared, resize)


def _prepared(images: Tensor) -> Tensor:
    return (scaled(images, (SIZE, SIZE)) - 127) / 128
