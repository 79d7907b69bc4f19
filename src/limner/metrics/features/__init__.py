"""Feature extractors by name, by file of weights, or a user's own as "module:Class"."""

from collections.abc import Callable
from pathlib import Path

import torch

from limner.core.errors import LimnerError
from limner.formats.weights import read_weights
from limner.metrics.arrays import ImageSet, num_single_classes
from limner.metrics.features.base import CPU, Classifier, Extractor, KnowsClasses
from limner.metrics.features.classifier import (
    ClassifierSettings,
    DataClassifier,
    classifier_of,
    train_classifier,
)
from limner.metrics.features.effnet import effnet_lite0
from limner.metrics.features.inception import (
    TENSORFLOW,
    bfloat16_inception,
    fid_inception,
    torchvision_inception,
)
from limner.metrics.features.library import LIBRARIES, library_model, onnx_file
from limner.metrics.features.pixels import Pixels
from limner.metrics.features.pretrained import Pretrained
from limner.metrics.features.random_conv import RandomConv
from limner.metrics.named import named
from limner.models.effnet import packaged_weights

EXTRACTORS: dict[str, Callable[[ImageSet], Extractor]] = {
    "inception": fid_inception,
    "inception-bfloat16": bfloat16_inception,
    "inception-torchvision": torchvision_inception,
    "effnet-lite0": effnet_lite0,
    "classifier": classifier_of,
    "random-conv": RandomConv,
    "pixels": Pixels,
}
WEIGHTS = (".pth", ".pt", ".safetensors")
# a weight that only the network of this extractor has
TELLING = {
    "_conv_stem.weight": effnet_lite0,
    "AuxLogits.fc.weight": torchvision_inception,
    "Mixed_7c.branch_pool.conv.weight": fid_inception,
}
SMALL = 32


def make_extractor(
    name: str | Extractor | None, data: ImageSet, device: torch.device = CPU
) -> Extractor:
    """The extractor of a name, a file or nothing; networks that others trained run on `device`.

    - None: see `default_features`;
    - a name in EXTRACTORS;
    - "timm:NAME", "torchvision:NAME", each with "=FILE" for its weights;
    - FILE.onnx; FILE.pth, .pt or .safetensors with weights of Inception-v3 or EfficientNet-lite0;
    - "module:Class" or "FILE.py:Class", imported because the user asked for it by name, and called
      with the data.

    Raises:
        LimnerError: an unknown name, a missing file, or a class that is no Extractor.
        MissingExtra: it needs a package that is not installed.
    """
    if name is None:
        name = default_features(data)
    if not isinstance(name, str):
        return name
    extractor = _made(name, data)
    if isinstance(extractor, Pretrained):
        extractor.place(device)
    return extractor


def check_extractor(name: str | Extractor | None) -> None:
    """Refuse a name that `make_extractor` does not know; whether weights are there is not asked."""
    if isinstance(name, str) and not (_is_of_library(name) or _is_file(name)):
        named(name, EXTRACTORS, "features")


def _is_of_library(name: str) -> bool:
    prefix, colon, _ = name.partition(":")
    return bool(colon) and prefix in LIBRARIES


def _is_file(name: str) -> bool:
    return Path(name).suffix in (*WEIGHTS, ".onnx")


def _made(name: str, data: ImageSet) -> Extractor:
    if _is_of_library(name):
        prefix, _, rest = name.partition(":")
        return library_model(rest, prefix)
    if _is_file(name):
        return _from_file(Path(name).expanduser())
    extractor = named(name, EXTRACTORS, "features")(data)
    if not isinstance(extractor, Extractor):
        raise LimnerError(
            f"features '{name}': an extractor has name, weights_sha256 and features(images)"
        )
    return extractor


def default_features(data: ImageSet) -> str:
    """The name of the features for data where none is asked for.

    Images smaller than 32 pixels, and gray ones with labels (digits), are judged by networks of
    their own, `classifier` or, without labels, `random-conv`: those of ImageNet have never seen the
    like. All else by FID's Inception where its weights are found, and by EfficientNet-lite0 where
    they are not; without its package as the small ones.
    """
    channels, height, width = data.image_shape
    labelled = num_single_classes(data) > 1
    drawings = max(height, width) < SMALL or (channels == 1 and labelled)
    if not drawings and channels in (1, 3):
        if TENSORFLOW.find() is not None:
            return "inception"
        if packaged_weights() is not None:
            return "effnet-lite0"
    return "classifier" if labelled else "random-conv"


def _from_file(path: Path) -> Extractor:
    if not path.is_file():
        raise LimnerError(f"features '{path}': there is no such file")
    if path.suffix == ".onnx":
        return onnx_file(path)
    tensors = read_weights(path)
    for weight, make in TELLING.items():
        if weight in tensors:
            bias = tensors.get("fc.bias")
            if make is fid_inception and bias is not None and len(bias) == 1000:
                make = torchvision_inception
            return make(path=path)
    raise LimnerError(
        f"{path}: weights of neither Inception-v3 nor EfficientNet-lite0; "
        "say whose they are: --features timm:NAME=FILE or torchvision:NAME=FILE"
    )


__all__ = [
    "EXTRACTORS",
    "Classifier",
    "ClassifierSettings",
    "DataClassifier",
    "Extractor",
    "KnowsClasses",
    "RandomConv",
    "check_extractor",
    "classifier_of",
    "default_features",
    "make_extractor",
    "train_classifier",
]
