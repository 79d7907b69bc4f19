"""`limner evaluate`: score a model, or images made elsewhere, against pictures."""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from limner.api.early import check_features, check_metrics, check_model, check_there
from limner.cli import scores
from limner.cli.loading import warnings_as_lines
from limner.cli.parsing import Arg, parse
from limner.core.errors import LimnerError
from limner.core.outputs import check_still

if TYPE_CHECKING:
    from limner.api.judging import Asked, Outcome

EXAMPLE = "limner evaluate runs/digits --metrics fid,prdc --json"


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a model, all checkpoints of a run, or a folder or .npz of images, against pictures.

    Each figure comes with its floor: the same figure for real pictures against other real ones.
    Under torchrun the processes share the work.
    """

    model: Annotated[str | None, Arg("MODEL|DIR|NPZ", positional=True)] = None
    """Run, RUN@best-fid, model folder; or images: a folder, zip, FILE.npz, prepared directory.
    Left out only where --write-statistics is all that is asked for."""

    data: Annotated[str | None, Arg("DATA")] = None
    """The real pictures: built-in name, prepared directory, or any source that train takes; by
    default those that the run learned from."""

    metrics: Annotated[str, Arg("A,B")] = "fid,kid,prdc"
    """Names from fid, kid, is, prdc, copies, swd, msssim, ppl, eq, modes, modes-kl, and, for
    classes, accuracy, cas, cas-network, intra-fid; a protocol: fid50k-full, kid50k, is50k,
    pr50k3-full, ppl2-wend, ...; or module:Class of your own (docs/scores.md)."""

    num: int | None = None
    """Images to score; by default as many as there are pictures, at most 10,000
    (of swd alone 16,384, of msssim alone 20,000), or all given."""

    features: scores.Features = None

    seed: int = 0
    """First seed of the latents, and seed of the choice of pictures."""

    standing: Annotated[str | None, Arg("PASSES")] = None
    """Accumulate standing statistics of the model first: PASSES or PASSESxBATCH."""

    all: bool = False
    """Score every checkpoint of the run, and say which is best."""

    statistics: Annotated[Path | None, Arg("FILE")] = None
    """FILE.npz of mu and sigma in the place of the pictures, for fid; then --data is not needed."""

    write_statistics: Annotated[Path | None, Arg("FILE")] = None
    """Write mu and sigma of the pictures' features to FILE.npz, as other programs read them."""

    neighbours: Annotated[Path | None, Arg("FILE")] = None
    """Write FILE.png, .jpg or .webp: generated images, each with the pictures nearest by
    features."""

    plot: Annotated[Path | None, Arg("FILE")] = None
    """Write FILE.png, .jpg or .webp: figures beside their floors, or with --all along the steps."""

    device: Annotated[str, Arg("DEVICE")] = "auto"
    """auto, cpu, cuda or mps."""

    module: Annotated[tuple[str, ...], Arg("MODULE", rare=True)] = ()
    """Module or FILE.py with classes of your own that model or scores name; may be repeated."""

    json: bool = False
    """Print the results as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Score and show; 0."""
    options = parse(Evaluate, argv, "evaluate", EXAMPLE)
    place = None
    if options.model is not None and not _is_pictures(options.model):
        place = check_model(options.model)
    if options.data is None and options.statistics is None and options.model is not None:
        own = scores.data_or_own(None, options.model)
        options = dataclasses.replace(options, data=own)
    _check(options)

    from limner.api import StandingPlan
    from limner.api.judging import Asked
    from limner.core import distributed

    names = _names(options, None if place is None else place.classes()[0])
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


def _check(options: Evaluate) -> None:
    """Refuse what cannot be right before torch is imported, and anything loaded."""
    if options.num is not None and options.num < 2:
        raise LimnerError(f"--num {options.num}: scores need at least 2 images")
    if options.model is None and (options.write_statistics is None or options.data is None):
        raise LimnerError(
            "name a model or images to score; without any, --data and --write-statistics"
        )
    if options.all and (options.model is None or "@" in options.model or ":" in options.model):
        raise LimnerError("--all takes a run directory, and scores each of its checkpoints")
    check_still("--neighbours", options.neighbours)
    check_still("--plot", options.plot)
    written = options.write_statistics
    if written is not None and written.suffix.lower() != ".npz":
        raise LimnerError(f"--write-statistics {written}: give FILE.npz")
    check_metrics(options.metrics)
    check_features(options.features)
    if options.data is not None:
        check_there(options.data)


def _names(options: Evaluate, model_classes: int | None) -> list[str]:
    """The metrics, without those that need classes where there are none."""
    from limner.api.labels import with_classes

    def tell(line: str) -> None:
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"limner evaluate: note: {line}", file=sys.stderr)

    asked = scores.metric_names(options.metrics, options.module)
    names = with_classes(asked, options.data, None, model_classes, tell)
    if asked and not names:
        raise LimnerError(f"--metrics {options.metrics}: none can be had; give others, such as fid")
    return names


def _outcome(options: Evaluate, asked: "Asked", quiet: bool) -> "Outcome":
    from limner.api.judging import Outcome, judge_of_data, score_images, score_models
    from limner.cli.progress import Counter

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
    return scores.title_of(str(options.model), options.data or options.statistics)


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
