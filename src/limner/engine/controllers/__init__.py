"""Controllers: one file each, one line here."""

from limner.engine.controllers.base import Controller
from limner.engine.controllers.beta2 import Beta2
from limner.engine.controllers.ema import Ema
from limner.engine.controllers.growth import Growth
from limner.engine.controllers.learning_rate import LearningRate

CONTROLLERS: dict[str, type[Controller]] = {
    "beta2": Beta2,
    "ema": Ema,
    "growth": Growth,
    "learning_rate": LearningRate,
}

__all__ = ["CONTROLLERS", "Beta2", "Controller", "Ema", "Growth", "LearningRate"]
