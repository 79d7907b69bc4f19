"""Controllers: one file each, one line here."""

from limner.training.controllers.base import Controller
from limner.training.controllers.ema import Ema
from limner.training.controllers.growth import Growth
from limner.training.controllers.learning_rate import LearningRate

CONTROLLERS: dict[str, type[Controller]] = {
    "ema": Ema,
    "growth": Growth,
    "learning_rate": LearningRate,
}

__all__ = ["CONTROLLERS", "Controller", "Ema", "Growth", "LearningRate"]
