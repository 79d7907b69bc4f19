"""`limner evaluate`: score a model, or images made elsewhere, against pictures."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from limner.cli import scores
from limner.cli.loading import warnings_as_lines
from limner.cli.parsing import parse
from limner.cli.progress import Counter
from limner.core.errors import LimnerError

if TYPE_CHECKING:
    from limner.api.judging import Asked, Outcome

EXAMPLE = "limner evaluate runs/digits --data digits --metrics fid,prdc --json"


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a model, all checkpoints of a run, or a folder or .npz of images, against pictures.

    Each figure comes with its floor: the same figure for real pictures against other real ones.
    Under torchrun the processes share the work.
    """

    model: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="MODEL|DIR|NPZ")] = (
        None
    )
    """Run, RUN@best-fid, model folder; or images: a folder, zip, FILE.npz, prepared directory.
    Left out only where --write-statistics is all that is asked for."""

    data: str | None = None
    """The real pictures: built-in name, prepared directory, or any source that train takes."""

    metrics: str = "fid,kid,prdc"
    """Names from fid, kid, is, prdc, copies, swd, msssim, ppl, modes, modes-kl, and, for classes,
    accuracy, cas, cas-network, intra-fid; or module:Class of your own (docs/scores.md)."""

    num: int | None = None
    """Images to score; by default as many as there are pictures, at most 10,000
    (of swd alone 16,384, of msssim alone 20,000), or all given."""

    features: scores.Features = None

    seed: int = 0
    """First seed of the latents, and seed of the choice of pictures."""

    standing: str | None = None
    """Accumulate standing statistics of the model first: PASSES or PASSESxBATCH."""

    all: bool = False
    """Score every checkpoint of the run, and say which is best."""

    statistics: Path | None = None
    """FILE.npz of mu and sigma in the place of the pictures, for fid; then --data is not needed."""

    write_statistics: Path | None = None
    """Write mu and sigma of the pictures' features to FILE.npz, as other programs read them."""

    neighbours: Path | None = None
    """Write FILE.png: generated images, each with the pictures that are nearest by features."""

    plot: Path | None = None
    """Write FILE.png: figures beside their floors, or with --all along the steps."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    module: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Module or FILE.py with classes of your own that model or scores name; may be repeated."""

    json: bool = False
    """Print the results as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Score and show; 0."""
    options = parse(Evaluate, argv, "evaluate", EXAMPLE)
    if options.data is None and options.statistics is None:
        print(
            "limner evaluate: give real pictures to compare with: --data, or their --statistics",
            file=sys.stderr,
        )
        return 2
    names = _checked(options)

    from limner.api import StandingPlan
    from limner.api.judging import Asked
    from limner.core import distributed

    standing = None if options.standing is None else StandingPlan.parse(options.standing)
    device = distributed.local_device(options.device)
    asked = Asked(
        names,
        options.num,
        options.features,
        options.seed,
        options.statistics,
        standing,
        device,
    )
    distributed.start(device.type)
    try:
        is_first = distributed.rank() == 0
        with warnings_as_lines("evaluate"):
            outcome = _outcome(options, asked, quiet=options.json or not is_first)
            facts: dict[str, Any] = {}
            try:
                _write_files(options, outcome, facts)
            finally:  # the scores are told even where a file cannot be written
                if is_first:
                    _tell(options, outcome, facts)
        distributed.barrier()
    finally:
        distributed.stop()
    return 0


def _checked(options: Evaluate) -> list[str]:
    """The metrics' names; what cannot be right is refused before anything is loaded."""
    if options.num is not None and options.num < 2:
        raise LimnerError(f"--num {options.num}: scores need at least 2 images")
    if options.model is None and (options.write_statistics is None or options.data is None):
        raise LimnerError(
            "name a model or images to score; without any, --data and --write-statistics"
        )
    if options.all and (options.model is None or "@" in options.model or ":" in options.model):
        raise LimnerError("--all takes a run directory, and scores each of its checkpoints")
    for name, path, suffix in (
        ("--neighbours", options.neighbours, ".png"),
        ("--plot", options.plot, ".png"),
        ("--write-statistics", options.write_statistics, ".npz"),
    ):
        if path is not None and path.suffix.lower() != suffix:
            raise LimnerError(f"{name} {path}: give FILE{suffix}")
    return scores.metric_names(options.metrics, options.module)


def _outcome(options: Evaluate, asked: "Asked", quiet: bool) -> "Outcome":
    from limner.api.judging import Outcome, judge_of_data, score_images, score_models

    def stage(verb: str) -> Counter:
        return Counter(verb, quiet=quiet)

    model = options.model
    if model is None:
        assert options.data is not None
        return Outcome(judge_of_data(options.data, asked))
    if not _is_pictures(model):
        return score_models(model, options.data, asked, options.all, stage)
    if options.all:
        raise LimnerError(f"{model}: --all takes a run directory, and these are images")
    if options.standing is not None:
        raise LimnerError(f"{model}: --standing takes a model, and these are images")
    return score_images(model, options.data, asked, stage)


def _write_files(options: Evaluate, outcome: "Outcome", facts: dict[str, Any]) -> None:
    """Put what was written into the facts; all processes call it, the first one writes."""
    from limner.core import distributed

    if options.neighbours is not None and outcome.images is not None:
        facts["neighbours"] = outcome.judge.write_neighbours(outcome.images, options.neighbours)
    if options.write_statistics is not None:
        facts["statistics"] = outcome.judge.write_statistics(options.write_statistics)
    if options.plot is not None and outcome.by_step and distributed.rank() == 0:
        scores.write_plot(options.plot, outcome.by_step, _title(options))
        facts["plot"] = str(options.plot)


def _is_pictures(spec: str) -> bool:
    """A folder or file that exists and is neither a run nor a model folder."""
    path = Path(spec).expanduser()
    return path.is_file() or (path.is_dir() and not (path / "config.json").is_file())


def _title(options: Evaluate) -> str:
    return f"{options.model} against {options.data or options.statistics}"


def _tell(options: Evaluate, outcome: "Outcome", facts: dict[str, Any]) -> None:
    """Notes on stderr, and the table or the JSON."""
    by_step, left_out = outcome.by_step, outcome.judge.left_out
    newest = by_step.get(max(by_step, default=0), [])
    lines = scores.say_notes(newest, "evaluate", left_out)
    if options.json:
        told = [{"metric": metric, "reason": line} for line, metric in left_out.items()]
        print(json.dumps(scores.as_json(by_step, options.all, lines) | {"left_out": told} | facts))
    else:
        scores.show(by_step, options.all, _title(options))
        for name, fact in facts.items():
            print(_words(name, fact))


def _words(name: str, fact: Any) -> str:
    """A line about a file that was written."""
    if name == "statistics":
        return f"{fact['file']}: mu and sigma of {fact['num']:,} pictures by {fact['extractor']}"
    return fact if isinstance(fact, str) else fact["file"]
