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
from limner.objectives.orthogonal import Orthogonal
from limner.objectives.penalties import R1, R2, Drift, GradientPenalty

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
    "Term",
    "WassersteinD",
    "WassersteinG",
]
