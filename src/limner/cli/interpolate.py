"""`limner interpolate`: a walk between two images of a model."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from limner.cli.loading import load_model
from limner.cli.parsing import parse
from limner.core.errors import LimnerError

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

    to: str = "1"
    """Last image as SEED or SEED:CLASS; without a class it has the first one's."""

    steps: int | None = None
    """Number of images; 10 by default, 30 for moving pictures."""

    along: Literal["z", "y", "zy"] = "zy"
    """Walk the latent (z), the class (y) or both."""

    slerp: bool = False
    """Walk the latent on the great circle instead of the straight line."""

    truncation: float | None = None
    """Threshold of the latents' values, as in sample."""

    truncation_mode: Literal["resample", "scale"] = "resample"
    """Draw values beyond the threshold again, or multiply all of them by it."""

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
    if not 0 < options.fps <= 50:
        raise LimnerError(f"--fps {options.fps:g}: give a number above 0, at most 50")

    from limner.sampling import interpolate, save_animation, save_png, sheet

    model = load_model(options.model, options.device, options.module, "interpolate")
    usual = 30 if suffix in MOVING else 10
    images = interpolate(
        model,
        options.from_,
        options.to,
        steps=usual if options.steps is None else options.steps,
        along=options.along,
        slerp=options.slerp,
        truncation=options.truncation,
        truncation_mode=options.truncation_mode,
    )
    if suffix in MOVING:
        save_animation(images, options.out, frames_per_second=options.fps)
    else:
        text = {"Software": "limner", "model_sha256": model.sha256}
        text |= {"from": options.from_, "to": options.to, "along": options.along}
        columns = len(images) if len(images) <= 20 else None
        save_png(sheet(images, columns=columns), options.out, text)
    facts = {"out": str(options.out), "num_images": len(images)}
    print(json.dumps(facts) if options.json else f"{len(images)} images: {options.out}")
    return 0
