"""Controllers: one file each, one line here."""

from limner.core.parts import table
from limner.engine.controllers.base import Controller
from limner.engine.controllers.ema import Ema
from limner.engine.controllers.growth import Growth
from limner.engine.controllers.learning_rate import LearningRate

CONTROLLERS = table(
    Ema,
    Growth,
    LearningRate,
)

__all__ = ["CONTROLLERS", "Controller", "Ema", "Growth", "LearningRate"]
