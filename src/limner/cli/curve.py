"""`limner curve`: fidelity and diversity along the truncation."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from limner.api.early import check_features, check_metrics, check_model, check_there
from limner.cli import scores
from limner.cli.loading import load_model, warnings_as_lines
from limner.cli.parsing import Arg, parse
from limner.core.errors import LimnerError
from limner.core.outputs import named_after

if TYPE_CHECKING:
    from limner.api import Result
    from limner.api.curve import Curve

EXAMPLE = "limner curve runs/digits --truncations 0.25:2:0.25 --out curve/"


@dataclasses.dataclass(frozen=True)
class CurveCommand:
    """Scores along truncations: curve.csv, curve.png, and strip.png of the same seeds along them.

    With the scores comes the share of saturated pixels (beyond +-0.99).
    """

    model: Annotated[str, Arg("MODEL", positional=True)]
    """Run, RUN@best-fid, RUN@step-N, RUN:raw (weights without averaging), or a model folder."""

    data: Annotated[str | None, Arg("DATA")] = None
    """The real pictures: built-in name, prepared directory, or any source that train takes; by
    default those that the run learned from."""

    out: Annotated[Path | None, Arg("FOLDER")] = None
    """Folder of the three files. By default RUN-curve here."""

    truncations: Annotated[str, Arg("A:B:STEP")] = "0.05:1.0:0.05"
    """FIRST:LAST:STEP, the last included, or numbers: 0.04,0.5,1,2."""

    truncation_mode: Annotated[
        Literal["resample", "scale", "statistics", "w"] | None, Arg("MODE")
    ] = None
    """As in sample."""

    truncation_cutoff: Annotated[int | None, Arg(rare=True)] = None
    """In the mode w: of the styles of so many first layers only."""

    standing: Annotated[str | None, Arg("PASSES")] = None
    """Accumulate standing statistics for each point: PASSES or PASSESxBATCH, for example 16x64."""

    standing_at: float | None = None
    """Accumulate them once, at this truncation, for all points."""

    metrics: Annotated[str, Arg("A,B")] = "fid,is"
    """Names as in limner evaluate, but ppl."""

    num: int | None = None
    """Images a point; by default as many as there are pictures, at most 10,000."""

    features: scores.Features = None

    seed: int = 0
    """First seed of the latents, and seed of the choice of pictures."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print the points as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Measure and write; 0."""
    options = parse(CurveCommand, argv, "curve", EXAMPLE)
    out = options.out or named_after(options.model, "curve")
    if out.exists() and not out.is_dir():
        raise LimnerError(f"--out {out}: it is a file; give a folder")
    check_metrics(options.metrics)
    check_features(options.features)
    check_model(options.model)
    data = scores.data_or_own(options.data, options.model)
    check_there(data)

    from limner.api import StandingPlan, recipe_of
    from limner.api.curve import CurveOptions, parse_truncations, truncation_curve, write_curve
    from limner.cli.progress import Counter

    asked = CurveOptions(
        truncations=parse_truncations(options.truncations),
        truncation_mode=options.truncation_mode,
        truncation_cutoff=options.truncation_cutoff,
        metrics=scores.metric_names(options.metrics, options.module),
        num=options.num,
        features=options.features,
        seed=options.seed,
        standing=None if options.standing is None else StandingPlan.parse(options.standing),
        standing_at=options.standing_at,
    )
    model = load_model(options.model, options.device, options.module, "curve")
    recipe = recipe_of(options.model)
    with warnings_as_lines("curve"):
        with Counter("measuring", quiet=options.json, unit="truncations") as counter:
            curve = truncation_curve(model, data, asked, recipe, counter)
        paths: dict[str, Path] = {}
        try:
            paths = write_curve(curve, out, scores.title_of(options.model, data))
        finally:  # the points are told even where a file cannot be written
            _tell(options, curve, out, paths)
    return 0


def _tell(options: CurveCommand, curve: "Curve", out: Path, paths: dict[str, Path]) -> None:
    from limner.api.curve import figures

    lines = scores.say_notes(curve.first, "curve")
    if options.json:
        files = [str(path) for path in paths.values()]
        print(json.dumps({"points": curve.points, "files": files, "notes": lines}))
    else:
        _show(figures(curve), curve.first)
        if paths:
            print(f"{len(curve.points)} points: {out}")


def _show(columns: dict[str, list[float]], first: "list[Result]") -> None:
    from rich.console import Console
    from rich.table import Table

    from limner.api.tables import shown

    table, floors = Table(), {result.name: result.floor for result in first}
    for name in columns:
        table.add_column(name, justify="right")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*(shown(value) for value in row))
    table.add_section()
    cells = [shown(floors.get(name)) for name in columns]
    table.add_row("floor", *cells[1:])
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table, markup=False)
    scores.show_origins(console, first)
