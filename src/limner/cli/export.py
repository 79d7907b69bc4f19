"""`limner export`: write a model or run in another program's files."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from limner.api.early import check_files
from limner.api.exporting import EXPORTERS, export
from limner.cli.parsing import Arg, parse
from limner.core.outputs import named_after

EXAMPLE = "limner export runs/cifar --format biggan-pytorch --out weights/cifar"


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a model or run in the files of another program.

    Of a run the optimizers are written too, where that program's files have them, so that training
    can go on there.
    """

    model: Annotated[str, Arg("MODEL", positional=True)]
    """Run (RUN, RUN@best-fid, RUN@step-400), or model folder."""

    out: Annotated[Path | None, Arg("FOLDER")] = None
    """Folder to write; files of the same names in it are replaced. By default RUN-FORMAT here."""

    format: Annotated[
        str,
        Arg(
            "FORMAT",
            help=f"The other program's files: {', '.join(EXPORTERS)}; or an exporter of your own, "
            "FILE.py:CLASS or MODULE:CLASS.",
        ),
    ] = next(iter(EXPORTERS))

    runtime: Annotated[Path | None, Arg("DIR|TGZ")] = None
    """Of the format web: a folder or .tgz of npm's onnxruntime-web; without it `npm pack` fetches
    it once."""

    json: bool = False
    """Print the result as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Export and name the files; 0."""
    options = parse(Export, argv, "export", EXAMPLE)
    out = options.out or named_after(options.model, options.format.rpartition(":")[2])
    check_files(runtime=options.runtime)
    settings = {} if options.runtime is None else {"runtime": str(options.runtime)}
    files = [str(path) for path in export(options.model, options.format, out, settings)]
    if options.json:
        print(json.dumps({"out": str(out), "format": options.format, "files": files}))
    else:
        print("\n".join(files))
        if options.format == "web":
            print(f"to see it: python -m http.server -d {out}, then http://localhost:8000")
    return 0
