"""Figures: of digits by a fixed classifier, of stacked digits by modes, of points by distance."""

import copy

import torch
from torch import Tensor, nn

from limner.core.images import to_uint8
from limner.core.protocols import z_dim_of
from limner.core.streams import stream
from limner.metrics import (
    class_accuracy,
    frechet_distance,
    nearest_neighbour_score,
    precision_recall_density_coverage,
)
from limner.metrics.arrays import ArrayData
from limner.metrics.features import Classifier
from limner.metrics.features.base import images_at
from limner.metrics.modes import modes_and_divergence
from limner.sampling import generate, generate_batches
from quality.reals import Mixture, triples

Figures = dict[str, float]

NUM_DIGITS, NUM_REAL_DIGITS = 4800, 5000  # of the digit distance of stacked images


def latents(num: int, z_dim: int, seed: int) -> Tensor:
    """Standard normal [num, z_dim], others for each seed, none of them seen in training."""
    return torch.randn(num, z_dim, generator=stream(seed, "quality", "judged"))


def sampled(
    generator: nn.Module, num: int, seed: int, y: Tensor | None = None, batch_moments: bool = False
) -> Tensor:
    """The generator's images, uint8 [num, C, H, W].

    Args:
        batch_moments: normalize by each batch of 128 as in training (protocol B), not by the
            running statistics.
    """
    z = latents(num, z_dim_of(generator), seed)
    if not batch_moments:
        return torch.cat([to_uint8(part) for part in generate_batches(generator, z, y, 256)])
    training = copy.deepcopy(generator).train()
    with torch.no_grad():
        return torch.cat([to_uint8(training(part)) for part in z.split(128)])


# --- classes -------------------------------------------------------------------------


def of_classes(
    images: Tensor, labels: Tensor, held_out: ArrayData, classifier: Classifier
) -> Figures:
    """Class-conditional uint8 images against digits that the GAN has not seen."""
    real = images_at(held_out, torch.arange(len(held_out)))
    real_labels = torch.from_numpy(held_out.labels)
    of_real, of_fake = classifier.features(real), classifier.features(images)
    manifold = precision_recall_density_coverage(of_real, of_fake)
    return {
        "accuracy": class_accuracy(classifier.logits(images), labels),
        "digit_distance": frechet_distance(of_real, of_fake),
        "cas_1nn": nearest_neighbour_score(images, labels, real, real_labels),
        "precision": manifold.precision,
        "recall": manifold.recall,
    }


# --- stacked digits ------------------------------------------------------------------


def of_stacked(images: Tensor, data: ArrayData, classifier: Classifier) -> Figures:
    """uint8 [N, 3, H, W]: modes of 1,000, KL to the uniform distribution, and what these miss.

    The digit distance is Frechet's between 4,800 single channels and 5,000 real digits; without it
    modes and KL mean little, for they reward blobs (docs/quality.md).
    """
    flat = images.flatten(0, 1)[:, None].contiguous()
    logits = classifier.logits(flat)
    predicted = logits.argmax(dim=1).view(-1, 3) @ torch.tensor([100, 10, 1])
    num_modes, divergence = modes_and_divergence(predicted, 1000)
    real = images_at(data, real_digits(data, 0))
    distance = frechet_distance(classifier.features(real), classifier.features(flat[:NUM_DIGITS]))
    return {
        "modes": num_modes,
        "kl": divergence,
        "digit_distance": distance,
        "confidence": float(logits.softmax(dim=1).amax(dim=1).mean()),
    }


def real_digits(data: ArrayData, part: int) -> Tensor:
    """Places of the reals of the digit distance (part 0), or of others for its floor (part 1)."""
    order = torch.randperm(len(data), generator=stream("quality", "digits"))
    num = min(NUM_REAL_DIGITS, len(data) // 2)
    return order[:num] if part == 0 else order[num : num + NUM_DIGITS]


def floor_of_stacked(data: ArrayData, classifier: Classifier, num: int) -> Figures:
    """Real triples in the place of generated ones: the best that the figures can say."""
    images, _, _ = triples(data, num, stream("quality", "floor"))
    figures = of_stacked(images, data, classifier)
    others = images_at(data, real_digits(data, 1))
    real = images_at(data, real_digits(data, 0))
    distance = frechet_distance(classifier.features(real), classifier.features(others))
    return {**figures, "digit_distance": distance}


# --- points --------------------------------------------------------------------------


def sampled_points(generator: nn.Module, num: int, seed: int) -> Tensor:
    """Points [num, 2] in raw units."""
    z = latents(num, z_dim_of(generator), seed)
    return generate(generator, z, batch_size=256).flatten(1)


def of_points(points: Tensor, mixture: Mixture) -> Figures:
    """Points [N, 2] as PacGAN's code judges them.

    A point is good within 3 deviations of the nearest centre; a mode is found if it has a good
    point; KL is that of the good points' histogram over the modes to the uniform one.
    """
    distances, nearest = torch.cdist(points.double(), mixture.centres.double()).min(dim=1)
    good = nearest[distances < 3 * mixture.deviation]
    num_modes, divergence = (0, float("inf"))
    if len(good):
        num_modes, divergence = modes_and_divergence(good, len(mixture.centres))
    return {"modes": num_modes, "good": len(good) / len(points), "kl": divergence}
