"""Controllers: one file each, one line here."""

from limner.core.parts import table
from limner.engine.controllers.adapt_p import AdaptP
from limner.engine.controllers.base import Controller
from limner.engine.controllers.beta2 import Beta2
from limner.engine.controllers.ema import Ema
from limner.engine.controllers.growth import Growth
from limner.engine.controllers.learning_rate import LearningRate

CONTROLLERS = table(
    AdaptP,
    Beta2,
    Ema,
    Growth,
    LearningRate,
)

__all__ = ["CONTROLLERS", "AdaptP", "Beta2", "Controller", "Ema", "Growth", "LearningRate"]
