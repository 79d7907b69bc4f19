"""`limner interpolate`: a walk between two images of a model."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from limner.cli.loading import load_model
from limner.cli.parsing import parse
from limner.core.errors import LimnerError

if TYPE_CHECKING:
    import numpy as np

    from limner.sampling import Model

EXAMPLE = "limner interpolate runs/digits --from 0:3 --to 1:8 --steps 10 --out walk.png"
MOVING = (".gif", ".webp", ".mp4")


@dataclasses.dataclass(frozen=True)
class Interpolate:
    """Images on the way from one latent and class to another, both ends included."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Run, RUN@best-fid, RUN@step-N, RUN:raw (weights without averaging), or a model folder."""

    out: Path
    """FILE.png (the images in a row), or moving: FILE.gif, FILE.webp, FILE.mp4."""

    from_: Annotated[str, tyro.conf.arg(name="from")] = "0"
    """First image as SEED or SEED:CLASS; the class is an index or a name."""

    to: str | None = None
    """Last image as SEED or SEED:CLASS, by default 1; without a class it has the first one's."""

    rows: int | None = None
    """A sheet of so many walks, each between seeds and classes of its own, counted from --from."""

    steps: int | None = None
    """Number of images; 10 by default, 30 for moving pictures."""

    along: Literal["z", "y", "zy"] = "zy"
    """Walk the latent (z), the class (y) or both."""

    slerp: bool = False
    """Walk the latent on the great circle instead of the straight line."""

    truncation: float | None = None
    """Threshold of the latents' values, as in sample."""

    truncation_mode: Literal["resample", "scale", "statistics"] = "resample"
    """Draw values beyond it again; multiply all by it; or that with stored statistics."""

    fps: float = 10.0
    """Images a second of moving pictures, at most 50."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    module: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print what was written as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Make the walk and write it; 0."""
    options = parse(Interpolate, argv, "interpolate", EXAMPLE)
    suffix = options.out.suffix.lower()
    if suffix != ".png" and suffix not in MOVING:
        raise LimnerError(
            f"--out {options.out}: '{suffix}' is not written; give FILE.png, .gif, .webp or .mp4"
        )
    if options.rows is not None and (suffix in MOVING or options.to is not None):
        raise LimnerError(
            "--rows makes a sheet of walks from --from on: give FILE.png, and leave --to out"
        )
    if not 0 < options.fps <= 50:
        raise LimnerError(f"--fps {options.fps:g}: give a number above 0, at most 50")

    from limner.sampling import WalkStyle, interpolate, interpolation_rows, save_animation

    model = load_model(options.model, options.device, options.module, "interpolate")
    usual = 30 if suffix in MOVING else 10
    steps = usual if options.steps is None else options.steps
    truncated = (options.truncation, options.truncation_mode)
    if options.rows is not None:
        style = WalkStyle(steps, options.along, options.slerp, *truncated)
        images = interpolation_rows(model, options.from_, options.rows, style)
    else:
        ends = (options.from_, options.to or "1")
        images = interpolate(model, *ends, steps, options.along, options.slerp, *truncated)
    if suffix in MOVING:
        save_animation(images, options.out, frames_per_second=options.fps)
    else:
        _save_sheet(options, model, images, steps)
    facts = {"out": str(options.out), "num_images": len(images)}
    print(json.dumps(facts) if options.json else f"{len(images)} images: {options.out}")
    return 0


def _save_sheet(options: Interpolate, model: "Model", images: "np.ndarray", steps: int) -> None:
    from limner.sampling import save_png, sheet

    text = {"Software": "limner", "model_sha256": model.sha256}
    text |= {"from": options.from_, "along": options.along}
    if options.rows is None:
        text["to"] = options.to or "1"
    columns = steps if options.rows is not None or steps <= 20 else None
    save_png(sheet(images, columns=columns), options.out, text)
