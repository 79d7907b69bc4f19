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
from limner.objectives.lecam import LeCam
from limner.objectives.orthogonal import Orthogonal
from limner.objectives.path_length import PathLength
from limner.objectives.penalties import R1, R2, Drift, GradientPenalty
from limner.objectives.relativistic import RelativisticD, RelativisticG

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
    LeCam,
    PathLength,
    RelativisticD,
    RelativisticG,
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
