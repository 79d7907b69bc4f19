"""Runs on small sets of pictures: their reals and their judge."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from limner.data.order import indices
from limner.engine import RunConfig
from limner.engine.trainer import Trainer
from limner.metrics import (
    frechet_distance,
    kernel_distance,
    make_extractor,
    nearest_rows,
    precision_recall_density_coverage,
)
from limner.metrics.arrays import ArrayData
from limner.metrics.features import Extractor, classifier_of
from limner.metrics.features.base import images_at
from quality import judging, small_sets
from quality.bench import Idx, Judged, Setting, both_weights, picture
from quality.judging import Figures
from quality.reals import Batch, array_data, digits

NUM_JUDGED = 1500
SHOWN = 80  # pictures of a sheet


@dataclass(frozen=True)
class PictureReals:
    """Pictures in limner's own order of epochs."""

    data: ArrayData
    batch_size: int
    seed: int

    def __call__(self, nimg: int) -> Batch:
        index = indices(self.seed, nimg, self.batch_size, len(self.data))
        images = torch.from_numpy(self.data.images[index]).permute(0, 3, 1, 2)
        places = torch.from_numpy(np.asarray(index))
        return Batch(images, torch.zeros_like(places), places)


@dataclass(frozen=True)
class SmallSet:
    """Pictures for training and others held out, and whose features judge."""

    train: ArrayData
    held_out: ArrayData
    extractor: Extractor


@cache
def photographs(resolution: int) -> SmallSet:
    """Judged by EfficientNet-lite0."""
    train, held_out = small_sets.photographs(resolution)
    return SmallSet(train, held_out, make_extractor("effnet-lite0", train))


@cache
def few_digits() -> SmallSet:
    """Judged by a classifier that was trained on all digits, in the same frame."""
    train, held_out = small_sets.few_digits()
    every = digits()
    framed = array_data(np.pad(every.images, ((0, 0), (2, 2), (2, 2), (0, 0))), every.labels)
    classifier = classifier_of(framed)  # pyright: ignore[reportArgumentType]
    return SmallSet(train, held_out, classifier)


def setting(of: Callable[[], SmallSet], config: RunConfig, idx: Idx | None) -> Setting:
    """Unlabelled pictures of one small set."""
    small = of()
    reals = PictureReals(small.train, config.batch_size, config.seed)
    return Setting((small.train.image_shape, 0), reals, partial(judge, small))


def judge(small: SmallSet, trainer: Trainer, seed: int, run: Path) -> Judged:
    """NUM_JUDGED samples of the sampled and of the raw weights, and the held-out pictures in their
    place, against the pictures of the training."""
    of_both = []
    for generator in both_weights(trainer):
        images = judging.sampled(generator, NUM_JUDGED, seed)
        if not of_both:
            picture(run / "samples.png", images[:SHOWN])
        of_both.append(figures(small, images))
    held_out = images_at(small.held_out, torch.arange(len(small.held_out)))
    return Judged(
        of_both[0], of_both[1], figures(small, held_out), {"data_sha256": small.train.sha256}
    )


def figures(small: SmallSet, images: torch.Tensor) -> Figures:
    """uint8 images against the training's.

    `nearness` is the median distance to the nearest picture of the training, over that of pictures
    that were held out: far below 1, samples are copies.
    """
    real = small.extractor.features(images_at(small.train, torch.arange(len(small.train))))
    others = images_at(small.held_out, torch.arange(len(small.held_out)))
    fake, held_out = small.extractor.features(images), small.extractor.features(others)
    manifold = precision_recall_density_coverage(real, fake)
    own, reference = (float(nearest_rows(rows, real, 1)[0].median()) for rows in (fake, held_out))
    return {
        "frechet": frechet_distance(real, fake),
        "kernel_x1000": 1000 * kernel_distance(real, fake)[0],
        "precision": manifold.precision,
        "recall": manifold.recall,
        "nearness": own / reference,
    }
