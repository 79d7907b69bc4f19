"""`limner statistics`: batch norm statistics for truncations, stored in a model folder."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from limner.api.early import check_model
from limner.cli.loading import warnings_as_lines
from limner.cli.parsing import Arg, parse
from limner.core.config import load_module
from limner.core.outputs import named_after

EXAMPLE = "limner statistics runs/photos --truncations 0.02:1:0.02 --out photos-model"


@dataclasses.dataclass(frozen=True)
class StatisticsCommand:
    """Standing statistics: batch norm statistics averaged over passes in training mode.

    With --truncations a set for each is stored, from a normal cut at 2 times the truncation, for
    sample --truncation-mode statistics. Without, they replace the running statistics.
    """

    model: Annotated[str, Arg("MODEL", positional=True)]
    """Run, RUN@best-fid, RUN@step-N, RUN:raw (weights without averaging), or a model folder."""

    out: Annotated[Path | None, Arg("FOLDER")] = None
    """Model folder to write. By default RUN-statistics here."""

    truncations: Annotated[str | None, Arg("A:B:STEP")] = None
    """FIRST:LAST:STEP, the last included, or numbers: 0.04,0.5,1."""

    passes: int = 16
    """Passes to average, for each truncation."""

    batch_size: int = 64
    """Latents a pass."""

    seed: int = 0
    """Of latents and labels."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print what was written as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Accumulate and write; 0."""
    options = parse(StatisticsCommand, argv, "statistics", EXAMPLE)
    check_model(options.model)

    from limner.api import StandingPlan, store_statistics
    from limner.api.curve import parse_truncations

    truncations = parse_truncations(options.truncations) if options.truncations else []
    out = options.out or named_after(options.model, "statistics")
    plan = StandingPlan(options.passes, options.batch_size, options.seed)
    for name in options.module:
        load_module(name)
    with warnings_as_lines("statistics"):
        store_statistics(options.model, out, plan, truncations, options.device)
    facts = {"out": str(out), "truncations": truncations, "standing": str(plan)}
    sets = f"{len(truncations)} sets of statistics" if truncations else "standing statistics"
    print(json.dumps(facts) if options.json else f"{sets}: {out}")
    return 0
