"""Controllers change something over time. They are frozen: what they keep stands in a Memory."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

from torch import nn
from torch.optim import Optimizer

from limner.core.config import Part
from limner.objectives.base import Memory
from limner.training.progress import Progress


class TrainerView(Protocol):
    """What a controller may see and change of the trainer."""

    progress: Progress
    generator_ema: nn.Module | None

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...

    @property
    def optimizers(self) -> Mapping[str, Optimizer]: ...

    def base_lr(self, player: str) -> float: ...


class Controller(Part):
    """Marker of controllers. Set `averages = True` to be given a `generator_ema` to move."""

    table = "limner.training.controllers:CONTROLLERS"
    averages: ClassVar[bool] = False

    def before_step(self, trainer: TrainerView, memory: Memory) -> None:
        """Called once before a step's updates."""

    def after_update(self, trainer: TrainerView, player: str, memory: Memory) -> None:
        """Called after each optimizer step of a player ("g" or "d")."""

    def after_step(self, trainer: TrainerView, memory: Memory) -> None:
        """Called once after a step's updates, when the step counter has moved."""
