"""What a metric is, what it keeps of images, and what an evaluation returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from limner.core import distributed
from limner.core.config import Config
from limner.core.streams import stream

Reads = Literal["features", "logits", "classes", "modes", "pixels", "images", "generator"]


# Why images may lie nearer to the real ones than other real ones do.
NEARER = (
    "the floor is of fewer images, of halves of the real ones; or these are the real ones, or "
    "copies of them, which --neighbours shows"
)


class Result(Config, frozen=True, kw_only=True):
    """One figure, with what is needed to know which figure it is.

    Attributes:
        metric: what was asked for: "fid", "prdc".
        name: what it is: "fd-classifier" (never "fid" without Inception's weights), "recall".
        std: over subsets or splits, where the metric has any.
        extractor: whose features or logits; "pixels" where none were needed.
        num: generated images that it is of: what there were, or less where the metric takes less.
        floor: the figure for real images against other real images; None where there is none.
        seed: of the choice of real images and of subsets.
        num_real: real images that they were compared with, likewise; 0 where there were none.
        resize: how images were brought to the network's size, None where they were not.
        data_sha256: of the real images, or of the moments in their place.
        higher_is_better: the figure's direction.
    """

    metric: str
    name: str
    value: float
    std: float | None
    extractor: str
    weights_sha256: str | None
    num: int
    floor: float | None
    seed: int
    num_real: int
    resize: str | None
    data_sha256: str
    higher_is_better: bool


class Figure(NamedTuple):
    """A value and, where there is one, its standard deviation."""

    value: float
    std: float | None = None


@dataclass(frozen=True)
class Side:
    """What is known of a side, generated or real, before its rows come.

    Attributes:
        num, num_other: images of this side and of the other, 0 where there is none.
        seed: of whatever a metric draws.
        labels: int64 [num].
        num_classes: of the data.
        is_real: whether it stands in the place of the real images.
        ranks: of real images, where each stands in the order of the data; None where that does not
            matter.
    """

    num: int
    num_other: int
    seed: int = 0
    labels: Tensor | None = None
    num_classes: int = 0
    is_real: bool = False
    ranks: Tensor | None = None


class Gaussian(NamedTuple):
    """What the Frechet distance looks at: a mean [D] and a covariance [D, D], float64."""

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True, kw_only=True)
class Real(Side):
    """The real side, whose rows and moments are read when they are asked for.

    Attributes:
        rows: [num, ...] of what the metric reads.
        gaussian: mean and covariance of features of this width: of the rows, or of a file in their
            place.
        has_rows: False where there is nothing but the file.
    """

    is_real: bool = True
    rows: Callable[[], Tensor]
    gaussian: Callable[[int], Gaussian]
    has_rows: bool = True


@runtime_checkable
class Accumulator(Protocol):
    """What a metric keeps of the rows of a side, which come part by part."""

    @property
    def places(self) -> Tensor | None:
        """int64; the images that it is shown, None for all."""
        ...

    def add(self, rows: Tensor, places: Tensor) -> None:
        """Rows [n, ...] of the images at int64 places [n], each once; n is 0 where a process has
        none, which then learns what rows look like."""
        ...

    def share(self) -> None:
        """Take in what the other processes have, which do the same."""
        ...


class Rows:
    """The accumulator that keeps rows: of all images in their order, or of those at `places`."""

    def __init__(self, side: Side, places: Tensor | None = None):
        self.side, self.places = side, places
        self.rows = torch.zeros(0)
        self._target = torch.arange(side.num)
        if places is not None:
            self._target = torch.full((side.num,), -1)
            self._target[places] = torch.arange(len(places))

    def add(self, rows: Tensor, places: Tensor) -> None:
        if self.places is None and len(rows) == self.side.num:
            self.rows = rows
            return
        if not len(self.rows):
            num = len(self._target) if self.places is None else len(self.places)
            self.rows = torch.zeros(num, *rows.shape[1:], dtype=rows.dtype)
        self.rows[self.rows_at(places)] = rows

    def share(self) -> None:
        self.rows = distributed.summed(self.rows)

    def rows_at(self, places: Tensor) -> Tensor:
        """Where the rows of these images lie in `rows`; all must be there."""
        found = self._target[places]
        assert bool((found >= 0).all()), "a row was not kept"
        return found

    @property
    def labels(self) -> Tensor:
        """int64 labels of `rows`, for a metric that needs them."""
        assert self.side.labels is not None
        return self.side.labels if self.places is None else self.side.labels[self.places]


class Fixed(NamedTuple):
    """What a protocol of published figures says of an evaluation; its reals are all that there are.

    Attributes:
        num: generated images, none of them truncated.
        features: the extractor.
    """

    num: int
    features: str


class Metric:
    """A score: what it reads, what it keeps of both sides, and the figures from these.

    It has the facts and `compare`, and `begin` where all rows need not be kept. Both sides go the
    same way, and so do the two halves of the real images that make the floor.

    Attributes:
        figures: their names; there may be more, one for each level or so.
        higher_is_better: for all of its figures.
        reads: which rows it is given: "features"; "logits" (the extractor's, or those of the data's
            classifier where it has none); "classes", "modes" (int64 [N], what the data's
            classifier takes an image for; of stacked data, the channels' together); "images" (uint8
            [N, C, H, W] as they are), "pixels" (the same, large ones made smaller); "generator"
            (those that `of_generator` makes with the images' generator).
        needs_labels: of generated and real images.
        alone: it looks at the generated images only; its floor is that of the real ones.
        named_by_features: the result's name ends in the extractor's, for the figure belongs to it.
        inception_name: what its figure is called with the weights that FID is defined with.
        num_max: more images than these are not looked at on either side, as the cost is quadratic.
        equal_numbers: the larger side is cut to the smaller, as the figure depends on their ratio.
        takes_moments: mean and covariance of real features are enough, see `Real`.
        num_floor_splits: the floor is the mean over at most so many splits of small data.
        num_usual: generated images where no number is asked for.
        num_published: images a side of the published figures, where fewer give another value.
        advice: what to do with fewer.
        side_min: of images with shorter sides, in pixels, it cannot be had.
        num_min: nor of fewer images a side.
        under_floor: what a figure that is better than its floor may mean; None where it means well.
        fixed: what a protocol leaves no choice of; None for other metrics.
        num_real_max: real images that are looked at, of more; None: all.
    """

    figures: ClassVar[tuple[str, ...]]
    higher_is_better: ClassVar[bool]
    reads: ClassVar[Reads] = "features"
    needs_labels: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    named_by_features: ClassVar[bool] = False
    inception_name: ClassVar[str | None] = None
    num_max: ClassVar[int | None] = None
    equal_numbers: ClassVar[bool] = False
    takes_moments: ClassVar[bool] = False
    num_floor_splits: ClassVar[int] = 5
    num_usual: ClassVar[int] = 10_000
    num_published: ClassVar[int | None] = None
    advice: ClassVar[str] = "compare equal numbers only"
    side_min: ClassVar[int] = 1
    num_min: ClassVar[int] = 1
    under_floor: ClassVar[str | None] = None
    fixed: ClassVar[Fixed | None] = None
    num_real_max: ClassVar[int | None] = 50_000

    @property
    def needs_classes(self) -> bool:
        """Whether real images without several classes have no such score."""
        return self.needs_labels or self.reads == "modes"

    def compare(self, fake: Any, real: Any) -> Mapping[str, Figure]:
        """The figures by name, from what `begin` and `of_real` began; `real` is None for a metric
        that looks at the generated images `alone`."""
        raise NotImplementedError

    def begin(self, side: Side) -> Accumulator:
        """What is kept of a side; here the rows that the metric looks at."""
        num = self.num_used(side.num, side.num_other)
        if side.is_real or num == side.num:
            return Rows(side)
        # generated images often come class by class, so never the first ones
        draws = stream("metrics", "rows", side.seed, "fakes")
        return Rows(side, torch.randperm(side.num, generator=draws)[:num])

    def of_real(self, real: Real) -> Any:
        """What `compare` is given of the real side, of which there are no more than `num_used`."""
        return fed(self.begin(real), real.rows())

    def lacks(self, fake: Side, real: Side | None) -> str | None:
        """What is missing for a figure, as "10 generated images, and there are 6"; None: nothing.
        `real` is None for a metric that looks at the generated images alone."""
        for name, side in (("generated", fake), ("real", real)):
            if side is not None and side.num < self.num_min:
                return f"{self.num_min} {name} images, and there are {side.num}"
        return None

    def of_generator(self, images: Any, reference: Any, num: int) -> Tensor:
        """Rows of an `ImageStream`'s own generator, for "generator"; `reference` is a Reference."""
        raise NotImplementedError

    def check_generator(self, images: Any, reference: Any) -> None:
        """Raises LimnerError where these cannot be had, before anything is made."""

    def known_floors(self, reference: Any) -> Mapping[str, float] | None:
        """Floors that are no halves of the real images against each other, from their `Reference`;
        None where they are."""
        return None

    def num_used(self, num: int, num_other: int) -> int:
        """How many images of a side it looks at, of `num` there and `num_other` on the other."""
        most = num if self.num_max is None else min(num, self.num_max)
        return min(most, num_other) if self.equal_numbers else most


def fed(accumulator: Any, rows: Tensor) -> Any:
    """An accumulator that was shown its share of a side's rows [num, ...] at once."""
    places = accumulator.places
    if places is None:
        accumulator.add(rows, torch.arange(len(rows)))
    else:
        accumulator.add(rows[places], places)
    return accumulator
