"""Loss terms, penalties and direct gradients: frozen, pure, they know no network."""

from limner.objectives.adversarial import (
    HingeD,
    HingeG,
    LeastSquaresD,
    LeastSquaresG,
    MinimaxD,
    MinimaxG,
    NonSaturatingD,
    NonSaturatingG,
    WassersteinD,
    WassersteinG,
)
from limner.objectives.auxiliary import AuxiliaryClassifierD, AuxiliaryClassifierG
from limner.objectives.base import Direct, Memory, Noise, Pass, Term
from limner.objectives.lecam import LeCam
from limner.objectives.orthogonal import Orthogonal
from limner.objectives.path_length import PathLength
from limner.objectives.penalties import R1, R2, Drift, GradientPenalty
from limner.objectives.relativistic import RelativisticD, RelativisticG

TERMS: dict[str, type] = {
    "non-saturating-d": NonSaturatingD,
    "non-saturating-g": NonSaturatingG,
    "minimax-d": MinimaxD,
    "minimax-g": MinimaxG,
    "hinge-d": HingeD,
    "hinge-g": HingeG,
    "wasserstein-d": WassersteinD,
    "wasserstein-g": WassersteinG,
    "least-squares-d": LeastSquaresD,
    "least-squares-g": LeastSquaresG,
    "auxiliary-classifier-d": AuxiliaryClassifierD,
    "auxiliary-classifier-g": AuxiliaryClassifierG,
    "gradient-penalty": GradientPenalty,
    "r1": R1,
    "r2": R2,
    "drift": Drift,
    "lecam": LeCam,
    "path-length": PathLength,
    "relativistic-d": RelativisticD,
    "relativistic-g": RelativisticG,
}

DIRECTS: dict[str, type] = {
    "orthogonal": Orthogonal,
}

__all__ = [
    "DIRECTS",
    "R1",
    "R2",
    "TERMS",
    "AuxiliaryClassifierD",
    "AuxiliaryClassifierG",
    "Direct",
    "Drift",
    "GradientPenalty",
    "HingeD",
    "HingeG",
    "LeCam",
    "LeastSquaresD",
    "LeastSquaresG",
    "Memory",
    "MinimaxD",
    "MinimaxG",
    "Noise",
    "NonSaturatingD",
    "NonSaturatingG",
    "Orthogonal",
    "Pass",
    "PathLength",
    "RelativisticD",
    "RelativisticG",
    "Term",
    "WassersteinD",
    "WassersteinG",
]
