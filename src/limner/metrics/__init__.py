"""Scores of generated images: pure functions of features, and the evaluator over them.

METRICS says what a requested name computes; see `limner.metrics.features.EXTRACTORS` for features.
"""

from limner.metrics.classes import intra_class_distance
from limner.metrics.copies import nearest_rows
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
    Gaussian,
    RunningMoments,
    frechet_distance,
    frechet_from_moments,
    moments,
)
from limner.metrics.inception_score import inception_score
from limner.metrics.kernel import gaussian_kernel, kernel_distance, polynomial_kernel
from limner.metrics.modes import modes_and_divergence
from limner.metrics.moments_file import Moments, features_id, read_moments, write_moments
from limner.metrics.ms_ssim import mean_ms_ssim, ms_ssim
from limner.metrics.neighbours import (
    Manifold,
    class_accuracy,
    nearest_neighbour_score,
    precision_recall_density_coverage,
)
from limner.metrics.notes import notes
from limner.metrics.path_length import mean_path_length, path_lengths
from limner.metrics.reference import Reference
from limner.metrics.requests import (
    accuracy,
    cas,
    cas_network,
    fid,
    intra_fid,
    is_,
    kid,
    modes,
    modes_kl,
    msssim,
    ppl,
    prdc,
    swd,
)
from limner.metrics.results import Comparison, Figure, Metric, Result
from limner.metrics.sliced_wasserstein import sliced_wasserstein
from limner.metrics.streams import ImageStream

METRICS: dict[str, Metric] = {
    "fid": fid,
    "kid": kid,
    "is": is_,
    "prdc": prdc,
    "accuracy": accuracy,
    "cas": cas,
    "swd": swd,
    "msssim": msssim,
    "intra-fid": intra_fid,
    "cas-network": cas_network,
    "modes": modes,
    "modes-kl": modes_kl,
    "ppl": ppl,
}

__all__ = [
    "EXTRACTORS",
    "METRICS",
    "Classifier",
    "Comparison",
    "Evaluator",
    "Extractor",
    "Figure",
    "Gaussian",
    "ImageStream",
    "Manifold",
    "Metric",
    "Moments",
    "Reference",
    "Result",
    "RunningMoments",
    "Sample",
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
    "path_lengths",
    "polynomial_kernel",
    "precision_recall_density_coverage",
    "read_moments",
    "score",
    "sliced_wasserstein",
    "write_moments",
]
