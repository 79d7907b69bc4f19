"""The real side of all metrics: which images, their rows, and the floors."""

import functools
import hashlib
import json
import os
import statistics
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from limner.core.errors import LimnerError
from limner.core.files import cache_directory, write_atomically
from limner.core.streams import stream
from limner.metrics.arrays import ImageSet, num_single_classes
from limner.metrics.base import Accumulator, Figure, Metric, Reads, Real, Side, fed
from limner.metrics.features import (
    Classifier,
    Extractor,
    check_extractor,
    classifier_of,
    make_extractor,
)
from limner.metrics.features.base import (
    CPU,
    KnowsClasses,
    images_at,
    made_small,
    rows_in_parts,
)
from limner.metrics.frechet import Gaussian, checked_rows
from limner.metrics.frechet import moments as moments_of
from limner.metrics.modes import classifier_of_modes
from limner.metrics.moments_file import Moments, features_id, read_moments

STATISTICS_VERSION = 4  # rises when a cached feature or floor would come out differently
NUM_REAL_MAX = 50_000
NUM_FLOOR_IMAGES = 20_000
Kept = TypeVar("Kept")


def halves(order: Tensor, num: int, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The first half of an order of rows, of which at most `num`, and the second.

    With labels of all rows each class is halved, and the `num` rows take the classes in turn, as
    generated images do: in a random half of many classes some would be missing.
    """
    if labels is None:
        half = len(order) // 2
        return order[: min(num, half)], order[half:]
    labels = labels[order]
    by_class, counts = labels.argsort(stable=True), labels.bincount()
    ranks = torch.empty_like(by_class)  # of a row in its class
    ranks[by_class] = torch.arange(len(order)) - (counts.cumsum(0) - counts)[labels[by_class]]
    first = (ranks % 2 == 0).nonzero()[:, 0]
    first = first[ranks[first].argsort(stable=True)][:num]
    return order[first], order[ranks % 2 == 1]


class Reference:
    """Real images in a fixed order, with their features and the floors of the metrics.

    The reference is all real images, or `most` of them if there are more, in the order of a
    permutation that the seed alone decides. A floor sets one half of it (no more than the number of
    generated images) in the place of the generated images and the other half in the place of the
    real ones; of small data, where one split says little (a quarter up or down for the Frechet
    distance of 1,797 digits), it is the mean over up to 5 splits. Features and floors are kept in
    `cache_directory()/statistics`.
    """

    def __init__(
        self,
        data: ImageSet,
        extractor: str | Extractor | None = None,
        seed: int = 0,
        held_out: ImageSet | None = None,
        moments: Moments | str | os.PathLike[str] | None = None,
        device: torch.device = CPU,
        most: int | None = NUM_REAL_MAX,
    ):
        """Choose the images.

        Args:
            data: what the classifier, if one is needed, is trained on.
            extractor, device: see `make_extractor`.
            most: real images, of more; None: all of them.
            held_out: compare with these and not with `data`, which the generator has seen.
            moments: see `read_moments`; they take the place of the real images where a metric needs
                no more: the Frechet distance. The floor then sets real images against them.

        Raises:
            LimnerError: the held-out images do not fit the data; see also the two functions.
        """
        self.data = data
        self.real = data if held_out is None else held_out
        fits = self.real.num_classes in (0, data.num_classes)
        if self.real.image_shape != data.image_shape or not fits:
            raise LimnerError(
                f"held-out images {self.real.image_shape} with {self.real.num_classes} classes do "
                f"not fit the data, {data.image_shape} with {data.num_classes}"
            )
        self._extractor: Extractor | LimnerError
        check_extractor(extractor)
        try:
            self._extractor = make_extractor(extractor, data, device)
        except LimnerError as error:  # for those who ask for it: pixels need none
            self._extractor = error
        self.seed = seed
        # (metric, generated images) -> what other processes found; see sharing.py
        self.known_floors: dict[tuple[str, int], Mapping[str, float]] = {}
        if moments is not None and not isinstance(moments, Moments):
            moments = read_moments(moments)
        self.moments = moments
        self._check_features(moments)
        order = torch.randperm(len(self.real), generator=stream(seed, "metrics", "reference"))
        self.order = order[:most]

    def __len__(self) -> int:
        return len(self.order)

    @property
    def extractor(self) -> Extractor:
        """Whose features are compared; raises LimnerError where it cannot be had."""
        if isinstance(self._extractor, LimnerError):
            raise self._extractor
        return self._extractor

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
        """See `classifier_of_modes`."""
        return classifier_of_modes(self.data)

    @functools.cached_property
    def gaussian(self) -> Gaussian:
        """Of `features`, from the cache if they are there."""
        path = self._cached("safetensors", "moments", self.extractor)
        kept = _kept(path, lambda found: _tensors(found, *Gaussian._fields))
        if kept is not None:
            return Gaussian(*kept)
        gaussian = moments_of(self.features)
        _keep(path, save(gaussian._asdict()))
        return gaussian

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The extractor if it knows the classes, else the classifier of the data."""
        if isinstance(self.extractor, Classifier):
            return self.extractor
        return classifier_of(self.data)

    @functools.cached_property
    def features(self) -> Tensor:
        """[N, D], in the reference's order, from the cache if they are there."""
        path = self._cached("safetensors", "features", self.extractor)
        kept = _kept(path, lambda found: _tensors(found, "features"))
        if kept is not None:
            return kept[0]
        features = rows_in_parts(self.extractor.features, self.real, self.order).contiguous()
        _keep(path, save({"features": features}))
        return features

    def has_features(self) -> bool:
        """Whether the features are there or in the cache; LimnerError without an extractor."""
        path = self._cached("safetensors", "features", self.extractor)
        return "features" in self.__dict__ or (path is not None and path.exists())

    def take_features(self, features: Tensor, keeps: bool) -> None:
        """Features that were computed elsewhere, perhaps to be kept in the cache."""
        self.__dict__["features"] = features
        if keeps:
            path = self._cached("safetensors", "features", self.extractor)
            _keep(path, save({"features": features}))

    def used_by(self, reads: Reads) -> Extractor | None:
        """Whose rows of a kind are read: None for pixels."""
        if reads in ("images", "pixels"):
            return None
        if reads == "modes":
            return self.modes
        has_logits = hasattr(self.extractor, "logits")
        if reads == "classes" or (reads == "logits" and not has_logits):
            return self.classifier
        return self.extractor

    def rows_of(self, reads: Reads) -> Callable[[Tensor], Tensor]:
        """How images uint8 [N, C, H, W] become rows of a kind; see `Metric`."""
        used = self.used_by(reads)
        if used is None:
            return made_small if reads == "pixels" else lambda images: images
        if reads == "features":
            return used.features
        assert isinstance(used, KnowsClasses), reads
        if reads == "logits":
            return used.logits
        return lambda images: checked_rows(used.logits(images), 1).argmax(dim=1)

    def fakes(self, metric: Metric, num: int, labels: Tensor | None) -> Side:
        """Of `num` generated images what a metric is told before these come."""
        # how many images a file's moments are of is not known
        num_real = num if self.moments_for(metric) is not None else len(self) or num
        return Side(num, num_real, self.seed, labels, self.data.num_classes)

    def compare(self, metric: Metric, fake: Accumulator, num: int) -> Mapping[str, Figure]:
        """A metric's figures for what it kept of `num` generated images."""
        most = metric.num_used(len(self), num)
        real = Real(
            *(most, num, self.seed, _at(self.labels, slice(most))),
            ranks=self.ranks[:most],
            rows=lambda: self._rows(metric.reads, most),
            gaussian=lambda _: self.gaussian,
        )
        return self._compare(metric, fake, real)

    def floors(self, name: str, metric: Metric, num: int) -> Mapping[str, float]:
        """A metric's figures for real images against other real images, for `num` generated; none
        where there are no real ones.

        Raises:
            LimnerError: there are too few.
        """
        if len(self) == 0:
            return {}
        if (name, num) in self.known_floors:
            return self.known_floors[name, num]
        known = metric.known_floors(self)
        if known is not None:
            return known
        if len(self) < 4:  # a half has to have two
            raise self._too_few(metric)
        num = min(num, len(self) // 2)
        file = self.moments_for(metric)
        against = "" if file is None else f" {file.sha256}"
        path = None  # a user's own formula may have changed since
        if type(metric).__module__.partition(".")[0] == "limner":
            path = self._cached("json", f"floor {name} {num}{against}", self.used_by(metric.reads))
        kept = _kept(path, _figures)
        if kept is not None:
            return kept
        rows = self._rows(metric.reads, self._num_for_floors(metric, num))
        num_splits = min(max(NUM_FLOOR_IMAGES // len(self), 1), metric.num_floor_splits)
        figures = [self._floor(metric, rows, num, split) for split in range(num_splits)]
        floors = {
            key: statistics.fmean(found[key].value for found in figures) for key in figures[0]
        }
        _keep(path, json.dumps(floors).encode())
        return floors

    def _floor(self, metric: Metric, rows: Tensor, num: int, split: int) -> Mapping[str, Figure]:
        """The figures for `num` of one half of the rows against the other half."""
        order = torch.randperm(len(rows), generator=stream("metrics", "rows", self.seed, split))
        in_classes = metric.needs_labels and metric.reads == "features"
        first, second = halves(order, num, self.labels if in_classes else None)
        beside = len(first) if self.moments_for(metric) is not None else len(second)
        labels = _at(self.labels, first)
        fakes = Side(len(first), beside, self.seed, labels, self.data.num_classes)
        second = second[: metric.num_used(len(second), len(first))]
        real = Real(
            *(len(second), len(first), self.seed, _at(self.labels, second), self.data.num_classes),
            rows=lambda: rows[second],
            gaussian=lambda _: moments_of(rows[second]),
        )
        alone = metric.alone or self.moments_for(metric) is not None
        if metric.lacks(fakes, None if alone else real) is not None:
            raise self._too_few(metric, " of each class" if in_classes else "")
        fake = fed(metric.begin(fakes), rows[first])
        return self._compare(metric, fake, real)

    def _too_few(self, metric: Metric, of: str = "") -> LimnerError:
        num = 2 * max(metric.num_min, 2)
        return LimnerError(
            f"it is of halves of the real images, needs {num}{of}, and there are {len(self)}"
        )

    def _compare(self, metric: Metric, fake: Accumulator, real: Real) -> Mapping[str, Figure]:
        if metric.alone:
            return metric.compare(fake, None)
        against = real if self.moments_for(metric) is None else self._of_file()
        return metric.compare(fake, metric.of_real(against))

    def moments_for(self, metric: Metric) -> Moments | None:
        """The moments that a metric compares with; None where it compares with images."""
        return self.moments if metric.takes_moments else None

    def _of_file(self) -> Real:
        file = self.moments
        assert file is not None

        def gaussian(width: int) -> Gaussian:
            if width != len(file.mean):
                raise LimnerError(
                    f"{file.path}: moments of {len(file.mean)} features, but "
                    f"'{self.extractor.name}' has {width}; they belong to another network"
                )
            return file.gaussian

        return Real(0, 0, rows=lambda: torch.zeros(0), gaussian=gaussian, has_rows=False)

    def _check_features(self, moments: Moments | None) -> None:
        if moments is None or moments.features is None:
            return
        own = features_id(self.extractor.name, self.extractor.weights_sha256)
        if moments.features == own:
            return
        name = moments.features.partition(" ")[0]
        weights = "other weights of " if name == self.extractor.name else ""
        raise LimnerError(
            f"{moments.path}: moments of features of {weights}'{name}', not of those asked for, "
            f"'{own[:60]}'; give --features that they belong to, or other moments"
        )

    def _num_for_floors(self, metric: Metric, num: int) -> int:
        """Real images whose rows floors are made of: no more whole ones than needed, for the
        memory, and of large data no more that a network has to read, for the time."""
        if metric.reads == "features":
            return len(self)
        if self.used_by(metric.reads) is not None:
            return len(self) if len(self) <= NUM_FLOOR_IMAGES else 2 * num
        most = len(self) if metric.num_max is None else min(2 * metric.num_max, len(self))
        return min(most, 2 * num) if metric.reads == "images" else most

    def _rows(self, reads: Reads, num: int) -> Tensor:
        """Rows of the first real images, in the order of the reference."""
        if reads == "features":
            return self.features[:num]
        order, make = self.order[:num], self.rows_of(reads)
        if self.used_by(reads) is None:
            return make(images_at(self.real, order))
        return rows_in_parts(make, self.real, order)

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


def _at(labels: Tensor | None, places: Tensor | slice) -> Tensor | None:
    return None if labels is None else labels[places]


def _kept(path: Path | None, read: Callable[[Path], Kept]) -> Kept | None:
    """What is read from a cached file; None where there is none that can be read."""
    if path is None or not path.exists():
        return None
    try:
        return read(path)
    except (safetensors.SafetensorError, ValueError, TypeError, AttributeError, OSError) as error:
        line = " ".join(str(error).split())
        warnings.warn(f"{path}: broken statistics ({line}); computed again", stacklevel=2)
        return None


def _tensors(path: Path, *names: str) -> list[Tensor]:
    with safetensors.safe_open(path, "pt") as file:
        return [file.get_tensor(name) for name in names]


def _figures(path: Path) -> dict[str, float]:
    return {str(name): float(value) for name, value in json.loads(path.read_text()).items()}


def _keep(path: Path | None, content: bytes) -> None:
    """Cache a file; a cache that cannot be written costs time, and no scores."""
    if path is None:
        return
    try:
        write_atomically(path, content)
    except OSError as error:
        warnings.warn(f"{error.filename}: {error.strerror}; not cached", stacklevel=2)
