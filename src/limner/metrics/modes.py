"""Number of modes and reverse divergence, by a classifier (Stacked MNIST: Che et al. 2017; Metz et
al. 2017). They do not see image quality: never report them without a figure that does."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.arrays import ArrayData, ImageSet, num_single_classes
from limner.metrics.base import Figure, Metric, Rows
from limner.metrics.features import Classifier, classifier_of

NUM_STACKED_MAX = 20_000  # real images whose channels train the classifier


def modes_and_divergence(
    predicted: Int[Tensor, " n"],
    num_modes: int,
    shares: Float[Tensor, " modes"] | None = None,
) -> tuple[int, float]:
    """How many modes have at least one image, and KL(p || q) in nats of their histogram p.

    "Reverse" because p, the generated one, stands first: sum p log(p / q).

    Args:
        predicted: the mode of each image, 0 to num_modes - 1.
        shares: q; None is the uniform distribution of the published tables.

    Raises:
        LimnerError: no image, a mode out of range, or a mode with images that q gives no share.
    """
    if not len(predicted) or int(predicted.min()) < 0 or int(predicted.max()) >= num_modes:
        raise LimnerError(f"modes: give at least one number, each in 0-{num_modes - 1}")
    p = torch.bincount(predicted.cpu(), minlength=num_modes).double() / len(predicted)
    q = torch.full_like(p, 1 / num_modes) if shares is None else shares.double() / shares.sum()
    if len(q) != num_modes or bool((q[p > 0] <= 0).any()):
        raise LimnerError("modes: the reference gives no share to a mode that has images")
    found = p > 0
    return int(found.sum()), float((p[found] * (p[found] / q[found]).log()).sum())


class StackedClassifier:
    """A classifier of single channels, for images whose channels are stacked gray ones.

    Class d1 d2 ... dC in base B is channel 1 of class d1, channel 2 of class d2 and so on, as in
    Stacked MNIST (B = 10, C = 3).
    """

    def __init__(self, of_channel: Classifier, base: int, num_channels: int):
        self.of_channel, self.base, self.num_channels = of_channel, base, num_channels
        self.name = f"{of_channel.name}-per-channel"
        self.weights_sha256 = of_channel.weights_sha256
        self.held_out_accuracy = of_channel.held_out_accuracy**num_channels

    def features(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to the channels' features side by side."""
        flat = images.flatten(0, 1)[:, None]
        return self.of_channel.features(flat).view(len(images), -1)

    def logits(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to float [N, base^C]: sums of the channels' log-probabilities."""
        flat = images.flatten(0, 1)[:, None].contiguous()
        of_channels = self.of_channel.logits(flat).log_softmax(dim=1)
        of_channels = of_channels.view(len(images), self.num_channels, self.base)
        joint = of_channels[:, 0]
        for channel in range(1, self.num_channels):
            joint = (joint[:, :, None] + of_channels[:, channel, None, :]).flatten(1)
        return joint


def stacked_base(data: ImageSet) -> int | None:
    """B where the data have C > 1 channels and B^C classes, B > 1; else None."""
    channels = data.image_shape[0]
    num_classes = num_single_classes(data)
    base = round(num_classes ** (1 / channels)) if channels > 1 else 0
    return base if base > 1 and base**channels == num_classes else None


def classifier_of_modes(data: ImageSet) -> Classifier:
    """The data's, see `classifier_of`; of stacked data (see `stacked_base`) one of channels."""
    base = stacked_base(data)
    if base is None:
        return classifier_of(data)
    return StackedClassifier(classifier_of(_channels_of(data, base)), base, data.image_shape[0])


def _channels_of(data: ImageSet, base: int) -> ArrayData:
    """Each channel as a gray image with its own label."""
    channels, height, width = data.image_shape
    num = min(len(data.labels), NUM_STACKED_MAX)
    images = np.asarray(data.images[np.arange(num)])
    powers = base ** np.arange(channels - 1, -1, -1)
    labels = np.asarray(data.labels[:num])[:, None] // powers % base
    gray = images.transpose(0, 3, 1, 2).reshape(num * channels, height, width, 1)
    return ArrayData(gray, labels.reshape(-1), base, f"{data.sha256}-channels")


class Modes(Metric):
    """How many modes have at least one image."""

    figures = ("modes",)
    higher_is_better = True
    reads = "modes"
    alone = True

    def compare(self, fake: Rows, real: None) -> dict[str, Figure]:
        found, _ = modes_and_divergence(fake.rows, fake.side.num_classes)
        return {"modes": Figure(found)}


class ModesKl(Metric):
    """The divergence of the modes' histogram from the uniform one."""

    figures = ("modes-kl",)
    higher_is_better = False
    reads = "modes"
    alone = True

    def compare(self, fake: Rows, real: None) -> dict[str, Figure]:
        _, divergence = modes_and_divergence(fake.rows, fake.side.num_classes)
        return {"modes-kl": Figure(divergence)}
