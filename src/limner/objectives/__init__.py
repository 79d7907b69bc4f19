"""Loss terms, penalties and direct gradients: frozen, pure, they know no network."""

from limner.core.parts import table
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

TERMS = table(
    NonSaturatingD,
    NonSaturatingG,
    MinimaxD,
    MinimaxG,
    HingeD,
    HingeG,
    WassersteinD,
    WassersteinG,
    LeastSquaresD,
    LeastSquaresG,
    AuxiliaryClassifierD,
    AuxiliaryClassifierG,
    GradientPenalty,
    R1,
    R2,
    Drift,
)

DIRECTS = table(
    Orthogonal,
)

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
