"""Walks between two latents or classes, as pictures in a row or moving."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from limner.core.chosen import check_classes, parse_classes
from limner.core.errors import LimnerError
from limner.sampling.generate import styles_of
from limner.sampling.model import Model
from limner.sampling.plans import SamplePlan
from limner.sampling.sheets import sheet
from limner.sampling.videos import check_video, write_video
from limner.sampling.walks import Walk, WalkStyle, neighbouring_walks, walk

Endpoint = tuple[int, int | None]
USUAL = WalkStyle()


def parse_endpoint(text: str, model: Model) -> Endpoint:
    """(seed, class) from "SEED", "SEED:CLASS"; the class is an index or a name.

    Raises:
        LimnerError: no integer before the colon, or a class that the model does not have.
    """
    seed, colon, label = text.partition(":")
    if not seed.strip().isdecimal():
        raise LimnerError(f"'{text}' is no endpoint; write SEED or SEED:CLASS, for example 3:7")
    if not colon:
        return int(seed), None
    classes = parse_classes(label, model.num_classes, model.class_names)
    if len(classes) != 1:
        raise LimnerError(f"'{text}' names {len(classes)} classes; an endpoint has one")
    return int(seed), classes[0]


def interpolate(
    model: Model,
    from_: Endpoint | str,
    to: Endpoint | str,
    style: WalkStyle = USUAL,
) -> np.ndarray:
    """uint8 images [steps, H, W, C] on the way from one (seed, class) to another, ends included.

    Args:
        from_, to: (seed, class) or "SEED:CLASS". Without a class: seed % num_classes at the start,
            the start's class at the end.

    Raises:
        LimnerError: classes for a model without them; what it cannot do, see `look_for`.
    """
    start = parse_endpoint(from_, model) if isinstance(from_, str) else from_
    end = parse_endpoint(to, model) if isinstance(to, str) else to
    first, last = start[1], end[1]
    if model.num_classes == 0:
        if style.along == "y" or first is not None or last is not None:
            raise LimnerError("this model has no classes: walk along z, from SEED to SEED")
    else:
        first = start[0] % model.num_classes if first is None else first
        last = first if last is None else last
        check_classes([first, last], model.num_classes)
    return _drawn(model, [Walk(start[0], end[0], first, last)], style)


def interpolation_rows(
    model: Model, from_: Endpoint | str, rows: int, style: WalkStyle
) -> np.ndarray:
    """Walks of their own seeds and classes, one a row: uint8 [rows x steps, H, W, C], row-major.

    Row r walks from seed s + 2 r to s + 2 r + 1, s being that of `from_`. Each end has the class of
    its seed, counted on from the class of `from_` where one is given (else seed % num_classes).

    Raises:
        LimnerError: no row, or a walk along the classes of a model without any.
    """
    if rows < 1:
        raise LimnerError(f"rows {rows}: give at least 1")
    seed, first = parse_endpoint(from_, model) if isinstance(from_, str) else from_
    if model.num_classes == 0 and (style.along == "y" or first is not None):
        raise LimnerError("this model has no classes: walk along z, from SEED")
    walks = neighbouring_walks(rows, seed, model.num_classes, first)
    return _drawn(model, walks, style)


def _drawn(model: Model, walks: list[Walk], style: WalkStyle) -> np.ndarray:
    look = style.look(model.generator)
    style = dataclasses.replace(style, truncation_mode=look.mode)
    if model.space(style.space, style.slerp) == "w":
        z, y = _styles_between(model, walks, style), None
    else:
        z, y = walk(walks, model.z_dim, model.num_classes, style)
    seeds = [each.first_seed for each in walks for _ in range(style.steps)]
    return model.draw(SamplePlan(z, y, seeds, look), batch_size=min(len(z), 64))


def _styles_between(model: Model, walks: list[Walk], style: WalkStyle) -> torch.Tensor:
    """Styles [walks x steps, layers, w] on straight lines between those of the walks' ends."""
    ends = dataclasses.replace(style, steps=2)
    styles = styles_of(model.generator, *walk(walks, model.z_dim, model.num_classes, ends))
    first, last = styles.unflatten(0, (len(walks), 1, 2)).unbind(2)
    share = torch.linspace(0, 1, style.steps)[:, None, None]
    return torch.lerp(first, last, share).flatten(0, 1)


# --- moving pictures -------------------------------------------------------


def save_animation(
    images: np.ndarray | Sequence[Image.Image],
    path: Path,
    frames_per_second: float = 10.0,
    back_and_forth: bool = True,
) -> None:
    """Write frames as .gif, .webp, .png (animated) or .mp4, whole or not at all; the first three
    repeat for ever.

    Args:
        images: uint8 [N, H, W, C] (small pictures are enlarged), or frames of one size.
        back_and_forth: add the way back, so that the repeat does not jump.

    Raises:
        LimnerError, MissingExtra: see `check_video`.
    """
    check_video(path, frames_per_second)
    if isinstance(images, np.ndarray):
        images = [sheet(image[None], columns=1, padding=0) for image in images]
    frames = [frame.convert("RGB") for frame in images]
    if back_and_forth:
        frames += frames[-2:0:-1]
    write_video((np.asarray(frame) for frame in frames), path, frames_per_second)
