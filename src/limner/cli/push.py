"""`limner push`: a model and its card to the Hugging Face hub."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated

from limner.api.early import check_model
from limner.api.pushing import check_repository, push
from limner.cli.parsing import Arg, parse

EXAMPLE = "limner push runs/digits ann/digits --license cc-by-4.0"


@dataclasses.dataclass(frozen=True)
class Push:
    """Write a model folder with its card (README.md, sheet.png) to the Hugging Face hub, as one
    commit; hf:USER/NAME then stands wherever MODEL does. `hf auth login` or $HF_TOKEN says who you
    are."""

    model: Annotated[str, Arg("MODEL", positional=True)]
    """Run, RUN@best-fid, RUN@step-N, or a model folder."""

    repository: Annotated[str, Arg("USER/NAME", positional=True)]
    """Repository on the hub; it is made where there is none."""

    license: Annotated[str | None, Arg("NAME")] = None
    """Licence of the model as the hub names it, for example cc-by-4.0; the card says it."""

    private: bool = False
    """A repository that is made is seen by you alone."""

    json: bool = False
    """Print the result as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Push, and say the name, the commit and the sha256; 0."""
    options = parse(Push, argv, "push", EXAMPLE)
    check_repository(options.repository)
    check_model(options.model)
    pushed = push(options.model, options.repository, options.license, options.private)
    if options.json:
        print(json.dumps(dataclasses.asdict(pushed)))
    else:
        print(f"{pushed.name}\nsha256 of its weights: {pushed.sha256}\n{pushed.address}")
    return 0
