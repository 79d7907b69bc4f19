"""The sheet that a training run draws again and again from the same latents."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn

from limner.core.images import to_uint8
from limner.sampling.generate import generate
from limner.sampling.latents import latents_from_seeds
from limner.sampling.sheets import sheet

MOST_CLASS_COLUMNS = 10


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
        assert columns > 0
        assert rows > 0
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
        images = to_uint8(generate(generator, self.z, self.y)).permute(0, 2, 3, 1).numpy()
        return sheet(images, columns=self.columns, headings=self.headings)
