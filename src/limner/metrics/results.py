"""What an evaluation returns, and what a metric is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from limner.core.config import Config
from limner.metrics.frechet import Gaussian

Reads = Literal["features", "classes", "modes", "probabilities", "pixels", "images", "paths"]


class Result(Config, frozen=True, kw_only=True):
    """One figure, with what is needed to know which figure it is.

    Attributes:
        metric: the family that was asked for: "fid", "prdc".
        name: what it is: "fd-classifier" (never "fid" without Inception's weights), "recall".
        std: over subsets or splits, where the metric has any.
        extractor: whose features or logits; "pixels" where none were needed.
        num: generated images that it is of: what there were, or less where the metric takes less.
        floor: the figure for real images against other real images; None where there is none.
        seed: of the choice of real images and of subsets.
        num_real: real images that they were compared with, likewise; 0 where there were none.
        resize: how images were brought to the network's size, None where they were not.
        data_sha256: of the real images, or of the moments in their place.
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


class Figure(NamedTuple):
    """A value and, where there is one, its standard deviation."""

    value: float
    std: float | None = None


@runtime_checkable
class Sums(Protocol):
    """What rows leave behind that need not be kept; see `limner.metrics.streams.read`."""

    def add(self, rows: Tensor, begin: int) -> None:
        """The rows of the images `begin` to begin + n."""
        ...

    def share(self) -> None:
        """Take in those of the other processes, which do the same."""
        ...


@dataclass(frozen=True)
class Comparison:
    """The two sides of a metric: rows [N, D] of what it reads, and int64 labels [N].

    `real` has no rows where the metric looks at the generated images only.

    Attributes:
        image_shape: (C, H, W) of pixels, whose rows are flat.
        num_classes: of the data.
        num_fake, fake_places: of how many generated images which the rows are; no places for all,
            in their order.
        real_places: where the real rows stand among each other in their data set; None where that
            does not matter.
    """

    fake: Tensor
    fake_labels: Tensor | None
    real: Tensor
    real_labels: Tensor | None
    seed: int
    image_shape: tuple[int, int, int] = (1, 1, 1)
    num_classes: int = 0
    num_fake: int = 0
    fake_places: Tensor | None = None
    real_places: Tensor | None = None


@dataclass(frozen=True)
class Metric:
    """An entry of METRICS.

    Attributes:
        compute: from both sides to the figures by name.
        figures: these names; there may be more, one for each level or so.
        higher_is_better: for all of its figures.
        reads: which rows it is given: "features"; "classes", "modes" (int64 [N], what the data's
            classifier takes an image for; of stacked data, the channels' together) or
            "probabilities" (the extractor's logits, or the data's classifier's where it has none),
            of the generated images only; "pixels" (0..255, large images made smaller); "images"
            (uint8 [N, C, H, W] as they are); "paths" (two lengths, full and end, of ways between
            latents).
        needs_labels: of generated and real images.
        named_by_features: the result's name ends in the extractor's, for the figure belongs to it.
        num_max: more images than these are not looked at on either side, as the cost is quadratic.
        equal_numbers: the larger side is cut to the smaller, as the figure depends on their ratio.
        alone: it looks at the generated images only; its floor is that of the real ones.
        num_floor_splits: the floor is the mean over at most so many splits of small data.
        num_usual: generated images where no number is asked for.
        num_published: images a side of the published figures, where fewer give another value.
        advice: what to do with fewer.
        side_min: shorter images than these pixels are refused.
        from_moments: the figures of generated against real moments, where these are enough.
        sums: from the number of generated images to sums of their rows, where these are enough;
            of "probabilities" they are given the probabilities. With `from_sums`.
        from_sums: from them to the figures.
        places: which rows of (number of generated images, of real ones, seed) it looks at, where it
            is not all, nor `num_max` of them.
    """

    compute: Callable[[Comparison], Mapping[str, Figure]]
    figures: tuple[str, ...]
    higher_is_better: bool
    reads: Reads = "features"
    needs_labels: bool = False
    named_by_features: bool = False
    num_max: int | None = None
    equal_numbers: bool = False
    alone: bool = False
    num_floor_splits: int = 5
    num_usual: int = 10_000
    num_published: int | None = None
    advice: str = "compare equal numbers only"
    side_min: int = 1
    from_moments: Callable[[Gaussian, Gaussian], Mapping[str, Figure]] | None = None
    sums: Callable[[int], Sums] | None = None
    from_sums: Callable[[Any], Mapping[str, Figure]] | None = None
    places: Callable[[int, int, int], Tensor] | None = None

    def num_used(self, num: int, num_other: int) -> int:
        """How many images of a side it looks at, of `num` there and `num_other` on the other."""
        most = num if self.num_max is None else min(num, self.num_max)
        return min(most, num_other) if self.equal_numbers else most
