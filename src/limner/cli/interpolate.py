"""`limner interpolate`: a walk between two images of a model."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from limner.api.early import check_model
from limner.cli.loading import load_model
from limner.cli.parsing import Arg, parse
from limner.core.chosen import parse_classes
from limner.core.errors import LimnerError
from limner.core.outputs import check_walk_output, named_after

EXAMPLE = "limner interpolate runs/digits --from 0:3 --to 1:8 --num 10 --out walk.png"

RENAMED = {"--steps": "--num"}  # as it was called before; steps are those of training


@dataclasses.dataclass(frozen=True)
class Interpolate:
    """Images on the way from one latent and class to another, both ends included."""

    model: Annotated[str, Arg("MODEL", positional=True)]
    """Run, RUN@best-fid, RUN@step-N, RUN:raw (weights without averaging), or a model folder."""

    out: Annotated[Path | None, Arg("FILE")] = None
    """FILE.png or .jpg (the images in a row), or moving: FILE.gif, FILE.webp, FILE.mp4. By default
    RUN-walk.png here."""

    from_: Annotated[str, Arg("SEED:CLASS", name="from")] = "0"
    """First image as SEED or SEED:CLASS; the class is an index or a name."""

    to: Annotated[str | None, Arg("SEED:CLASS")] = None
    """Last image as SEED or SEED:CLASS, by default 1; without a class it has the first one's."""

    seeds: Annotated[str | None, Arg("A,B")] = None
    """Both seeds in one, instead of --from and --to."""

    classes: Annotated[str | None, Arg("A,B")] = None
    """Both classes in one, or the same for both, by index or name."""

    rows: int | None = None
    """A sheet of so many walks, each between seeds and classes of its own, counted from --from."""

    num: int | None = None
    """Images of the walk; 10 by default, 30 for moving pictures."""

    along: Literal["z", "y", "zy"] = "zy"
    """Walk the latent (z), the class (y) or both."""

    slerp: bool = False
    """Walk the latent on the great circle instead of the straight line."""

    space: Annotated[Literal["z", "w"] | None, Arg(rare=True)] = None
    """Walk latents (z), or straight from styles to styles (w, the default where there are any)."""

    truncation: float | None = None
    """Threshold of the latents' values, as in sample."""

    truncation_mode: Annotated[
        Literal["resample", "scale", "statistics", "w"] | None, Arg("MODE", rare=True)
    ] = None
    """As in sample."""

    truncation_cutoff: Annotated[int | None, Arg(rare=True)] = None
    """In the mode w: of the styles of so many first layers only."""

    noise: Literal["const", "random", "none"] | None = None
    """Of a model with styles: one for all images, by default; each image's own; none."""

    fps: float = 10.0
    """Images a second of moving pictures, at most 50."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print what was written as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Make the walk and write it; 0."""
    options = parse(Interpolate, [RENAMED.get(word, word) for word in argv], "interpolate", EXAMPLE)
    first, last = ends(options)
    out = options.out or named_after(options.model, "walk.png")
    check_walk_output(out)
    place = check_model(options.model)
    for end in (first, last or "1"):
        if ":" in end:
            parse_classes(end.partition(":")[2], *place.classes())

    from limner.api.walks import WalkOptions, check_walk, save_walk

    asked = WalkOptions(
        from_=first,
        to=last,
        rows=options.rows,
        steps=options.num,
        along=options.along,
        slerp=options.slerp,
        truncation=options.truncation,
        truncation_mode=options.truncation_mode,
        truncation_cutoff=options.truncation_cutoff,
        noise=options.noise,
        space=options.space,
        frames_per_second=options.fps,
    )
    check_walk(out, asked)  # before the model is loaded
    model = load_model(options.model, options.device, options.module, "interpolate")
    num = save_walk(model, out, asked)
    facts = {"out": str(out), "num_images": num}
    print(json.dumps(facts) if options.json else f"{num} images: {out}")
    return 0


def ends(options: Interpolate) -> tuple[str, str | None]:
    """--from and --to, or what --seeds and --classes say instead."""
    if options.seeds is None and options.classes is None:
        return options.from_, options.to
    if options.from_ != "0" or options.to is not None:
        raise LimnerError("--from and --to name seeds and classes: leave --seeds and --classes out")
    seeds = pair("--seeds", options.seeds or "0,1")
    if options.classes is None:
        return seeds
    both = pair(
        "--classes",
        options.classes if "," in options.classes else f"{options.classes},{options.classes}",
    )
    return f"{seeds[0]}:{both[0]}", f"{seeds[1]}:{both[1]}"


def pair(option: str, text: str) -> tuple[str, str]:
    """The two parts of "3,7"."""
    first, comma, last = text.partition(",")
    if not comma or "," in last:
        raise LimnerError(f"{option} {text}: give two, as in 3,7")
    return first.strip(), last.strip()
