"""`limner export`: write a model or run in another program's files."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from limner.checkpoints.exporters import EXPORTERS
from limner.cli.parsing import parse
from limner.core.config import nearest
from limner.core.errors import LimnerError

EXAMPLE = "limner export runs/cifar --format biggan-pytorch --out weights/cifar"


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a model or run in the files of another program.

    Of a run biggan-pytorch writes the optimizers too, so that training can go on there.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """Run (RUN, RUN@best-fid, RUN@step-400), or model folder."""

    out: Path
    """Folder to write; files of the same names in it are replaced."""

    format: Annotated[
        str, tyro.conf.arg(help=f"The other program's files: {', '.join(EXPORTERS)}.")
    ] = "biggan-pytorch"

    json: bool = False
    """Print the result as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Export and name the files; 0."""
    options = parse(Export, argv, "export", EXAMPLE)
    if options.format not in EXPORTERS:
        raise LimnerError(
            f"no format '{options.format}'{nearest(options.format, EXPORTERS)}; "
            "see limner export --help"
        )
    from limner.api.importing import export

    files = [str(path) for path in export(options.model, options.format, options.out)]
    if options.json:
        print(json.dumps({"out": str(options.out), "format": options.format, "files": files}))
    else:
        print("\n".join(files))
    return 0
