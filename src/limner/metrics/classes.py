"""Scores by classes: the Frechet distance within them, and what a network learns from fakes."""

import hashlib
import math

from jaxtyping import Float, Int
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.arrays import ArrayData
from limner.metrics.features.base import in_batches
from limner.metrics.features.classifier import ClassifierSettings, fitted_network
from limner.metrics.frechet import frechet_distance
from limner.metrics.neighbours import class_accuracy
from limner.metrics.results import Comparison

NUM_IN_CLASS_MIN = 2


def intra_class_distance(
    fake: Float[Tensor, "n d"],
    fake_labels: Int[Tensor, " n"],
    real: Float[Tensor, "m d"],
    real_labels: Int[Tensor, " m"],
) -> tuple[float, float]:
    """Mean over classes, and deviation, of the Frechet distance within a class (Miyato and Koyama
    2018): a generator that mixes classes up pays for it here, and not in the whole distance.

    The classes are those with at least two real images.

    Raises:
        LimnerError: such a class has fewer than two generated images.
    """
    distances = []
    for label in real_labels.unique().tolist():
        of_real, of_fake = real[real_labels == label], fake[fake_labels == label]
        if len(of_real) < NUM_IN_CLASS_MIN:
            continue
        if len(of_fake) < NUM_IN_CLASS_MIN:
            raise LimnerError(
                f"intra-fid: class {label} has {len(of_fake)} generated images; give more images, "
                f"so that each class has at least {NUM_IN_CLASS_MIN}"
            )
        distances.append(frechet_distance(of_fake, of_real))
    if not distances:
        raise LimnerError("intra-fid: no class has two real images; give more of them")
    mean = math.fsum(distances) / len(distances)
    return mean, math.sqrt(math.fsum((d - mean) ** 2 for d in distances) / len(distances))


def classification_accuracy(sides: Comparison) -> float:
    """The accuracy on real images of a small network that was trained on fakes and the classes that
    were asked for (Ravuri and Vinyals 2019, with limner's classifier in place of a ResNet-50).

    Args:
        sides: pixels, flat rows of `sides.image_shape`.
    """
    assert sides.fake_labels is not None
    assert sides.real_labels is not None
    fake, real = (rows.view(-1, *sides.image_shape) for rows in (sides.fake, sides.real))
    labels = sides.fake_labels.numpy()
    num_classes = int(max(sides.fake_labels.max(), sides.real_labels.max())) + 1
    digest = hashlib.sha256(sides.fake.numpy().tobytes() + labels.tobytes()).hexdigest()
    train = ArrayData(fake.permute(0, 2, 3, 1).numpy(), labels, num_classes, digest)
    network = fitted_network(train, ClassifierSettings(seed=sides.seed))
    return class_accuracy(in_batches(network, real), sides.real_labels)
