"""Controllers change something over time. They are frozen: what they keep stands in a Memory."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from limner.core.config import Part
from limner.engine.progress import Progress
from limner.objectives.base import Memory, Pass


class OptimizerView(Protocol):
    """A player's optimizer in the run's config."""

    @property
    def lr(self) -> float: ...


class PlayersView(Protocol):
    """Both of them."""

    @property
    def g(self) -> OptimizerView: ...

    @property
    def d(self) -> OptimizerView: ...


class RunView(Protocol):
    """What a controller may read of the run's config, which holds controllers itself."""

    @property
    def optim(self) -> PlayersView: ...

    @property
    def augments(self) -> Sequence[object]: ...

    @property
    def batch_size(self) -> int: ...


class TrainerView(Protocol):
    """What a controller may see and change of the trainer."""

    @property
    def config(self) -> RunView: ...

    image_shape: tuple[int, int, int]
    progress: Progress
    generator_ema: nn.Module | None
    batch_size: int

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...

    @property
    def optimizers(self) -> Mapping[str, Optimizer]: ...

    def base_lr(self, player: str) -> float: ...

    def memory(self, name: str) -> Memory:
        """Of another part, as "augment.NAME"."""
        ...


class Controller(Part):
    """Marker of controllers. Set `averages = True` to be given a `generator_ema` to move.

    What it keeps in its memory comes back on the host when a state is taken up.
    """

    table = "limner.engine.controllers:CONTROLLERS"
    averages: ClassVar[bool] = False

    def begin(self, trainer: TrainerView, memory: Memory) -> None:
        """Called when the trainer is built, and again when it has taken up a state: puts back what
        it sets outside of the trainer's tensors."""

    def before_step(self, trainer: TrainerView, memory: Memory) -> None:
        """Called once before a step's updates."""

    def rate(self, trainer: TrainerView, player: str, memory: Memory) -> float:
        """What a player's learning rate is multiplied by in this step, after `before_step`."""
        return 1.0

    def after_pass(self, trainer: TrainerView, player: str, batch: Pass, memory: Memory) -> None:
        """Called after each micro-batch, whose gradients have been taken."""

    def after_update(self, trainer: TrainerView, player: str, memory: Memory) -> None:
        """Called after each optimizer step of a player ("g" or "d")."""

    def after_step(self, trainer: TrainerView, memory: Memory) -> None:
        """Called once after a step's updates, when the step counter has moved."""

    def reals(self, trainer: TrainerView, images: Tensor, memory: Memory) -> Tensor:
        """Real images [n, C, H, W] in [-1, 1] as they are shown at this moment, in that shape."""
        return images

    def figures(self, trainer: TrainerView, memory: Memory) -> dict[str, float]:
        """What a log line says about it: name -> number."""
        return {}
