"""The real side of all metrics: which images, their rows, and the floors."""

import functools
import hashlib
import json
import os
import statistics
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from limner.core.errors import LimnerError
from limner.core.files import cache_directory, write_atomically
from limner.core.streams import stream
from limner.metrics.arrays import num_single_classes
from limner.metrics.features import Classifier, Extractor, classifier_of, make_extractor
from limner.metrics.features.base import (
    CPU,
    PIXELS_MAX,
    KnowsClasses,
    features_of,
    images_at,
    pixel_rows,
)
from limner.metrics.frechet import Gaussian, checked_rows
from limner.metrics.frechet import moments as moments_of
from limner.metrics.modes import classifier_of_modes
from limner.metrics.moments_file import Moments, features_id, read_moments
from limner.metrics.results import Comparison, Figure, Metric, Sums

if TYPE_CHECKING:
    from limner.metrics.arrays import ImageSet

STATISTICS_VERSION = 4  # rises when a cached feature or floor would come out differently
NUM_REAL_MAX = 50_000
# a metric of these reads the generated images alone
OF_CLASSIFIER = ("classes", "modes", "probabilities")
NUM_FLOOR_IMAGES = 20_000


class Side(NamedTuple):
    """Rows [N, D] and, where there are any, int64 labels [N].

    Of generated images summed up on the way there are no rows, but their mean and covariance, or
    other sums. `places` are those of the rows among all `num` images of the side.
    """

    rows: Tensor
    labels: Tensor | None
    gaussian: Gaussian | None = None
    sums: Sums | None = None
    places: Tensor | None = None
    num: int = 0

    def part(self, begin: int, end: int | None = None) -> "Side":
        """Rows `begin` to `end`."""
        return Side(self.rows[begin:end], None if self.labels is None else self.labels[begin:end])

    def shuffled(self, *keys: int | str) -> "Side":
        """All rows in an order that the keys alone decide."""
        order = torch.randperm(len(self.rows), generator=stream("metrics", "rows", *keys))
        return Side(self.rows[order], None if self.labels is None else self.labels[order])

    def halves(self, num: int, in_classes: bool = False) -> tuple["Side", "Side"]:
        """The first half, of which at most `num` rows, and the second.

        With `in_classes` each class is halved, and the `num` rows take the classes in turn, as
        generated images do: in a random half of many classes some would be missing.
        """
        half = len(self.rows) // 2
        if not in_classes or self.labels is None:
            return self.part(0, min(num, half)), self.part(half)
        order, counts = self.labels.argsort(stable=True), self.labels.bincount()
        ranks = torch.empty_like(order)  # of a row in its class
        ranks[order] = torch.arange(len(order)) - (counts.cumsum(0) - counts)[self.labels[order]]
        first = (ranks % 2 == 0).nonzero()[:, 0]
        first = first[ranks[first].argsort(stable=True)][:num]
        second = (ranks % 2 == 1).nonzero()[:, 0]
        return (
            Side(self.rows[first], self.labels[first]),
            Side(self.rows[second], self.labels[second]),
        )


class Reference:
    """Real images in a fixed order, with their features and the floors of the metrics.

    The reference is all real images, or 50,000 of them if there are more, in the order of a
    permutation that the seed alone decides. A floor sets one half of it (no more than the number of
    generated images) in the place of the generated images and the other half in the place of the
    real ones; of small data, where one split says little (a quarter up or down for the Frechet
    distance of 1,797 digits), it is the mean over up to 5 splits. Features and floors are kept in
    `cache_directory()/statistics`.
    """

    def __init__(
        self,
        data: "ImageSet",
        extractor: str | Extractor | None = None,
        seed: int = 0,
        held_out: "ImageSet | None" = None,
        moments: Moments | str | os.PathLike[str] | None = None,
        device: torch.device = CPU,
    ):
        """Choose the images.

        Args:
            data: what the classifier, if one is needed, is trained on.
            extractor: see `make_extractor`.
            seed: of the order.
            held_out: compare with these and not with `data`, which the generator has seen.
            moments: an .npz of mu and sigma (see `read_moments`) that takes the place of the real
                images where a metric needs no more than that: the Frechet distance. The floor then
                sets real images against the moments.
            device: where a pretrained extractor that is given by name runs.

        Raises:
            LimnerError: the held-out images do not fit the data; see `make_extractor` and
                `read_moments`.
        """
        self.data = data
        self.real = data if held_out is None else held_out
        if self.real.image_shape != data.image_shape or self.real.num_classes not in (
            0,
            data.num_classes,
        ):
            raise LimnerError(
                f"held-out images {self.real.image_shape} with {self.real.num_classes} classes do "
                f"not fit the data, {data.image_shape} with {data.num_classes}"
            )
        self.extractor = make_extractor(extractor, cast(Any, data), device)
        self.seed = seed
        if moments is not None and not isinstance(moments, Moments):
            moments = read_moments(moments)
        self.moments = moments
        self._check_features(moments)
        order = torch.randperm(len(self.real), generator=stream(seed, "metrics", "reference"))
        self.order = order[:NUM_REAL_MAX]

    def __len__(self) -> int:
        return len(self.order)

    @functools.cached_property
    def labels(self) -> Tensor | None:
        """int64 labels of the reference, in its order."""
        if num_single_classes(self.real) == 0:
            return None
        return torch.from_numpy(self.real.labels[self.order.numpy()])

    @functools.cached_property
    def ranks(self) -> Tensor:
        """Where each image of the reference, in its order, stands in the order of the data."""
        return self.order.argsort().argsort()

    @functools.cached_property
    def modes(self) -> Classifier:
        """The classifier that tells modes; see `classifier_of_modes`."""
        return classifier_of_modes(self.data)

    @functools.cached_property
    def gaussian(self) -> Gaussian:
        """Mean and covariance of the reference's features, from the cache if they are there."""
        path = self._cached("safetensors", "moments", self.extractor)
        kept = _read_tensors(path, "mean", "covariance")
        if kept is not None:
            return Gaussian(*kept)
        mean, covariance = moments_of(self.features)
        _keep(path, save({"mean": mean, "covariance": covariance}))
        return Gaussian(mean, covariance)

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The extractor if it knows the classes, else the classifier of the data."""
        if isinstance(self.extractor, Classifier):
            return self.extractor
        return classifier_of(self.data)

    @functools.cached_property
    def features(self) -> Tensor:
        """Features [N, D] of the reference, in its order, from the cache if they are there."""
        path = self._cached("safetensors", "features", self.extractor)
        kept = _read_tensors(path, "features")
        if kept is not None:
            return kept[0]
        features = features_of(self.extractor, self.real, self.order).contiguous()
        _keep(path, save({"features": features}))
        return features

    def used_by(self, metric: Metric) -> Extractor | None:
        """Whose rows a metric reads: None for pixels."""
        if metric.reads == "modes":
            return self.modes
        if metric.reads == "classes":
            return self.classifier
        if metric.reads == "probabilities":
            knows_classes = hasattr(self.extractor, "logits")
            return self.extractor if knows_classes else self.classifier
        return self.extractor if metric.reads in ("features", "paths") else None

    def rows_of(self, metric: Metric, images: Tensor) -> Tensor:
        """What a metric reads of images uint8 [N, C, H, W]."""
        if metric.reads == "images":
            return images
        if metric.reads == "pixels":
            return pixel_rows(images)
        if metric.reads == "features":
            return self.extractor.features(images)
        used = self.used_by(metric)
        assert isinstance(used, KnowsClasses), metric.reads
        return classified(used.logits(images), metric)

    def compare(self, metric: Metric, fake: Side) -> Mapping[str, Figure]:
        """A metric's figures for generated rows against the reference."""
        if fake.gaussian is not None:
            return self._compute_by_moments(metric, fake.gaussian)
        if fake.sums is not None:
            assert metric.from_sums is not None
            return metric.from_sums(fake.sums)
        if metric.reads in OF_CLASSIFIER or metric.alone:
            return self._compute(metric, fake, fake.part(0, 0))
        return self._compute(metric, fake, self._side(metric, len(fake.rows)))

    def floors(self, name: str, metric: Metric, num: int) -> Mapping[str, float]:
        """A metric's figures for real images against other real images, for `num` generated."""
        if metric.reads == "paths" or len(self) < 4:  # a half has to have two
            return {}
        if metric.reads == "classes":
            # the classifier knows the real images by heart: only its held-out part is honest
            return dict.fromkeys(metric.figures, self.classifier.held_out_accuracy)
        num = min(num, len(self) // 2)
        file = self.moments_for(metric)
        against = "" if file is None else f" {file.sha256}"
        path = self._cached("json", f"floor {name} {num}{against}", self.used_by(metric))
        kept = _read_figures(path)
        if kept is not None:
            return kept
        real = self._side(metric, 2 * num)
        num_splits = min(max(NUM_FLOOR_IMAGES // len(self), 1), metric.num_floor_splits)
        splits = [real.shuffled(self.seed, split) for split in range(num_splits)]
        in_classes = metric.needs_labels and metric.reads == "features"
        figures = [self._compute(metric, *split.halves(num, in_classes)) for split in splits]
        floors = {
            key: statistics.fmean(found[key].value for found in figures) for key in figures[0]
        }
        _keep(path, json.dumps(floors).encode())
        return floors

    def moments_for(self, metric: Metric) -> Moments | None:
        """The moments that a metric compares with; None where it compares with images."""
        return None if metric.from_moments is None else self.moments

    def _compute(self, metric: Metric, fake: Side, real: Side) -> Mapping[str, Figure]:
        if self.moments_for(metric) is not None:
            return self._compute_by_moments(metric, moments_of(fake.rows))
        num_fake = metric.num_used(len(fake.rows), len(real.rows))
        num_real = metric.num_used(len(real.rows), len(fake.rows))
        if num_fake < len(fake.rows):  # fakes often come class by class, so never the first ones
            fake = fake.shuffled(self.seed, "fakes").part(0, num_fake)
        if num_real < len(real.rows):
            real = real.part(0, num_real)
        sides = Comparison(
            fake.rows,
            fake.labels,
            real.rows,
            real.labels,
            self.seed,
            pixel_shape(self.data.image_shape),
            self.data.num_classes,
            fake.num,
            fake.places,
            real.places,
        )
        return metric.compute(sides)

    def _check_features(self, moments: Moments | None) -> None:
        own = features_id(self.extractor.name, self.extractor.weights_sha256)
        if moments is None or moments.features in (None, own):
            return
        name = moments.features.partition(" ")[0]
        weights = "other weights of " if name == self.extractor.name else ""
        raise LimnerError(
            f"{moments.path}: moments of features of {weights}'{name}', not of those asked for, "
            f"'{own[:60]}'; give --features that they belong to, or other moments"
        )

    def _compute_by_moments(self, metric: Metric, fake: Gaussian) -> Mapping[str, Figure]:
        assert metric.from_moments is not None
        file = self.moments_for(metric)
        if file is None:
            return metric.from_moments(fake, self.gaussian)
        if len(fake.mean) != len(file.mean):
            raise LimnerError(
                f"{file.path}: moments of {len(file.mean)} features, but '{self.extractor.name}' "
                f"has {len(fake.mean)}; they belong to another network"
            )
        return metric.from_moments(fake, file.gaussian)

    def _side(self, metric: Metric, num_images: int) -> Side:
        """All rows of the reference; no more than these of whole images, for the memory, and of
        what is read for floors alone, for the time, where one split does."""
        if metric.reads == "features":
            return Side(self.features, self.labels, places=self.ranks)
        if metric.reads in OF_CLASSIFIER:
            order = self.order if len(self) <= NUM_FLOOR_IMAGES else self.order[:num_images]
            rows = _Rows(functools.partial(self.rows_of, metric))
            labels = None if self.labels is None else self.labels[: len(order)]
            return Side(features_of(rows, self.real, order), labels)
        # twice the largest number, for the floor's two halves
        num = len(self) if metric.num_max is None else min(2 * metric.num_max, len(self))
        num = min(num, num_images) if metric.reads == "images" else num
        images = images_at(self.real, self.order[:num])
        pixels = images if metric.reads == "images" else pixel_rows(images)
        return Side(pixels, None if self.labels is None else self.labels[:num])

    def _cached(self, suffix: str, what: str, extractor: Extractor | None) -> Path | None:
        """The file of a statistic; None where the extractor's weights have no identity."""
        if extractor is not None and extractor.weights_sha256 is None:
            return None
        whose = None
        if extractor is not None:
            resize = getattr(extractor, "resize", None)
            whose = [extractor.name, extractor.weights_sha256, resize]
        identity = [STATISTICS_VERSION, self.real.sha256, self.seed, len(self), whose, what]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]
        return cache_directory() / "statistics" / f"{digest}.{suffix}"


class _Rows:
    """Any rows where features are asked for."""

    name = "rows"
    weights_sha256: str | None = None

    def __init__(self, rows: Callable[[Tensor], Tensor]):
        self.rows = rows

    def features(self, images: Tensor) -> Tensor:
        return self.rows(images)


def pixel_shape(image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(C, H, W) of the images that `pixel_rows` makes flat."""
    channels, height, width = image_shape
    if max(height, width) <= PIXELS_MAX:
        return image_shape
    return channels, min(height, PIXELS_MAX), min(width, PIXELS_MAX)


def classified(logits: Tensor, metric: Metric) -> Tensor:
    """What a metric reads of a classifier's logits [N, classes]: their largest, or all."""
    return logits if metric.reads == "probabilities" else checked_rows(logits, 1).argmax(dim=1)


def _read_tensors(path: Path | None, *names: str) -> list[Tensor] | None:
    """Tensors of a cached file; None where there is none that can be read."""
    if path is None or not path.exists():
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            return [file.get_tensor(name) for name in names]
    except (safetensors.SafetensorError, OSError) as error:
        _complain(path, error)
        return None


def _read_figures(path: Path | None) -> dict[str, float] | None:
    """Figures of a cached file by name; None where there is none that can be read."""
    if path is None or not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        return {str(name): float(value) for name, value in found.items()}
    except (ValueError, TypeError, AttributeError, OSError) as error:
        _complain(path, error)
        return None


def _keep(path: Path | None, content: bytes) -> None:
    """Cache a file; a cache that cannot be written costs time, and no scores."""
    if path is None:
        return
    try:
        write_atomically(path, content)
    except OSError as error:
        warnings.warn(f"{error.filename}: {error.strerror}; not cached", stacklevel=2)


def _complain(path: Path, error: Exception) -> None:
    line = " ".join(str(error).split())
    warnings.warn(f"{path}: broken statistics ({line}); computed again", stacklevel=3)
