"""Learning rates that follow a schedule."""

from typing import Literal

from limner.core.config import Config
from limner.core.schedules import Schedule
from limner.engine.controllers.base import Controller, TrainerView
from limner.objectives.base import Memory


class LearningRate(Config, Controller, frozen=True, kw_only=True):
    """Multiplies a player's learning rate by `factor(nimg)`, read every `read_every` steps."""

    player: Literal["g", "d", "both"] = "both"
    factor: Schedule
    read_every: int = 1

    def before_step(self, trainer: TrainerView, memory: Memory) -> None:
        if trainer.progress.step % self.read_every:
            return
        factor = self.factor(trainer.progress.nimg)
        for player in ("g", "d") if self.player == "both" else (self.player,):
            for group in trainer.optimizers[player].param_groups:
                group["lr"] = trainer.base_lr(player) * factor
