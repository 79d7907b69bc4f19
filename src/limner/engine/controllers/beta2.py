"""Adam's second moment with a memory that changes over time."""

from typing import Literal

from limner.core.config import Config
from limner.core.schedules import Schedule
from limner.engine.controllers.base import Controller, TrainerView
from limner.objectives.base import Memory


class Beta2(Config, Controller, frozen=True, kw_only=True):
    """Sets Adam's beta2 of a player to `value(nimg)` in each step (Huang et al. 2024, R3GAN)."""

    player: Literal["g", "d", "both"] = "both"
    value: Schedule

    def before_step(self, trainer: TrainerView, memory: Memory) -> None:
        value = self.value(trainer.progress.step_nimg)
        for player in ("g", "d") if self.player == "both" else (self.player,):
            for group in trainer.optimizers[player].param_groups:
                group["betas"] = (group["betas"][0], value)
