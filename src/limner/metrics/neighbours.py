"""Scores by nearest neighbours and by labels."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from limner.core.errors import LimnerError
from limner.metrics.base import Figure, Metric, Rows
from limner.metrics.frechet import checked

ROWS_PER_BLOCK = 1024
NUM_NEIGHBOURS = 3
# images a side: about 20 CPU-seconds for 64 features, 15 for 64 x 64 x 3 pixels
NUM_IN_FEATURES_MAX, NUM_IN_PIXELS_MAX = 10_000, 5_000


class Manifold(NamedTuple):
    """Shares in 0..1, except density, which may pass 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(
    real: Float[Tensor, "n d"], fake: Float[Tensor, "m d"], k: int = NUM_NEIGHBOURS
) -> Manifold:
    """How the balls up to the k-th neighbour of one set hold the other.

    Precision and recall: Kynkaanniemi et al. 2019, equation 2. Density and coverage: Naeem et al.
    2020, equations 3 and 5. Balls are closed and a point is not its own neighbour.

    Distances are Euclidean, in float64, held for `ROWS_PER_BLOCK` rows at a time.

    Raises:
        LimnerError: k neighbours do not exist, or see `checked`.
    """
    if k < 1:
        raise LimnerError(f"k is {k}; the neighbour's number begins at 1")
    real, fake = checked(real, k + 1), checked(fake, k + 1)
    real_radii, fake_radii = _radii(real, k), _radii(fake, k)
    nearest_fake = torch.empty(len(real), dtype=torch.float64)
    num_balls_of_fake = torch.zeros(len(fake), dtype=torch.int64)
    recalled = torch.zeros(len(real), dtype=torch.bool)
    for start in range(0, len(real), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        distances = euclidean(real[rows], fake)
        num_balls_of_fake += (distances <= real_radii[rows, None]).sum(dim=0)
        recalled[rows] = (distances <= fake_radii[None, :]).any(dim=1)
        nearest_fake[rows] = distances.amin(dim=1)
    return Manifold(
        precision=_share(num_balls_of_fake > 0),
        recall=_share(recalled),
        density=float(num_balls_of_fake.sum()) / (k * len(fake)),
        coverage=_share(nearest_fake <= real_radii),
    )


def nearest_neighbour_score(
    train: Real[Tensor, " n *image"],
    train_labels: Int[Tensor, " n"],
    test: Real[Tensor, " m *image"],
    test_labels: Int[Tensor, " m"],
) -> float:
    """The share of test rows whose nearest training row has the same label.

    With fakes and their intended labels as training set and real images as test set this is the
    classification accuracy score (Ravuri and Vinyals 2019) with one neighbour in place of a
    ResNet: it falls with wrong classes, with poor images and with missing variety. Both sides must
    be on one scale, which does not matter otherwise.

    Raises:
        LimnerError: rows and labels differ in number or width, or one side is empty.
    """
    if len(train) != len(train_labels) or len(test) != len(test_labels):
        raise LimnerError("nearest neighbours: as many labels as images are needed")
    if not len(train) or not len(test) or train[0].numel() != test[0].numel():
        raise LimnerError(
            f"nearest neighbours between {tuple(train.shape)} and {tuple(test.shape)}: both sides "
            "need images of one size"
        )
    # argmin_x |x - t|^2 = argmin_x |x|^2 - 2 x.t; centring keeps float32 accurate
    train = train.flatten(1).float()
    centre = train.mean(dim=0)
    train = train - centre
    squares = train.square().sum(dim=1)
    hits = 0
    for start in range(0, len(test), ROWS_PER_BLOCK):
        rows = slice(start, start + ROWS_PER_BLOCK)
        some = test[rows].flatten(1).float() - centre
        nearest = (squares[None, :] - 2.0 * (some @ train.T)).argmin(dim=1)
        hits += int((train_labels[nearest] == test_labels[rows]).sum())
    return hits / len(test)


def class_accuracy(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> float:
    """The share of rows whose largest logit stands at the label."""
    if len(logits) != len(labels):
        raise LimnerError(f"{len(logits)} rows of logits but {len(labels)} labels")
    return _share(checked(logits, 1).argmax(dim=1) == labels.cpu())


def _share(flags: Tensor) -> float:
    return int(flags.sum()) / len(flags)


def _radii(rows: Tensor, k: int) -> Tensor:
    blocks = []
    for start in range(0, len(rows), ROWS_PER_BLOCK):
        distances = euclidean(rows[start : start + ROWS_PER_BLOCK], rows)
        # the smallest is the point itself (or a duplicate at the same distance 0)
        blocks.append(distances.topk(k + 1, dim=1, largest=False).values[:, -1])
    return torch.cat(blocks)


def euclidean(x: Tensor, y: Tensor) -> Tensor:
    # by differences, not by products: duplicates must be at distance 0 exactly, for radii can be 0
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


class Prdc(Metric):
    """See `precision_recall_density_coverage`."""

    figures = Manifold._fields
    higher_is_better = True
    num_max = NUM_IN_FEATURES_MAX
    num_min = NUM_NEIGHBOURS + 1
    equal_numbers = True

    def compare(self, fake: Rows, real: Rows) -> dict[str, Figure]:
        shares = precision_recall_density_coverage(real.rows, fake.rows)._asdict()
        return {name: Figure(shares[name]) for name in self.figures}


class Cas(Metric):
    """See `nearest_neighbour_score`."""

    figures = ("cas-1nn",)
    higher_is_better = True
    reads = "pixels"
    needs_labels = True
    num_max = NUM_IN_PIXELS_MAX

    def compare(self, fake: Rows, real: Rows) -> dict[str, Figure]:
        share = nearest_neighbour_score(fake.rows, fake.labels, real.rows, real.labels)
        return {"cas-1nn": Figure(share)}
