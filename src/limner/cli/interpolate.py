"""`limner interpolate`: a walk between two images of a model."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from limner.cli.loading import load_model
from limner.cli.parsing import parse

EXAMPLE = "limner interpolate runs/digits --from 0:3 --to 1:8 --steps 10 --out walk.png"


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

    space: Literal["z", "w"] | None = None
    """Walk latents (z), or straight from styles to styles (w, the default where there are any)."""

    truncation: float | None = None
    """Threshold of the latents' values, as in sample."""

    truncation_mode: Literal["resample", "scale", "statistics", "w"] | None = None
    """Draw values beyond it again; multiply all by it; that with stored statistics; or, by default
    where the model has styles, take styles at this share of the way from their mean."""

    truncation_cutoff: int | None = None
    """In the mode w: of the styles of so many first layers only."""

    noise: Literal["const", "random", "none"] | None = None
    """Of a model with styles: one for all images, by default; each image's own; none."""

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

    from limner.api.walks import WalkOptions, check_walk, save_walk

    asked = WalkOptions(
        from_=options.from_,
        to=options.to,
        rows=options.rows,
        steps=options.steps,
        along=options.along,
        slerp=options.slerp,
        truncation=options.truncation,
        truncation_mode=options.truncation_mode,
        truncation_cutoff=options.truncation_cutoff,
        noise=options.noise,
        space=options.space,
        frames_per_second=options.fps,
    )
    check_walk(options.out, asked)  # before the model is loaded
    model = load_model(options.model, options.device, options.module, "interpolate")
    num = save_walk(model, options.out, asked)
    facts = {"out": str(options.out), "num_images": num}
    print(json.dumps(facts) if options.json else f"{num} images: {options.out}")
    return 0
