"""Walks between images of a model in files: a sheet, or moving pictures."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from limner.core.errors import LimnerError
from limner.core.outputs import MOVING, check_walk_output
from limner.core.protocols import NoiseMode
from limner.sampling import (
    Model,
    WalkStyle,
    interpolate,
    interpolation_rows,
    load,
    save_animation,
    save_png,
    sheet,
)
from limner.sampling.latents import TruncationMode
from limner.sampling.looks import Space, words_of
from limner.sampling.walks import Along

MOST_COLUMNS = 20


@dataclass(frozen=True)
class WalkOptions:
    """Where a walk goes, and how it is shown.

    Attributes:
        from_, to: "SEED" or "SEED:CLASS"; `to` is "1" where it is None.
        rows: a sheet of so many walks from `from_` on, see `interpolation_rows`; None: one walk.
        steps: images of a walk; 10 by default, 30 of moving pictures.
        along, slerp, space, truncation, truncation_mode, truncation_cutoff, noise: see WalkStyle.
        frames_per_second: of moving pictures, above 0 and at most 50.

    Examples:
        >>> limner.WalkOptions(from_="0:3", to="1:8").along
        'zy'
    """

    from_: str = "0"
    to: str | None = None
    rows: int | None = None
    steps: int | None = None
    along: Along = "zy"
    slerp: bool = False
    truncation: float | None = None
    truncation_mode: TruncationMode | None = None
    frames_per_second: float = 10.0
    space: Space | None = None
    truncation_cutoff: int | None = None
    noise: NoiseMode | None = None

    def __post_init__(self) -> None:
        if not 0 < self.frames_per_second <= 50:
            raise LimnerError(
                f"--fps {self.frames_per_second:g}: give a number above 0, at most 50"
            )


def check_walk(out: str | Path, options: WalkOptions) -> None:
    """Refuse another suffix, or rows that move or have an end, before a model is loaded."""
    check_walk_output(out)
    moves = Path(out).suffix.lower() in MOVING
    if options.rows is not None and (moves or options.to is not None):
        raise LimnerError(
            "--rows makes a sheet of walks from --from on: give FILE.png, and leave --to out"
        )


def save_walk(
    model: Model | str | Path, out: str | Path, options: WalkOptions | None = None
) -> int:
    """Walk and write the images, as `limner interpolate` does; the number of those of the walk.

    Args:
        out: FILE.png or .jpg (a sheet); or FILE.gif, .webp or .mp4, which go there and back.

    Raises:
        LimnerError: see `check_walk` and `interpolate`; MissingExtra: .mp4 without PyAV.

    Examples:
        >>> limner.save_walk("runs/digits", "walk.gif", limner.WalkOptions("0:3", "1:8", steps=5))
        5
    """
    options, out = options or WalkOptions(), Path(out)
    check_walk(out, options)
    loaded = model if isinstance(model, Model) else load(model)
    images = walk_images(loaded, options, moves=out.suffix.lower() in MOVING)
    write_walk(loaded, images, out, options)
    return len(images)


def walk_images(model: Model, options: WalkOptions, moves: bool = False) -> np.ndarray:
    """The images of a walk, uint8 [N, H, W, C]; `moves` decides how many by default."""
    shared = [field.name for field in fields(WalkStyle) if field.name != "steps"]
    steps = options.steps if options.steps is not None else 30 if moves else 10
    style = WalkStyle(steps, **{name: getattr(options, name) for name in shared})
    if options.rows is not None:
        return interpolation_rows(model, options.from_, options.rows, style)
    return interpolate(model, options.from_, options.to or "1", style)


def write_walk(
    model: Model, images: np.ndarray, out: Path, options: WalkOptions, along: str = ""
) -> None:
    """Write the images of a walk as `save_walk` does; `along` names another way than that of the
    options."""
    if out.suffix.lower() in MOVING:
        save_animation(images, out, frames_per_second=options.frames_per_second)
        return
    text = {"Software": "limner", "model_sha256": model.sha256}
    text |= {"from": options.from_, "along": along or options.along}
    text["space"] = model.space(options.space, options.slerp)
    looks = (options.truncation, options.truncation_mode, options.truncation_cutoff, options.noise)
    text |= words_of(model.look(*looks), model.generator)
    if options.rows is None:
        text["to"] = options.to or "1"
    steps = len(images) // (options.rows or 1)
    columns = steps if options.rows is not None or steps <= MOST_COLUMNS else None
    save_png(sheet(images, columns=columns), out, text)
