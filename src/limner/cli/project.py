"""`limner project`: the style whose image is nearest to a picture."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from limner.api.early import check_files, check_model
from limner.cli.loading import load_model, warnings_as_lines
from limner.cli.parsing import Arg, parse
from limner.cli.progress import Counter
from limner.core.chosen import parse_classes
from limner.core.errors import LimnerError
from limner.core.outputs import named_after

EXAMPLE = "limner project MODEL picture.png --steps 100 --out found.npz"


@dataclasses.dataclass(frozen=True)
class Project:
    """The style whose image is nearest to a picture, of a model with styles. FILE.npz holds it, for
    `limner sample MODEL --styles FILE.npz`; FILE.png beside it shows the picture and its image."""

    model: Annotated[str, Arg("MODEL", positional=True)]
    """Run, RUN@best-fid, RUN@step-N, RUN:raw (weights without averaging), or a model folder."""

    picture: Annotated[Path, Arg("PICTURE", positional=True)]
    """A picture file; its largest part in the middle is taken, in the model's size."""

    out: Annotated[Path | None, Arg("FILE")] = None
    """FILE.npz to write; by default RUN-projected.npz here."""

    steps: int = 1000
    """Steps of the search; 100 show on a CPU how far it goes."""

    classes: Annotated[str | None, Arg("CLASS")] = None
    """The class to look in, by index or name; the first by default."""

    num_styles: Annotated[int, Arg(rare=True)] = 10_000
    """Random styles of which the start and their spread are taken."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print what was written as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Search and write what was found; 0."""
    options = parse(Project, argv, "project", EXAMPLE)
    out = options.out or named_after(options.model, "projected.npz")
    if out.suffix != ".npz":
        raise LimnerError(f"--out {out}: give FILE.npz; a FILE.png is written beside it")
    place = check_model(options.model)
    wanted = [0] if options.classes is None else parse_classes(options.classes, *place.classes())
    if len(wanted) != 1:
        raise LimnerError(f"--classes {options.classes}: give one class")
    check_files(picture=options.picture)

    from limner.api.projecting import project, save_projection

    model = load_model(options.model, options.device, options.module, "project")
    settings = options.steps, options.num_styles, wanted[0]
    with warnings_as_lines("project"), Counter("projecting", quiet=options.json) as counter:
        found = project(model, options.picture, *settings, counter)
    files = save_projection(found, out)
    first, last = found.distances[0], found.distances[-1]
    facts = {"files": [str(path) for path in files], "first": first, "last": last}
    line = f"distance {first:.4g} -> {last:.4g}: {', '.join(map(str, files))}"
    print(json.dumps(facts) if options.json else line)
    return 0
