"""Inception-v3: TensorFlow's of 2015, which FID, KID and IS are defined with, and torchvision's.

Both have the same units with the same names; see `InceptionNetwork` for where they differ. The
files are those of torch-fidelity (https://github.com/toshas/torch-fidelity) and torchvision.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.core.files import sha256_of
from limner.core.undrawn import without_memory
from limner.formats.weights import load_weights, read_weights
from limner.layers.convolution_unit import ConvolutionUnit, make_fast
from limner.metrics.features.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PretrainedClassifier,
    normalized,
)
from limner.metrics.features.weights import Published

SIZE, BFLOAT16 = 299, "inception-bfloat16"
TENSORFLOW = Published(
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "6726825d",
    aliases=("pt_inception-2015-12-05-6726825d.pth",),  # as pytorch-fid calls it
    variable="LIMNER_INCEPTION",
)
TORCHVISION = Published(
    "inception_v3_google-0cc3c7bd.pth",
    "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
    "0cc3c7bd",
    aliases=("inception_v3_google-1a9a5a14.pth",),  # the same, with an older layout
    variable="LIMNER_INCEPTION_TORCHVISION",
)


class Unit(NamedTuple):
    """A convolution of a block; without a stride it keeps the size."""

    name: str
    channels: int
    kernel: int | tuple[int, int]
    stride: int = 1


# Units one after the other; a tuple of units in their midst stands side by side.
Link = Unit | tuple[Unit, Unit]
Chain = Sequence[Link]
Pool = Literal["average", "max", "halve"]
ROW, COLUMN = (1, 7), (7, 1)


class Block(NamedTuple):
    """Chains side by side; the pooling is one more, with a unit of `pooled` channels behind it."""

    name: str
    chains: Sequence[Chain]
    pool: Pool
    pooled: int = 0


def _numbered(prefix: str, *sizes: tuple[Any, ...]) -> list[Unit]:
    return [Unit(f"{prefix}_{i}", *size) for i, size in enumerate(sizes, 1)]


def _first(name: str, pooled: int) -> Block:
    chains = [
        [Unit("branch1x1", 64, 1)],
        _numbered("branch5x5", (48, 1), (64, 5)),
        _numbered("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
    ]
    return Block(name, chains, "average", pooled)


def _middle(name: str, width: int) -> Block:
    double = [(width, 1), (width, COLUMN), (width, ROW), (width, COLUMN), (192, ROW)]
    chains = [
        [Unit("branch1x1", 192, 1)],
        _numbered("branch7x7", (width, 1), (width, ROW), (192, COLUMN)),
        _numbered("branch7x7dbl", *double),
    ]
    return Block(name, chains, "average", 192)


def _last(name: str, pool: Pool) -> Block:
    def pair(prefix: str) -> tuple[Unit, Unit]:
        return Unit(f"{prefix}a", 384, (1, 3)), Unit(f"{prefix}b", 384, (3, 1))

    chains = [
        [Unit("branch1x1", 320, 1)],
        [Unit("branch3x3_1", 384, 1), pair("branch3x3_2")],
        [Unit("branch3x3dbl_1", 448, 1), Unit("branch3x3dbl_2", 384, 3), pair("branch3x3dbl_3")],
    ]
    return Block(name, chains, pool, 192)


FIRST_HALVING = Block(
    "Mixed_6a",
    [
        [Unit("branch3x3", 384, 3, 2)],
        _numbered("branch3x3dbl", (64, 1), (96, 3), (96, 3, 2)),
    ],
    "halve",
)
SECOND_HALVING = Block(
    "Mixed_7a",
    [
        _numbered("branch3x3", (192, 1), (320, 3, 2)),
        _numbered("branch7x7x3", (192, 1), (192, ROW), (192, COLUMN), (192, 3, 2)),
    ],
    "halve",
)
# name, channels in and out, kernel, stride, padding
STEM = (
    ("Conv2d_1a_3x3", 3, 32, 3, 2, 0),
    ("Conv2d_2a_3x3", 32, 32, 3, 1, 0),
    ("Conv2d_2b_3x3", 32, 64, 3, 1, 1),
    ("Conv2d_3b_1x1", 64, 80, 1, 1, 0),
    ("Conv2d_4a_3x3", 80, 192, 3, 1, 0),
)


class Mixed(nn.Module):
    """A block: what its chains and its pooling give, side by side."""

    def __init__(self, in_channels: int, block: Block, pads_count: bool):
        super().__init__()
        self.block, self.pads_count = block, pads_count
        self.out_channels = block.pooled or in_channels
        for chain in block.chains:
            channels = in_channels
            for link in chain:
                for unit in _units(link):
                    self.add_module(unit.name, _convolution(channels, unit))
                channels = sum(unit.channels for unit in _units(link))
            self.out_channels += channels
        if block.pooled:
            unit = Unit("branch_pool", block.pooled, 1)
            self.branch_pool = _convolution(in_channels, unit)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self._through(chain, x) for chain in self.block.chains]
        return torch.cat([*parts, self._pooled(x)], dim=1)

    def _through(self, chain: Chain, x: Tensor) -> Tensor:
        for link in chain:
            parts = [self.get_submodule(unit.name)(x) for unit in _units(link)]
            x = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        return x

    def _pooled(self, x: Tensor) -> Tensor:
        if self.block.pool == "halve":
            return F.max_pool2d(x, 3, stride=2)
        if self.block.pool == "max":
            return self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1))
        return self.branch_pool(
            F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=self.pads_count)
        )


def _units(link: Link) -> tuple[Unit, ...]:
    return (link,) if isinstance(link, Unit) else link


def _convolution(in_channels: int, unit: Unit) -> ConvolutionUnit:
    height, width = unit.kernel if isinstance(unit.kernel, tuple) else (unit.kernel, unit.kernel)
    padding = (height // 2, width // 2) if unit.stride == 1 else 0
    return ConvolutionUnit(
        in_channels, unit.channels, unit.kernel, stride=unit.stride, padding=padding
    )


class InceptionNetwork(nn.Module):
    """Both kinds of Inception-v3, from [n, 3, 299, 299] to 2048 features and logits.

    Args:
        tensorflow: the graph of 2015-12-05: 1008 classes; averages do not count the padding; the
            last block pools by the maximum. Otherwise torchvision's: 1000 classes, padding
            counted, averages throughout; its auxiliary classifier is left out.
    """

    def __init__(self, tensorflow: bool):
        super().__init__()
        self.tensorflow = tensorflow
        for name, given, out, kernel, stride, padding in STEM:
            unit = ConvolutionUnit(given, out, kernel, stride=stride, padding=padding)
            self.add_module(name, unit)
        channels, self.blocks = STEM[-1][2], self._blocks()
        for block in self.blocks:
            mixed = Mixed(channels, block, pads_count=not tensorflow)
            self.add_module(block.name, mixed)
            channels = mixed.out_channels
        self.fc = nn.Linear(channels, 1008 if tensorflow else 1000)

    def _blocks(self) -> list[Block]:
        first = [_first(f"Mixed_5{x}", width) for x, width in zip("bcd", (32, 64, 64), strict=True)]
        widths = (128, 160, 160, 192)
        middle = [_middle(f"Mixed_6{x}", width) for x, width in zip("bcde", widths, strict=True)]
        last = [_last("Mixed_7b", "average")]
        last.append(_last("Mixed_7c", "max" if self.tensorflow else "average"))
        return [*first, FIRST_HALVING, *middle, SECOND_HALVING, *last]

    def maps(self, x: Tensor) -> Iterator[Tensor]:
        """The maps of 64, 192, 768 and 2048 channels, as torch-fidelity offers them."""
        names = [name for name, *_ in STEM]
        for stage in (names[:3], names[3:]):
            for name in stage:
                x = self.get_submodule(name)(x)
            x = F.max_pool2d(x, 3, stride=2)
            yield x
        for block in self.blocks:
            if block is SECOND_HALVING:
                yield x
            x = self.get_submodule(block.name)(x)
        yield x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features [n, 2048], and logits: TensorFlow's without the bias, as the score wants them.

        The Inception score of 2016 left the bias out, and all have followed it.
        """
        *_, last = self.maps(x)
        features = last.float().mean(dim=(2, 3))
        bias = None if self.tensorflow else self.fc.bias
        return features, F.linear(features, self.fc.weight, bias)


def tensorflow_resized(images: Tensor, size: int = SIZE) -> Tensor:
    """uint8 [n, c, h, w] to float32 [n, c, size, size] as tf.image.resize_bilinear of TensorFlow 1.

    Pixel i of the output lies at i * h / size of the input (no half pixels), without any smoothing
    in shrinking.
    """
    x = images.float()
    low, high, share = _taps(x.shape[-1], size, x.device)
    left = x[..., low]
    x = left + (x[..., high] - left) * share
    low, high, share = _taps(x.shape[-2], size, x.device)
    top = x[..., low, :]
    return top + (x[..., high, :] - top) * share[:, None]


def _taps(num: int, size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    # float32 as in TensorFlow, for the share's last digits
    place = torch.arange(size, dtype=torch.float32, device=device) * torch.tensor(num / size)
    low = place.long()
    return low, (low + 1).clamp_max(num - 1), place - low


def _for_tensorflow(images: Tensor) -> Tensor:
    return (tensorflow_resized(images) - 128) / 128


def _for_torchvision(images: Tensor) -> Tensor:
    # BigGAN-PyTorch normalizes first, and then resizes
    x = normalized(images.float(), IMAGENET_MEAN, IMAGENET_STD)
    return F.interpolate(x, (SIZE, SIZE), mode="bilinear", align_corners=True)


def fid_inception(_: Any = None, path: Path | None = None) -> PretrainedClassifier:
    """The Inception-v3 of FID: pool3's 2048 features, and 1008 logits without their bias.

    It is called "inception" only with the published weights, else "inception-" and the first
    digits of its file's sha256, so that no other figure is taken for FID. `path` has weights with
    torch-fidelity's names; by default it is that of `Published`.

    Raises:
        LimnerError: no such file, or not one of this network.
    """
    path = TENSORFLOW.need("inception") if path is None else path
    network = _loaded(True, read_weights(path), path)
    sha256 = sha256_of(path)
    known = sha256.startswith(TENSORFLOW.digits)
    name = "inception" if known else f"inception-{sha256[:8]}"
    return PretrainedClassifier(name, sha256, network, _for_tensorflow, "tensorflow-bilinear-299")


class _InBfloat16(nn.Module):
    """Its convolutions compute in bfloat16; means and logits stay in float32."""

    def __init__(self, network: InceptionNetwork):
        super().__init__()
        self.network = network.to(torch.bfloat16)
        self.network.fc.float()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.network(x.bfloat16())


def bfloat16_inception(_: Any = None, path: Path | None = None) -> PretrainedClassifier:
    """FID's Inception in bfloat16: for following a training, never for figures to publish.

    Its name ends in "-bfloat16", so its figures are `fd-inception-bfloat16` and never `fid`.
    """
    whole = fid_inception(path=TENSORFLOW.need(BFLOAT16) if path is None else path)
    return PretrainedClassifier(
        f"{whole.name}-bfloat16",
        str(whole.weights_sha256),
        _InBfloat16(cast(InceptionNetwork, whole.network)),
        whole.prepare,
        whole.resize,
        has_small_steps=False,
    )


def torchvision_inception(_: Any = None, path: Path | None = None) -> PretrainedClassifier:
    """torchvision's Inception-v3 on images prepared as BigGAN-PyTorch's monitoring does."""
    path = TORCHVISION.need("inception-torchvision") if path is None else path
    weights = read_weights(path).items()
    tensors = {name: value for name, value in weights if not name.startswith("AuxLogits.")}
    network = _loaded(False, tensors, path)
    name, resize = "inception-torchvision", "bilinear-299-aligned-corners"
    return PretrainedClassifier(name, sha256_of(path), network, _for_torchvision, resize)


def _loaded(tensorflow: bool, tensors: dict[str, Tensor], path: Path) -> InceptionNetwork:
    with without_memory():
        network = InceptionNetwork(tensorflow)
    counts = {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
    for name in counts - tensors.keys():  # older files lack them, and nothing reads them
        tensors[name] = torch.zeros((), dtype=torch.int64)
    load_weights(network, tensors, path)
    make_fast(network)
    return network
