"""What each requested name computes from the two sides."""

from torch import Tensor

from limner.metrics.frechet import frechet_distance, frechet_from_moments, moments
from limner.metrics.inception_score import inception_score
from limner.metrics.kernel import kernel_distance
from limner.metrics.moments_file import Moments
from limner.metrics.neighbours import (
    class_accuracy,
    nearest_neighbour_score,
    precision_recall_density_coverage,
)
from limner.metrics.results import Comparison, Figure, Metric

# images a side: about 20 CPU-seconds for 64 features, 15 for 64 x 64 x 3 pixels
NUM_IN_FEATURES_MAX, NUM_IN_PIXELS_MAX = 10_000, 5_000


def _fd(sides: Comparison) -> dict[str, Figure]:
    return {"fd": Figure(frechet_distance(sides.fake, sides.real))}


def _fd_from_moments(rows: Tensor, real: Moments) -> dict[str, Figure]:
    return {"fd": Figure(frechet_from_moments(*moments(rows), real.mean, real.covariance))}


def _kd(sides: Comparison) -> dict[str, Figure]:
    return {"kd": Figure(*kernel_distance(sides.fake, sides.real, seed=sides.seed))}


def _is(sides: Comparison) -> dict[str, Figure]:
    return {"is": Figure(*inception_score(sides.fake))}


def _prdc(sides: Comparison) -> dict[str, Figure]:
    shares = precision_recall_density_coverage(sides.real, sides.fake)
    return {name: Figure(share) for name, share in shares._asdict().items()}


def _accuracy(sides: Comparison) -> dict[str, Figure]:
    assert sides.fake_labels is not None
    return {"accuracy": Figure(class_accuracy(sides.fake, sides.fake_labels))}


def _cas(sides: Comparison) -> dict[str, Figure]:
    assert sides.fake_labels is not None
    assert sides.real_labels is not None
    share = nearest_neighbour_score(sides.fake, sides.fake_labels, sides.real, sides.real_labels)
    return {"cas-1nn": Figure(share)}


fid = Metric(
    _fd,
    ("fd",),
    higher_is_better=False,
    named_by_features=True,
    from_moments=_fd_from_moments,
)
kid = Metric(_kd, ("kd",), higher_is_better=False, named_by_features=True)
is_ = Metric(_is, ("is",), higher_is_better=True, reads="probabilities", named_by_features=True)
prdc = Metric(
    _prdc,
    ("precision", "recall", "density", "coverage"),
    higher_is_better=True,
    num_max=NUM_IN_FEATURES_MAX,
    equal_numbers=True,
)
accuracy = Metric(
    _accuracy, ("accuracy",), higher_is_better=True, reads="logits", needs_labels=True
)
cas = Metric(
    _cas,
    ("cas-1nn",),
    higher_is_better=True,
    reads="pixels",
    needs_labels=True,
    num_max=NUM_IN_PIXELS_MAX,
)
