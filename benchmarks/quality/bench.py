"""What a benchmark is: a recipe, reals, a judge, and what counts as reached."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from limner.engine import RunConfig
from limner.engine.trainer import Trainer
from limner.sampling import save_png, sheet
from quality.judging import Figures
from quality.reals import Reals

Shape = tuple[tuple[int, int, int], int]  # of images, and the number of classes
Idx = tuple[Path, Path]


@dataclass(frozen=True)
class Judged:
    """Figures of the weights that are sampled, of the raw ones, and of reals in their place."""

    figures: Figures
    raw: Figures
    floor: Figures
    hashes: dict[str, str]


@dataclass(frozen=True)
class Setting:
    """What a run needs besides its config."""

    shape: Shape
    reals: Reals
    judge: Callable[[Trainer, int, Path], Judged]


@dataclass(frozen=True)
class Bench:
    """One benchmark.

    Attributes:
        config: (seed, steps) -> RunConfig.
        setting: (config, the user's own files or None) -> Setting.
        steps: of the benchmark; other numbers are marked as such.
        goal: figure -> (relation, limit); all must hold.
        family: the section of the table it stands in.
        reals: "digits" (MNIST), or what else it is trained on.
        cpu_minutes: training ends after so much processor time, whatever `steps` says.
    """

    config: Callable[[int, int], RunConfig]
    setting: Callable[[RunConfig, Idx | None], Setting]
    steps: int
    goal: dict[str, tuple[str, float]]
    family: str
    reals: str = "digits"
    cpu_minutes: float | None = None

    def reached(self, figures: Figures) -> bool:
        """Whether every limit of the goal holds."""
        return all(
            figures[name] >= limit if relation == ">=" else figures[name] <= limit
            for name, (relation, limit) in self.goal.items()
        )


def both_weights(trainer: Trainer) -> tuple[nn.Module, nn.Module]:
    """(sampled, raw); without an average they are one."""
    raw = trainer.networks["g"]
    return trainer.generator_ema or raw, raw


def picture(path: Path, images: torch.Tensor) -> None:
    """uint8 [N, C, H, W] as a sheet of ten columns."""
    save_png(sheet(images.permute(0, 2, 3, 1).numpy(), columns=10), path, {})
