"""`limner mix`: a sheet of images whose styles are mixed."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from limner.api.early import check_model
from limner.cli.loading import load_model
from limner.cli.parsing import Arg, parse
from limner.core.chosen import parse_seeds
from limner.core.outputs import check_still, named_after

EXAMPLE = "limner mix MODEL --rows 0-3 --columns 4-9 --layers 0-6 --out mix.png"


@dataclasses.dataclass(frozen=True)
class Mix:
    """A sheet of a model with styles: rows and columns are images of seeds, and where they meet the
    row's image takes the column's styles in some layers."""

    model: Annotated[str, Arg("MODEL", positional=True)]
    """Run, RUN@best-fid, RUN@step-N, RUN:raw (weights without averaging), or a model folder."""

    out: Annotated[Path | None, Arg("FILE")] = None
    """FILE.png, .jpg or .webp; by default RUN-mix.png here."""

    rows: Annotated[str, Arg("A-B,C")] = "0-3"
    """Seeds of the rows, which give all other layers."""

    columns: Annotated[str, Arg("A-B,C")] = "4-9"
    """Seeds of the columns."""

    layers: Annotated[str, Arg("A-B,C")] = "0-6"
    """Layers that take the column's styles, from 0: the first decide over pose and shape, the last
    over color."""

    classes: Annotated[str | None, Arg("CLASS")] = None
    """One class for all images, by index or name; the first by default."""

    truncation: float | None = None
    """Styles at this share of the way from their mean."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print what was written as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Make the sheet and write it; 0."""
    options = parse(Mix, argv, "mix", EXAMPLE)
    out = options.out or named_after(options.model, "mix.png")
    check_still("--out", out)
    check_model(options.model, options.classes, options.rows)
    for seeds in (options.columns, options.layers):
        parse_seeds(seeds)

    from limner.api.mixing import save_mix

    model = load_model(options.model, options.device, options.module, "mix")
    what = options.rows, options.columns, options.layers, options.truncation, options.classes
    rows, columns = save_mix(model, out, *what)
    facts = {"out": str(out), "rows": rows, "columns": columns}
    print(json.dumps(facts) if options.json else f"{rows} x {columns} mixed images: {out}")
    return 0
