"""Scores by classes: the Frechet distance within them, and what a network learns from fakes."""

import hashlib
import math
from typing import Any

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.arrays import ArrayData
from limner.metrics.base import NEARER, Figure, Metric, Rows, Side
from limner.metrics.features.base import in_batches
from limner.metrics.features.classifier import ClassifierSettings, fitted_network
from limner.metrics.frechet import frechet_distance
from limner.metrics.neighbours import class_accuracy

NUM_IN_CLASS_MIN = 2
NUM_IN_TRAINING_MAX = 20_000


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


def classification_accuracy(
    fake: UInt8[Tensor, "n c h w"],
    fake_labels: Int[Tensor, " n"],
    real: UInt8[Tensor, "m c h w"],
    real_labels: Int[Tensor, " m"],
    seed: int = 0,
) -> float:
    """The accuracy on real images of a small network that was trained on fakes and the classes that
    were asked for (Ravuri and Vinyals 2019, with limner's classifier in place of a ResNet-50)."""
    labels = fake_labels.numpy()
    num_classes = int(max(fake_labels.max(), real_labels.max())) + 1
    digest = hashlib.sha256(fake.numpy().tobytes() + labels.tobytes()).hexdigest()
    train = ArrayData(fake.permute(0, 2, 3, 1).numpy(), labels, num_classes, digest)
    network = fitted_network(train, ClassifierSettings(seed=seed))
    return class_accuracy(in_batches(network, real), real_labels)


class IntraFid(Metric):
    """See `intra_class_distance`."""

    figures = ("intra-fd",)
    higher_is_better = False
    needs_labels = True
    named_by_features = True
    inception_name = "intra-fid"
    under_floor = NEARER

    def lacks(self, fake: Side, real: Side | None) -> str | None:
        assert real is not None
        assert real.labels is not None
        assert fake.labels is not None
        counts = real.labels.bincount(minlength=real.num_classes)
        counted = (counts >= NUM_IN_CLASS_MIN).nonzero()[:, 0]
        if not len(counted):
            most = int(counts.max())
            return f"{NUM_IN_CLASS_MIN} real images of a class, and the most of one are {most}"
        made = fake.labels.bincount(minlength=real.num_classes)[counted]
        if int(made.min()) >= NUM_IN_CLASS_MIN:
            return None
        return (
            f"{NUM_IN_CLASS_MIN} generated images of each class, "
            f"{NUM_IN_CLASS_MIN * real.num_classes} in even shares, and of class "
            f"{int(counted[made.argmin()])} there are {int(made.min())}"
        )

    def compare(self, fake: Rows, real: Rows) -> dict[str, Figure]:
        distance = intra_class_distance(fake.rows, fake.labels, real.rows, real.labels)
        return {"intra-fd": Figure(*distance)}


class Accuracy(Metric):
    """The share of images that a classifier of the data puts into the class asked for."""

    figures = ("accuracy",)
    higher_is_better = True
    reads = "classes"
    needs_labels = True
    alone = True

    def compare(self, fake: Rows, real: None) -> dict[str, Figure]:
        return {"accuracy": Figure(int((fake.rows == fake.labels).sum()) / len(fake.rows))}

    def known_floors(self, reference: Any) -> dict[str, float]:
        # the classifier knows the real images by heart: only its held-out part is honest
        return {"accuracy": reference.classifier.held_out_accuracy}


class CasNetwork(Metric):
    """See `classification_accuracy`."""

    figures = ("cas-network",)
    higher_is_better = True
    reads = "pixels"
    needs_labels = True
    num_max = NUM_IN_TRAINING_MAX
    num_floor_splits = 1

    def compare(self, fake: Rows, real: Rows) -> dict[str, Figure]:
        sides = fake.rows, fake.labels, real.rows, real.labels
        return {"cas-network": Figure(classification_accuracy(*sides, fake.side.seed))}
