"""What extractors with networks that others trained have in common."""

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from limner.core.errors import LimnerError
from limner.layers.packing import fast_forwards

Images = UInt8[Tensor, "n c h w"]
Prepared = Float[Tensor, "n 3 height width"]
Rows = Float[Tensor, "n d"]

# the pixel's mean and deviation that most networks of ImageNet were trained with, for [0, 1]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH_SIZE = 8  # by measurement: larger batches are slower on a CPU, and take more memory
BATCH_SIZE_ON_DEVICE = 64


class Pretrained:
    """An extractor around a network that gives features, and one that prepares its input.

    Args:
        network: prepared images to (features [n, d], logits [n, classes] or None).
        prepare: uint8 [n, 3, h, w] to what the network takes, all images alike.
        resize: how images are brought to the network's size, for instance "bilinear-299".
        has_small_steps: whether a step of 1e-4 of an image can be told from rounding.
    """

    def __init__(
        self,
        name: str,
        weights_sha256: str,
        network: Callable[[Tensor], tuple[Tensor, Tensor | None]],
        prepare: Callable[[Tensor], Tensor],
        resize: str,
        has_small_steps: bool = True,
    ):
        self.name, self.resize, self.has_small_steps = name, resize, has_small_steps
        self.weights_sha256: str | None = weights_sha256
        self.network, self.prepare = network, prepare
        self.device = torch.device("cpu")

    def place(self, device: torch.device) -> None:
        """Let the network run there; one that is no module (an ONNX file's) stays on the CPU."""
        if isinstance(self.network, nn.Module):
            self.network.to(device)
            self.device = device

    def features(self, images: Images) -> Rows:
        return self.rows(images)[0]

    @torch.no_grad()
    def rows(self, images: Images) -> tuple[Tensor, Tensor | None]:
        """Features and, where the network has any, logits [N, classes], from one pass."""
        features, logits = [], []
        size = BATCH_SIZE if self.device.type == "cpu" else BATCH_SIZE_ON_DEVICE
        for batch in in_color(images).split(size):
            some, of_classes = self.rows_of_prepared(self.prepare(batch.to(self.device)))
            features.append(some.float().cpu())
            logits.append(None if of_classes is None else of_classes.float().cpu())
        known = [some for some in logits if some is not None]
        return torch.cat(features), torch.cat(known) if known else None

    def rows_of_prepared(self, x: Prepared) -> tuple[Tensor, Tensor | None]:
        """What the network makes of prepared images on its device, in whole float32."""
        x = x.contiguous(memory_format=torch.channels_last)
        if self.device.type == "cpu" and isinstance(self.network, nn.Module):
            with fast_forwards(self.network, self.device, "float32"):
                return self.network(x)
        if self.device.type != "cuda":
            return self.network(x)
        # cuDNN's convolutions take TF32 by default: three digits, where a score promises six
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.network(x)


class PretrainedClassifier(Pretrained):
    """One whose network knows classes: those of its own training, not of the data."""

    def logits(self, images: Images) -> Rows:
        found = self.rows(images)[1]
        assert found is not None
        return found


def in_color(images: Tensor) -> Tensor:
    """uint8 [N, 1 or 3, H, W] to [N, 3, H, W]: gray thrice.

    Raises:
        LimnerError: another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise LimnerError(
            f"pretrained features need gray or color images, not {images.shape[1]} channels; "
            "use --features random-conv, or classifier where there are labels"
        )
    return images.expand(-1, 3, -1, -1)


def scaled(images: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 [n, c, h, w] to float32 [n, c, *size] in 0..255: bilinear, and smooth in shrinking."""
    x = images.float()
    if tuple(x.shape[-2:]) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)


def normalized(x: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """[n, 3, h, w] in 0..255, less a mean and over a deviation that hold for 0..1."""
    center, deviation = (
        torch.tensor(some, device=x.device).view(1, -1, 1, 1) for some in (mean, std)
    )
    return (x - center * 255) / (deviation * 255)
