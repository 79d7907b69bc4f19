"""Scores of generated images: pure functions of features, and the evaluator over them.

METRICS says what a requested name computes; see `limner.metrics.features.EXTRACTORS` for features.
"""

from limner.metrics.base import Accumulator, Figure, Metric, Real, Result, Rows, Side
from limner.metrics.classes import Accuracy, CasNetwork, IntraFid, intra_class_distance
from limner.metrics.copies import Copies, nearest_rows, share_of_copies
from limner.metrics.equivariance import Equivariance
from limner.metrics.evaluation import (
    Evaluator,
    Sample,
    check_metrics,
    evaluate_images,
    find_metric,
    make_evaluator,
    score,
)
from limner.metrics.features import EXTRACTORS, Classifier, Extractor, make_extractor
from limner.metrics.frechet import (
    Distribution,
    Fid,
    Gaussian,
    RunningMoments,
    frechet_distance,
    frechet_from_moments,
    moments,
)
from limner.metrics.inception_score import InceptionScore, inception_score
from limner.metrics.kernel import Kid, gaussian_kernel, kernel_distance, polynomial_kernel
from limner.metrics.modes import Modes, ModesKl, modes_and_divergence
from limner.metrics.moments_file import Moments, features_id, read_moments, write_moments
from limner.metrics.ms_ssim import MsSsim, mean_ms_ssim, ms_ssim
from limner.metrics.needs import NoScores
from limner.metrics.neighbours import (
    Cas,
    Manifold,
    Prdc,
    class_accuracy,
    nearest_neighbour_score,
    precision_recall_density_coverage,
)
from limner.metrics.notes import notes
from limner.metrics.path_length import Ppl, mean_path_length, path_lengths
from limner.metrics.protocols import PROTOCOLS, num_reals, settings_of
from limner.metrics.reference import Reference
from limner.metrics.sliced_wasserstein import Swd, sliced_wasserstein
from limner.metrics.streams import ImageStream

METRICS: dict[str, type[Metric]] = {
    "fid": Fid,
    "kid": Kid,
    "is": InceptionScore,
    "prdc": Prdc,
    "copies": Copies,
    "accuracy": Accuracy,
    "cas": Cas,
    "swd": Swd,
    "msssim": MsSsim,
    "intra-fid": IntraFid,
    "cas-network": CasNetwork,
    "modes": Modes,
    "modes-kl": ModesKl,
    "ppl": Ppl,
    "eq": Equivariance,
}

__all__ = [
    "EXTRACTORS",
    "METRICS",
    "PROTOCOLS",
    "Accumulator",
    "Classifier",
    "Distribution",
    "Equivariance",
    "Evaluator",
    "Extractor",
    "Figure",
    "Gaussian",
    "ImageStream",
    "Manifold",
    "Metric",
    "Moments",
    "NoScores",
    "Real",
    "Reference",
    "Result",
    "Rows",
    "RunningMoments",
    "Sample",
    "Side",
    "check_metrics",
    "class_accuracy",
    "evaluate_images",
    "features_id",
    "find_metric",
    "frechet_distance",
    "frechet_from_moments",
    "gaussian_kernel",
    "inception_score",
    "intra_class_distance",
    "kernel_distance",
    "make_evaluator",
    "make_extractor",
    "mean_ms_ssim",
    "mean_path_length",
    "modes_and_divergence",
    "moments",
    "ms_ssim",
    "nearest_neighbour_score",
    "nearest_rows",
    "notes",
    "num_reals",
    "path_lengths",
    "polynomial_kernel",
    "precision_recall_density_coverage",
    "read_moments",
    "score",
    "settings_of",
    "share_of_copies",
    "sliced_wasserstein",
    "write_moments",
]
