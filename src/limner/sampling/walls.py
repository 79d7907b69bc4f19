"""PGGAN's sample sheet: a wall of pictures without gaps, that fills a screen."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from PIL import Image
from torch import nn

from limner.core.images import to_uint8
from limner.core.streams import stream
from limner.data.labels import Labels, has_class
from limner.sampling.generate import generate
from limner.sampling.latents import latents_from_seeds
from limner.sampling.sheets import sheet

Layout = Literal["random", "row_per_class"]
PIXELS_PER_BATCH = 1 << 23


def wall_places(
    labels: Labels | None,
    num_classes: int,
    size: tuple[int, int],
    layout: Layout,
    seed: int,
) -> Int64[np.ndarray, " cells"]:
    """Which pictures of a data set a wall of (columns, rows) shows, row by row.

    "random" draws them from all; "row_per_class" gives row r pictures of class r modulo their
    number, or with a number other than 0 in that column. None stands there twice unless there are
    too few. Without classes both are "random".
    """
    columns, rows = size
    num = len(labels) if labels is not None else 0
    assert num > 0, "no pictures"
    order = torch.randperm(num, generator=stream("wall", seed)).numpy()
    if layout == "random" or num_classes == 0 or labels is None:
        return np.resize(order, columns * rows)
    places = []
    for row in range(rows):
        turn, label = divmod(row, num_classes)
        own = order[has_class(labels[order], label)]
        own = order if len(own) == 0 else own
        places.append(own[np.arange(turn * columns, (turn + 1) * columns) % len(own)])
    return np.concatenate(places)


class Wall:
    """Callable(generator) -> picture; cell i shows seed `seed + i` with the label of its place."""

    def __init__(
        self,
        z_dim: int,
        columns: int,
        rows: int,
        labels: Labels | None = None,
        seed: int = 0,
    ):
        self.columns = columns
        self.z = latents_from_seeds(range(seed, seed + columns * rows), z_dim)
        self.y = None if labels is None else torch.from_numpy(np.array(labels))

    def __call__(self, generator: nn.Module) -> Image.Image:
        """Draw it; the generator's modes, buffers and the random state stay as they are."""
        first = generate(generator, self.z[:1], None if self.y is None else self.y[:1])
        batch_size = min(max(PIXELS_PER_BATCH // first[0, 0].numel(), 1), 64)
        images = generate(generator, self.z, self.y, batch_size)
        return wall(to_uint8(images).permute(0, 2, 3, 1).numpy(), self.columns)


def wall(images: np.ndarray, columns: int) -> Image.Image:
    """uint8 [N, H, W, C] side by side, without gaps and as large as they are."""
    return sheet(images, columns=columns, padding=0, scale=1)
