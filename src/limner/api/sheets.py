"""The pictures that a run leaves to be looked at: its reals, and its samples at each event."""

from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from limner.core.grids import grid_size
from limner.core.protocols import z_dim_of
from limner.data import PreparedData
from limner.engine.config import RunConfig
from limner.sampling import (
    FixedSamples,
    TrainingSheets,
    Wall,
    save_png,
    sheet,
    wall,
    wall_places,
)

NUM_REALS = 80


class RunSheets:
    """reals.png, step-N.png, classes-step-N.png and walks, always of the same latents.

    The first two are a sheet with a column a class, or the wall that `sheet.grid` asks for: reals
    and samples then stand in the same layout, and a sample has the label of the real in its place.
    """

    def __init__(self, config: RunConfig, data: PreparedData):
        self.config, self.data = config, data
        self._draw: FixedSamples | Wall | None = None
        self._others: TrainingSheets | None = None

    @cached_property
    def _size(self) -> tuple[int, int]:
        _, height, width = self.data.image_shape
        return grid_size(self.config.sheet.grid or "", height, width)

    @cached_property
    def _places(self) -> np.ndarray:
        labels = np.asarray(self.data.labels)
        if len(labels) != len(self.data):
            labels = np.zeros(len(self.data), np.int64)
        return wall_places(
            labels,
            self.data.num_classes,
            self._size,
            self.config.sheet.layout,
            self.config.seed,
        )

    def write_reals(self, path: Path) -> None:
        """The sheet of real pictures."""
        if self.config.sheet.grid is not None:
            save_png(wall(self.data.images[self._places], self._size[0]), path, {})
            return
        num = min(len(self.data), NUM_REALS)
        places = [i * len(self.data) // num for i in range(num)]
        save_png(sheet(self.data.images[places], columns=10), path, {})

    def __call__(self, generator: nn.Module, path: Path, step: int) -> None:
        """Write the sheet of fixed samples to `path`, and the others beside it."""
        z_dim, names = z_dim_of(generator), self.data.class_names
        num_classes, seed = self.data.num_classes, self.config.seed
        if self._draw is None or self._others is None:
            side = max(self.data.image_shape[1:])
            self._others = TrainingSheets(z_dim, side, num_classes, seed, names)
            self._draw = FixedSamples(z_dim, num_classes, seed=seed, class_names=names)
            if self.config.sheet.grid is not None:
                labels = self.data.labels[self._places] if num_classes else None
                self._draw = Wall(z_dim, *self._size, labels, seed)
        event = self._event(path, step)
        for name, picture in self._others(generator, event):
            save_png(picture, path.with_name(f"{name}-{path.name}"), {"step": str(step)})
        save_png(self._draw(generator), path, {"step": str(step)})

    def _event(self, path: Path, step: int) -> int:
        """The number of the sample event: with ticks, whose steps follow no rule, as many as there
        are sheets of earlier steps."""
        if self.config.intervals.sample > 0:
            return step // self.config.intervals.sample
        return sum(other.name < path.name for other in path.parent.glob("step-*.png"))
