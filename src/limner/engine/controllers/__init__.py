"""Controllers: one file each, one line here."""

from limner.core.parts import table
from limner.engine.controllers.base import Controller
from limner.engine.controllers.beta2 import Beta2
from limner.engine.controllers.ema import Ema
from limner.engine.controllers.growth import Growth
from limner.engine.controllers.learning_rate import LearningRate

CONTROLLERS = table(
    Beta2,
    Ema,
    Growth,
    LearningRate,
)

__all__ = ["CONTROLLERS", "Beta2", "Controller", "Ema", "Growth", "LearningRate"]
