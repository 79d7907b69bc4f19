"""Learning rates that follow a schedule."""

from typing import Literal

import torch

from limner.core.config import Config
from limner.core.ranges import PositiveInt
from limner.core.schedules import Schedule
from limner.engine.controllers.base import Controller, TrainerView
from limner.objectives.base import Memory


class LearningRate(Config, Controller, frozen=True, kw_only=True):
    """Multiplies a player's learning rate by `factor(nimg)`, read every `read_every` steps.

    Several of them, and what a `Growth` gives, multiply.
    """

    player: Literal["g", "d", "both"] = "both"
    factor: Schedule
    read_every: PositiveInt = 1

    def before_step(self, trainer: TrainerView, memory: Memory) -> None:
        if trainer.progress.step % self.read_every == 0 or "nimg" not in memory:
            memory["nimg"] = torch.tensor(trainer.progress.step_nimg)

    def rate(self, trainer: TrainerView, player: str, memory: Memory) -> float:
        return self.factor(int(memory["nimg"])) if self.player in (player, "both") else 1.0
