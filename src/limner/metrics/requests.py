"""What each requested name computes from the two sides."""

import torch

from limner.core.streams import stream
from limner.metrics import kernel
from limner.metrics.classes import classification_accuracy, intra_class_distance
from limner.metrics.frechet import Gaussian, frechet_distance, frechet_from_moments
from limner.metrics.inception_score import SplitSums, inception_score_of_logits
from limner.metrics.kernel import Rows, kernel_distance, rows_of_subsets
from limner.metrics.modes import modes_and_divergence
from limner.metrics.ms_ssim import mean_ms_ssim
from limner.metrics.neighbours import (
    nearest_neighbour_score,
    precision_recall_density_coverage,
)
from limner.metrics.path_length import mean_path_length
from limner.metrics.results import Comparison, Figure, Metric
from limner.metrics.sliced_wasserstein import SMALLEST_SIDE, sliced_wasserstein

# images a side: about 20 CPU-seconds for 64 features, 15 for 64 x 64 x 3 pixels
NUM_IN_FEATURES_MAX, NUM_IN_PIXELS_MAX = 10_000, 5_000
NUM_IN_TRAINING_MAX, NUM_OF_PATHS_MAX = 20_000, 10_000
NUM_IN_DISTANCE, NUM_IN_SIMILARITY = 16_384, 20_000  # those of progressive_growing_of_gans


def _fd(sides: Comparison) -> dict[str, Figure]:
    return {"fd": Figure(frechet_distance(sides.fake, sides.real))}


def _fd_from_moments(fake: Gaussian, real: Gaussian) -> dict[str, Figure]:
    return {"fd": Figure(frechet_from_moments(*fake, *real))}


def _intra_fd(sides: Comparison) -> dict[str, Figure]:
    assert sides.fake_labels is not None
    assert sides.real_labels is not None
    distance = intra_class_distance(sides.fake, sides.fake_labels, sides.real, sides.real_labels)
    return {"intra-fd": Figure(*distance)}


def _kd(sides: Comparison) -> dict[str, Figure]:
    fake, real = sides.fake, sides.real
    if sides.fake_places is not None:
        fake = Rows(fake, sides.fake_places, sides.num_fake)
    if sides.real_places is not None:
        real = Rows(real, sides.real_places, len(real))
    numbers = kernel.NUM_SUBSETS, kernel.SUBSET_SIZE
    return {"kd": Figure(*kernel_distance(fake, real, *numbers, seed=sides.seed))}


def _is(sides: Comparison) -> dict[str, Figure]:
    return {"is": Figure(*inception_score_of_logits(sides.fake))}


def _is_from_sums(sums: SplitSums) -> dict[str, Figure]:
    return {"is": Figure(*sums.score())}


def _prdc(sides: Comparison) -> dict[str, Figure]:
    shares = precision_recall_density_coverage(sides.real, sides.fake)
    return {name: Figure(share) for name, share in shares._asdict().items()}


def _accuracy(sides: Comparison) -> dict[str, Figure]:
    assert sides.fake_labels is not None
    return {"accuracy": Figure(int((sides.fake == sides.fake_labels).sum()) / len(sides.fake))}


def _cas(sides: Comparison) -> dict[str, Figure]:
    assert sides.fake_labels is not None
    assert sides.real_labels is not None
    share = nearest_neighbour_score(sides.fake, sides.fake_labels, sides.real, sides.real_labels)
    return {"cas-1nn": Figure(share)}


def _cas_network(sides: Comparison) -> dict[str, Figure]:
    return {"cas-network": Figure(classification_accuracy(sides))}


def _modes(sides: Comparison) -> dict[str, Figure]:
    found, _ = modes_and_divergence(sides.fake, sides.num_classes)
    return {"modes": Figure(found)}


def _modes_kl(sides: Comparison) -> dict[str, Figure]:
    _, divergence = modes_and_divergence(sides.fake, sides.num_classes)
    return {"modes-kl": Figure(divergence)}


def _ppl(sides: Comparison) -> dict[str, Figure]:
    full, end = sides.fake.unbind(dim=1)
    return {
        "ppl": Figure(*mean_path_length(full)),
        "ppl-end": Figure(*mean_path_length(end)),
    }


def _swd(sides: Comparison) -> dict[str, Figure]:
    values = sliced_wasserstein(sides.fake, sides.real, sides.seed)
    return {f"swd-{level}": Figure(*value) for level, value in values.items()}


def _ms_ssim(sides: Comparison) -> dict[str, Figure]:
    # generated images come with their classes in turn: neighbours would never be of one class
    draws = stream("metrics", "pairs", sides.seed)
    order = torch.randperm(len(sides.fake), generator=draws)
    return {"ms-ssim": Figure(mean_ms_ssim(sides.fake[order]))}


fid = Metric(
    _fd,
    ("fd",),
    higher_is_better=False,
    named_by_features=True,
    from_moments=_fd_from_moments,
    num_published=10_000,
    advice="give --num 10000, or prefer kid, whose mean does not depend on the number",
)
intra_fid = Metric(
    _intra_fd,
    ("intra-fd",),
    higher_is_better=False,
    needs_labels=True,
    named_by_features=True,
)
kid = Metric(_kd, ("kd",), higher_is_better=False, named_by_features=True, places=rows_of_subsets)
is_ = Metric(
    _is,
    ("is",),
    higher_is_better=True,
    reads="probabilities",
    named_by_features=True,
    num_published=50_000,
    sums=SplitSums,
    from_sums=_is_from_sums,
)
prdc = Metric(
    _prdc,
    ("precision", "recall", "density", "coverage"),
    higher_is_better=True,
    num_max=NUM_IN_FEATURES_MAX,
    equal_numbers=True,
)
accuracy = Metric(
    _accuracy, ("accuracy",), higher_is_better=True, reads="classes", needs_labels=True
)
cas = Metric(
    _cas,
    ("cas-1nn",),
    higher_is_better=True,
    reads="pixels",
    needs_labels=True,
    num_max=NUM_IN_PIXELS_MAX,
)
cas_network = Metric(
    _cas_network,
    ("cas-network",),
    higher_is_better=True,
    reads="pixels",
    needs_labels=True,
    num_max=NUM_IN_TRAINING_MAX,
    num_floor_splits=1,
)
modes = Metric(_modes, ("modes",), higher_is_better=True, reads="modes", alone=True)
modes_kl = Metric(_modes_kl, ("modes-kl",), higher_is_better=False, reads="modes", alone=True)
ppl = Metric(
    _ppl,
    ("ppl", "ppl-end"),
    higher_is_better=False,
    reads="paths",
    named_by_features=True,
    num_max=NUM_OF_PATHS_MAX,
    alone=True,
)
swd = Metric(
    _swd,
    ("swd-avg",),
    higher_is_better=False,
    reads="images",
    num_max=NUM_IN_DISTANCE,
    equal_numbers=True,
    num_usual=NUM_IN_DISTANCE,
    num_published=NUM_IN_DISTANCE,
    side_min=SMALLEST_SIDE,
)
msssim = Metric(
    _ms_ssim,
    ("ms-ssim",),
    higher_is_better=False,
    reads="images",
    num_max=NUM_IN_SIMILARITY,
    alone=True,
    num_usual=NUM_IN_SIMILARITY,
)
