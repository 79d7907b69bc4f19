"""Runs on small sets of pictures: their reals and their judge."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

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
from quality.reals import PictureReals, array_data, digits

NUM_JUDGED = 1000
SHOWN = 80  # pictures of a sheet


@dataclass(frozen=True)
class SmallSet:
    """Pictures for training and others held out, and whose features judge."""

    train: ArrayData
    held_out: ArrayData
    extractor: Extractor

    @cached_property
    def features(self) -> tuple[Tensor, Tensor]:
        """Of the pictures of the training, and of those held out."""
        whole = (images_at(part, torch.arange(len(part))) for part in (self.train, self.held_out))
        real, held_out = (self.extractor.features(images) for images in whole)
        return real, held_out


@cache
def photographs(resolution: int) -> SmallSet:
    """Judged by EfficientNet-lite0."""
    train, held_out = small_sets.photographs(resolution)
    return SmallSet(train, held_out, make_extractor("effnet-lite0", train))


@cache
def thumbnails() -> SmallSet:
    """Judged by EfficientNet-lite0."""
    train, held_out = small_sets.thumbnails()
    return SmallSet(train, held_out, make_extractor("effnet-lite0", train))


@cache
def few_digits() -> SmallSet:
    """Judged by a classifier that was trained on all digits, in the same frame."""
    train, held_out = small_sets.few_digits()
    every = digits()
    classes = array_data(small_sets.framed(every), every.labels)
    classifier = classifier_of(classes)  # pyright: ignore[reportArgumentType]
    return SmallSet(train, held_out, classifier)


def setting(of: Callable[[], SmallSet], config: RunConfig, idx: Idx | None) -> Setting:
    """Unlabelled pictures of one small set."""
    small = of()
    reals = PictureReals(small.train, config.batch_size, config.seed)
    return Setting((small.train.image_shape, 0), reals, partial(judge, small))


def judge(small: SmallSet, trainer: Trainer, seed: int, run: Path) -> Judged:
    """NUM_JUDGED samples, and the held-out pictures in their place, against the pictures of the
    training."""
    images = judging.sampled(both_weights(trainer)[0], NUM_JUDGED, seed)
    picture(run / "samples.png", images[:SHOWN])
    judged = figures(small, small.extractor.features(images))
    floor = figures(small, small.features[1])
    return Judged(judged, {}, floor, {"data_sha256": small.train.sha256})


def figures(small: SmallSet, rows: Tensor) -> Figures:
    """Features [n, d] against the training's.

    `nearness` is the median distance to the nearest picture of the training, over that of pictures
    that were held out: far below 1, samples are copies.
    """
    real, held_out = small.features
    manifold = precision_recall_density_coverage(real, rows)
    own, others = (float(nearest_rows(part, real, 1)[0].median()) for part in (rows, held_out))
    return {
        "frechet": frechet_distance(real, rows),
        "kernel_x1000": 1000 * kernel_distance(real, rows)[0],
        "precision": manifold.precision,
        "recall": manifold.recall,
        "nearness": own / others,
    }
