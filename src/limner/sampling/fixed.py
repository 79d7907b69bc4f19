"""The sheets that a training run draws again and again from the same latents."""

from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from limner.core.images import to_uint8
from limner.sampling.generate import generate
from limner.sampling.latents import latents_from_seeds
from limner.sampling.sheets import sheet
from limner.sampling.walks import Along, WalkStyle, neighbouring_walks, walk

MOST_CLASS_COLUMNS = 10
NUM_COLUMNS = 10  # of the class sheets and walks, as BigGAN-PyTorch's
NUM_WALKS, NUM_CLASS_ROWS = 16, 20  # rows up to 64 pixels; of larger pictures fewer
LARGEST_OF_MANY, FEWEST_ROWS = 64, 4


class FixedSamples:
    """Callable(generator) -> sheet; the same latents and labels at every call.

    The cell of row r and column c shows seed `seed + r * columns + c`, so that `limner sample`
    can make any cell again. With classes there is one column a class: all of them, or `columns`
    (at most ten) spread evenly over them.
    """

    def __init__(
        self,
        z_dim: int,
        num_classes: int = 0,
        columns: int = 10,
        rows: int = 8,
        seed: int = 0,
        class_names: Sequence[str] = (),
    ):
        self.classes: list[int] = []
        if num_classes:
            columns = min(columns, num_classes, MOST_CLASS_COLUMNS)
            spread = np.linspace(0, num_classes - 1, columns).round().astype(int)
            self.classes = [int(index) for index in spread]
        self.columns = columns
        self.headings = [class_names[i] if class_names else str(i) for i in self.classes] or None
        self.z = latents_from_seeds(range(seed, seed + rows * columns), z_dim)
        self.y = torch.tensor(self.classes * rows) if self.classes else None

    def __call__(self, generator: nn.Module) -> Image.Image:
        """Draw the sheet; the generator's modes, buffers and the random state stay as they are."""
        images = _pixels(generator, self.z, self.y)
        return sheet(images, columns=self.columns, headings=self.headings)


class TrainingSheets:
    """A class sheet, and sheets of walks along z, y and zy; the same latents at every call.

    The class sheet has a row a class and seeds `seed` to `seed + 9` in its columns. It shows all
    classes, or a window of them that moves on from event to event, so that after
    ceil(classes / rows) events each has been shown. Walk r goes from seed `seed + 2 r` to the next
    one, as `limner interpolate --rows --space z` does. Without classes there is the walk along z
    alone.
    """

    def __init__(
        self,
        z_dim: int,
        image_size: int,
        num_classes: int = 0,
        seed: int = 0,
        class_names: Sequence[str] = (),
    ):
        self.num_classes, self.class_names = num_classes, class_names
        shrink = max(1.0, image_size / LARGEST_OF_MANY)
        self.num_class_rows = min(num_classes, max(FEWEST_ROWS, int(NUM_CLASS_ROWS / shrink)))
        num_walks = max(FEWEST_ROWS, int(NUM_WALKS / shrink))
        walks = neighbouring_walks(num_walks, seed, num_classes)
        self.z = latents_from_seeds(range(seed, seed + NUM_COLUMNS), z_dim)
        self.walks: dict[str, tuple[Tensor, Tensor | None]] = {
            f"walk-{along}": walk(walks, z_dim, num_classes, WalkStyle(NUM_COLUMNS, along))
            for along in (get_args(Along) if num_classes else ("z",))
        }

    def __call__(self, generator: nn.Module, event: int) -> Iterator[tuple[str, Image.Image]]:
        """Names ("classes", "walk-z", ...) and sheets; `event` counts the calls of a run."""
        if self.num_classes:
            classes = self.classes_of(event)
            z = self.z.repeat(len(classes), 1)
            y = torch.tensor(classes).repeat_interleave(NUM_COLUMNS)
            names = [self.class_names[i] if self.class_names else str(i) for i in classes]
            images = _pixels(generator, z, y)
            yield "classes", sheet(images, columns=NUM_COLUMNS, row_headings=names)
        for name, (z, y) in self.walks.items():
            yield name, sheet(_pixels(generator, z, y), columns=NUM_COLUMNS)

    def classes_of(self, event: int) -> list[int]:
        """The classes that the sheet of an event shows."""
        if self.num_class_rows == self.num_classes:
            return list(range(self.num_classes))
        first = event * self.num_class_rows
        return [(first + i) % self.num_classes for i in range(self.num_class_rows)]


def _pixels(generator: nn.Module, z: Tensor, y: Tensor | None) -> np.ndarray:
    return to_uint8(generate(generator, z, y)).permute(0, 2, 3, 1).numpy()
