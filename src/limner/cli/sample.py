"""`limner sample`: images of a trained model as a PNG, a sheet, an .npz or a folder."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from limner.api.early import check_files, check_model
from limner.cli.loading import load_model, warnings_as_lines
from limner.cli.parsing import Arg, parse
from limner.cli.progress import Counter
from limner.core.grids import is_grid
from limner.core.outputs import kind_of_output, named_after

EXAMPLE = "limner sample runs/digits --seeds 0-7 --classes all --grid --out sheet.png"
SHEET = "sheet"  # of --grid without a size


@dataclasses.dataclass(frozen=True)
class Sample:
    """Images of a trained model: one image per (class, seed), all seeds of a class together.

    Without --classes the image of seed s has the class s modulo the number of classes.
    """

    model: Annotated[str, Arg("MODEL", positional=True)]
    """Run, RUN@best-fid, RUN@step-N, RUN:raw (weights without averaging), or a model folder."""

    out: Annotated[str | None, Arg("PATH")] = None
    """FILE.png, .jpg or .webp (one image, or several as a sheet), FILE.npz, or a folder: one png an
    image. By default RUN-samples.png here."""

    num: int | None = None
    """So many images, of seeds from --seed or 0 on; 16 by default, or as many as --y has rows."""

    seed: int | None = None
    """The image of this seed; with --num the first seed."""

    seeds: Annotated[str | None, Arg("A-B,C")] = None
    """The images of these seeds, for example 0-63,70."""

    classes: Annotated[str | None, Arg("A,B")] = None
    """Classes by index or name, for example 3,7 or 0-4 or cat,dog or all."""

    truncation: float | None = None
    """Threshold of the latents' values; smaller is cleaner and less varied."""

    truncation_mode: Annotated[
        Literal["resample", "scale", "statistics", "w"] | None, Arg("MODE")
    ] = None
    """resample: draw values beyond it again; scale: multiply all by it; statistics: that with
    stored statistics; w, the default where the model has styles: styles at this share of the way
    from their mean."""

    truncation_cutoff: Annotated[int | None, Arg(rare=True)] = None
    """In the mode w: of the styles of so many first layers only."""

    noise: Literal["const", "random", "none"] | None = None
    """Of a model with styles: one for all images, by default; each image's own; none."""

    precision: Annotated[Literal["float32", "bfloat16"] | None, Arg("P", rare=True)] = None
    """bfloat16: faster on a processor with units for it; images differ by a few parts in a
    thousand."""

    standing: Annotated[str | None, Arg("PASSES", rare=True)] = None
    """Accumulate standing statistics first: PASSES or PASSESxBATCH, for example 16x64."""

    z: Annotated[Path | None, Arg("FILE")] = None
    """Latents to use as they are: .npy [N, z_dim], or an .npz that holds z."""

    y: Annotated[Path | None, Arg("FILE")] = None
    """Labels to use as they are: .npy of integers [N] or numbers [N, classes], or an .npz."""

    styles: Annotated[Path | None, Arg("FILE", rare=True)] = None
    """Styles instead of seeds and classes: .npy [N, w] or [N, layers, w], or an .npz."""

    move: Annotated[str | None, Arg("X,Y", rare=True)] = None
    """Of a StyleGAN3: images moved by these shares of the side, to the right and down."""

    turn: Annotated[float | None, Arg("DEGREES", rare=True)] = None
    """Of a StyleGAN3: images turned counterclockwise."""

    direction: Annotated[int | None, Arg("K", rare=True)] = None
    """Move latents, or styles, along the K-th of the directions that change images most, read off
    the weights; 1 is the strongest."""

    amount: Annotated[float | None, Arg("A", rare=True)] = None
    """How far, against it with a minus; 3 by default."""

    grid: Annotated[str | None, Arg("[SIZE]")] = None
    """Alone: a sheet even of one image. With 1080p, 4k or COLUMNSxROWS: so many images side by
    side without gaps, with --classes a class a row. Only for pictures."""

    npz_layout: Annotated[Literal["limner", "float", "biggan-pytorch"], Arg("LAYOUT")] = "limner"
    """What FILE.npz holds: images, y, z; float (or just --float) adds the network's unclipped
    output; biggan-pytorch: x [N, C, H, W] and y, as its samples.npz."""

    batch_size: Annotated[int, Arg(rare=True)] = 64
    """Images a forward pass."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print what was written as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Make the images and write them; 0."""
    options = parse(Sample, with_grid_value(with_layout_value(argv)), "sample", EXAMPLE)
    out = options.out or str(named_after(options.model, "samples.png"))
    kind_of_output(out, options.grid, options.npz_layout)
    check_model(options.model, options.classes, options.seeds)
    check_files(z=options.z, y=options.y, styles=options.styles)

    from limner.api.samples import SampleOptions, save_samples

    names = [field.name for field in dataclasses.fields(SampleOptions)]
    asked = SampleOptions(**{name: getattr(options, name) for name in names})
    model = load_model(options.model, options.device, options.module, "sample")
    with warnings_as_lines("sample"), Counter("sampling", quiet=options.json) as counter:
        plan = save_samples(model, out, asked, counter)
    facts = {
        "out": out,
        "num_images": len(plan),
        "image_shape": list(model.image_shape),
        "num_classes": model.num_classes,
        "model_sha256": model.sha256,
    }
    print(json.dumps(facts) if options.json else f"{len(plan)} images: {out}")
    return 0


def with_layout_value(argv: Sequence[str]) -> list[str]:
    """--float, which takes no value, as the layout that it is short for."""
    short = {"--float": ["--npz-layout", "float"]}
    return [part for word in argv for part in short.get(word, [word])]


def with_grid_value(argv: Sequence[str]) -> list[str]:
    """--grid may stand alone: then it gets its value."""
    words: list[str] = []
    for i, word in enumerate(argv):
        words.append(word)
        if word == "--grid" and not (i + 1 < len(argv) and is_grid(argv[i + 1])):
            words.append(SHEET)
    return words
