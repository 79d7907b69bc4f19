"""Controllers: one file each, one line here."""

from limner.engine.controllers.base import Controller
from limner.engine.controllers.ema import Ema
from limner.engine.controllers.growth import Growth
from limner.engine.controllers.learning_rate import LearningRate

CONTROLLERS: dict[str, type[Controller]] = {
    "ema": Ema,
    "growth": Growth,
    "learning_rate": LearningRate,
}

__all__ = ["CONTROLLERS", "Controller", "Ema", "Growth", "LearningRate"]
