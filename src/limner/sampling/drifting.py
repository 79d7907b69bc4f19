"""Pictures that drift, closed to a loop: latents that are smoothed noise over time, or curves
through styles."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor
from torch.nn import functional as F

from limner.core.errors import LimnerError
from limner.core.grids import grid_size
from limner.core.images import to_uint8
from limner.core.protocols import NoiseMode
from limner.sampling.generate import styles_of
from limner.sampling.latents import latents_from_seeds
from limner.sampling.looks import Space
from limner.sampling.model import Model
from limner.sampling.plans import SamplePlan
from limner.sampling.sheets import visible

Latents = Float32[np.ndarray, "cells z"]
STANDARD_DEVIATIONS = 4.0  # at which the filter is cut, as scipy does
SMOOTHINGS_PER_KEY = 2.0  # so that 1 second gives the 2 seconds a style of NVlabs/stylegan3


@dataclass(frozen=True)
class Drift:
    """A video of drifting latents; the values are those of PGGAN's interpolation video.

    Attributes:
        seconds, frames_per_second: its length is their product, rounded.
        smoothing: seconds; standard deviation of the Gaussian filter over time. In w a new style is
            reached every two of them.
        grid: "COLUMNSxROWS", "1080p" or "4k" pictures side by side without gaps.
        shrink: a picture's side is divided by it (averaged), before `zoom` multiplies it.
        seed: of numpy's frozen legacy stream, drawn frame by frame, in a frame cell by cell. In w
            the first seed: the first frame shows `seed`, `seed` + 1, ..., as `limner sample` does.
        classes: of the cells, one after the other and again from the first; empty takes all.
        truncation: the latents times this; of a model with styles see `Model.sample`.
        truncation_cutoff, noise: see `Model.sample`; a cell keeps its noise.
        space: "z" drifts as said; "w" goes on curves through styles. None takes "w" for a model
            with styles.
        batch_size: pictures a forward pass.

    Examples:
        >>> limner.Drift(seconds=2, frames_per_second=10, grid="4x3").num_frames
        20
    """

    seconds: float = 60.0
    frames_per_second: float = 30.0
    smoothing: float = 1.0
    grid: str = "1x1"
    shrink: int = 1
    zoom: int = 1
    seed: int = 1000
    classes: Sequence[int] = ()
    truncation: float | None = None
    batch_size: int = 64
    truncation_cutoff: int | None = None
    noise: NoiseMode | None = None
    space: Space | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "frames_per_second", "shrink", "zoom", "batch_size"):
            if getattr(self, name) <= 0:
                raise LimnerError(f"{name} {getattr(self, name):g}: give more than 0")
        if self.smoothing < 0 or not 0 <= self.seed < 2**32:
            raise LimnerError("smoothing must not be negative, and seed be 0 to 4294967295")
        if self.num_frames < 1:
            raise LimnerError(f"{self.seconds:g} seconds are not one frame; make it longer")

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return round(self.seconds * self.frames_per_second)

    def frames(self, model: Model) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """The frames, one at a time.

        Raises:
            LimnerError: classes that the model does not have, a shrink that does not divide.
        """
        _, height, width = model.image_shape
        columns, rows = grid_size(self.grid, height, width)
        if height % self.shrink or width % self.shrink:
            raise LimnerError(
                f"shrink {self.shrink} does not divide the pictures' {width}x{height}; "
                "give a number that divides both"
            )
        cells = columns * rows
        labels = self._labels(model, cells)
        at_once = max(self.batch_size // cells, 1)
        of_styles = self.truncation if model.has_styles else None
        look = model.look(of_styles, None, self.truncation_cutoff, self.noise)
        if model.space(self.space) == "w":
            latents = self._curve(model, labels, cells)
            labels = None  # styles hold their classes
        else:
            latents = self._noise(model, cells)
        while some := list(islice(latents, at_once)):
            y = None if labels is None else labels.repeat(len(some))
            seeds = [self.seed + cell for _ in some for cell in range(cells)]
            plan = SamplePlan(torch.cat(some), y, seeds, look)
            floats = torch.from_numpy(model.draw_float(plan, self.batch_size))
            images = to_uint8(F.avg_pool2d(floats, self.shrink)).permute(0, 2, 3, 1).numpy()
            shown = visible(images).reshape(len(some), rows, columns, *images.shape[1:3], 3)
            for picture in shown.transpose(0, 1, 3, 2, 4, 5):
                frame = picture.reshape(rows * images.shape[1], columns * images.shape[2], 3)
                yield frame.repeat(self.zoom, axis=0).repeat(self.zoom, axis=1)

    def _noise(self, model: Model, cells: int) -> Iterator[Tensor]:
        sigma = self.smoothing * self.frames_per_second
        scale = 1.0 if model.has_styles else self.truncation or 1.0
        for frame in smoothed_noise(self.seed, self.num_frames, (cells, model.z_dim), sigma):
            yield torch.from_numpy(frame) * scale

    def _curve(self, model: Model, labels: Tensor | None, cells: int) -> Iterator[Tensor]:
        """Styles [cells, layers, w] a frame, on closed curves through those of seeds."""
        keys = self.num_frames
        if self.smoothing:
            keys = min(keys, max(1, round(self.seconds / (SMOOTHINGS_PER_KEY * self.smoothing))))

        @lru_cache(maxsize=4)
        def style(key: int) -> Tensor:
            first = self.seed + key * cells
            z = latents_from_seeds(range(first, first + cells), model.z_dim)
            return styles_of(model.generator, z, labels, self.batch_size)

        for frame in range(self.num_frames):
            key, step = divmod(frame * keys, self.num_frames)
            near = [style((key + i) % keys) for i in (-1, 0, 1, 2)]
            yield on_curve(near, step / self.num_frames)

    def _labels(self, model: Model, cells: int) -> torch.Tensor | None:
        if model.num_classes == 0:
            if self.classes:
                raise LimnerError("this model has no classes; leave them out")
            return None
        chosen = list(self.classes) or list(range(model.num_classes))
        return torch.tensor([chosen[cell % len(chosen)] for cell in range(cells)])


def on_curve(points: Sequence[Tensor], share: float) -> Tensor:
    """Between the second and the third of four points, on the cubic that goes through both with
    half the difference of its neighbours as slope (Catmull and Rom 1974): the whole is smooth."""
    a, b, c, d = points
    bend = 2 * a - 5 * b + 4 * c - d + share * (3 * (b - c) + d - a)
    return b + share / 2 * (c - a + share * bend)


def smoothed_noise(
    seed: int, num_frames: int, shape: tuple[int, int], sigma: float
) -> Iterator[Latents]:
    """Normal noise [num_frames, *shape], filtered over time by a Gaussian that wraps around, and
    divided by the root of its mean square: PGGAN's latents of the same seed, frame by frame.

    In memory are the frames that the filter covers (8 sigma), however many there are: the noise is
    drawn three times, for its end, for its mean square and for the frames.

    Args:
        sigma: in frames; 0 leaves the noise as it is.
    """
    radius = int(STANDARD_DEVIATIONS * sigma + 0.5)
    places = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (places / sigma) ** 2) if radius else np.ones(1)
    weights = weights / weights.sum()
    squares = 0.0
    for latents in _filtered(seed, num_frames, shape, weights):
        squares += float(np.square(latents, dtype=np.float64).sum())
    scale = np.float32(np.sqrt(squares / (num_frames * shape[0] * shape[1])))
    for latents in _filtered(seed, num_frames, shape, weights):
        yield latents / scale


def _noise(seed: int, num_frames: int, shape: tuple[int, int]) -> Iterator[Latents]:
    random = np.random.RandomState(seed)
    for _ in range(num_frames):
        yield random.randn(*shape).astype(np.float32)


def _filtered(
    seed: int, num_frames: int, shape: tuple[int, int], weights: Float64[np.ndarray, " w"]
) -> Iterator[Latents]:
    window: deque[Latents] = deque(maxlen=len(weights))
    for frame in _wrapped(seed, num_frames, shape, len(weights) // 2):
        window.append(frame)
        if len(window) == len(weights):
            total = np.zeros(shape)
            for weight, noise in zip(weights, window, strict=True):
                total += weight * noise
            yield total.astype(np.float32)


def _wrapped(seed: int, num_frames: int, shape: tuple[int, int], edge: int) -> Iterator[Latents]:
    """The noise with `edge` frames more at both ends, as if it went round for ever."""
    if edge >= num_frames:
        whole = list(_noise(seed, num_frames, shape))
        return (whole[i % num_frames] for i in range(-edge, num_frames + edge))
    end = deque(_noise(seed, num_frames, shape), maxlen=edge) if edge else ()
    start = islice(_noise(seed, num_frames, shape), edge)
    return chain(end, _noise(seed, num_frames, shape), start)
