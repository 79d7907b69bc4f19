"""`limner evaluate`: score a model, or images made elsewhere, against pictures."""

import dataclasses
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from limner.cli import scores
from limner.cli.loading import load_model, warnings_as_lines
from limner.cli.parsing import parse
from limner.cli.progress import Counter
from limner.core.errors import CheckpointError, LimnerError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.api import DataConfig, ImageStream, Model, PreparedData, Result
    from limner.api.judging import Asked, Judge

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
    """Names from fid, kid, is, prdc, swd, msssim, ppl, modes, modes-kl, and, for classes, accuracy,
    cas, cas-network, intra-fid; or module:Class of your own (docs/scores.md)."""

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


@dataclasses.dataclass
class Outcome:
    """What an evaluation leaves: results by step (0 where there are no steps), files, facts."""

    by_step: "dict[int, list[Result]]" = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


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
        if is_first:
            _tell(options, outcome)
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


def _outcome(options: Evaluate, asked: "Asked", quiet: bool) -> Outcome:
    if options.model is None:
        judge, outcome = _judge_of_data(options, asked), Outcome()
    elif _is_pictures(options.model):
        judge, outcome = _score_images(options, asked, quiet)
    else:
        judge, outcome = _score_models(options, asked, quiet)
    if options.write_statistics is not None:
        outcome.facts["statistics"] = judge.write_statistics(options.write_statistics)
    return outcome


def _judge_of_data(options: Evaluate, asked: "Asked") -> "Judge":
    from limner.api import PreparedData, is_prepared
    from limner.api.judging import Judge

    assert options.data is not None
    if not is_prepared(Path(options.data)):
        raise LimnerError(
            f"{options.data}: no prepared directory, and without a model no size to prepare it in; "
            "run limner data prepare first"
        )
    data = PreparedData(options.data)
    if len(data) < 2:
        raise LimnerError(f"{options.data}: 1 picture; a covariance needs at least 2")
    return Judge(data, dataclasses.replace(asked, metrics=()), data.image_shape)


def _score_models(options: Evaluate, asked: "Asked", quiet: bool) -> "tuple[Judge, Outcome]":
    from limner import api
    from limner.api.judging import Judge, checkpoints_of
    from limner.api.scoring import standing_of

    assert options.model is not None
    own = standing_of(options.model)
    if own is not None and asked.standing != own:
        warnings.warn(
            f"the run's own scores were taken with standing statistics; --standing {own} takes "
            "these as they were",
            stacklevel=2,
        )
    specs = checkpoints_of(options.model) if options.all else {0: options.model}
    judge, images, outcome = None, None, Outcome()
    for step, spec in specs.items():
        try:
            model = load_model(spec, options.device, options.module, "evaluate")
        except CheckpointError as error:
            if not options.all or (judge is None and step == max(specs)):
                raise
            warnings.warn(f"{error}; it is left out", stacklevel=2)
            continue
        if judge is None:
            recipe = api.recipe_of(options.model)
            with Counter("preparing", quiet=quiet) as counter:
                data = _data_for(options, model, recipe, counter)
            judge = Judge(data, asked, model.image_shape)
        images, labels = judge.stream_of(model)
        with Counter("scoring", quiet=quiet) as counter:
            outcome.by_step[step] = judge.score(counted(images, counter), labels)
    assert judge is not None
    assert images is not None
    if options.neighbours is not None:
        _write_neighbours(options.neighbours, judge, images, outcome)
    return judge, outcome


def _data_for(
    options: Evaluate, model: "Model", recipe: "DataConfig | None", counter: Counter
) -> "PreparedData | None":
    from limner.api.scoring import data_for

    return None if options.data is None else data_for(model, options.data, recipe, counter)


def counted(images: "ImageStream", counter: Counter) -> "ImageStream":
    """The same images; the counter follows them."""

    def part(begin: int, end: int) -> "Tensor":
        made = images.part(begin, end)
        counter(end, images.num)
        return made

    return dataclasses.replace(images, part=part)


def _score_images(options: Evaluate, asked: "Asked", quiet: bool) -> "tuple[Judge, Outcome]":
    import torch

    from limner.api import ImageStream
    from limner.api.judging import Judge
    from limner.api.pictures import read_pictures
    from limner.api.scoring import pictures_for

    assert options.model is not None
    if options.all:
        raise LimnerError(f"{options.model}: --all takes a run directory, and these are images")
    if options.standing is not None:
        raise LimnerError(f"{options.model}: --standing takes a model, and these are images")
    with Counter("reading", quiet=quiet) as counter:
        pictures = read_pictures(options.model, options.num, counter)
    if len(pictures.images) < 2:
        raise LimnerError(f"{options.model}: 1 image; scores need at least 2")
    channels, height, width = pictures.image_shape
    data = None
    if options.data is not None:
        # gray images may stand beside colored pictures, but no picture loses its color for them
        shape = (None if channels == 1 else channels, height, width)
        with Counter("preparing", quiet=quiet) as counter:
            data = pictures_for(shape, "classes", options.data, None, counter)
    wanted = channels if data is None else data.image_shape[0]

    def part(begin: int, end: int) -> torch.Tensor:
        images = torch.tensor(pictures.images[begin:end]).permute(0, 3, 1, 2)
        return images.expand(-1, wanted, -1, -1) if channels == 1 else images

    images = ImageStream(len(pictures.images), (wanted, height, width), part)
    labels = None if data is None else _labels_in(data, pictures.labels, pictures.class_names)
    judge = Judge(data, asked, images.image_shape)
    given = None if labels is None else torch.tensor(labels)
    outcome = Outcome({0: judge.score(images, given)})
    if options.neighbours is not None:
        _write_neighbours(options.neighbours, judge, images, outcome)
    return judge, outcome


def _write_neighbours(path: Path, judge: "Judge", images: "ImageStream", outcome: Outcome) -> None:
    from limner.api import save_png
    from limner.core import distributed

    if distributed.rank() != 0:
        return
    with distributed.alone():
        picture, facts = judge.neighbours(images)
    save_png(picture, path, {"Software": "limner", "features": judge.reference.extractor.name})
    outcome.facts["neighbours"] = {"file": str(path), **facts}


def _is_pictures(spec: str) -> bool:
    """A folder or file that exists and is neither a run nor a model folder."""
    path = Path(spec).expanduser()
    return path.is_file() or (path.is_dir() and not (path / "config.json").is_file())


def _labels_in(
    data: "PreparedData", labels: list[int] | None, class_names: list[str]
) -> list[int] | None:
    """The images' labels as classes of the data: by name, else by number where the counts agree."""
    if labels is None or data.num_classes == 0 or data.label_rows is not None:
        return None
    if set(class_names) <= set(data.class_names):
        return [data.class_names.index(class_names[label]) for label in labels]
    if len(class_names) == data.num_classes or (
        class_names == [str(i) for i in range(len(class_names))]
        and len(class_names) <= data.num_classes
    ):
        return labels
    print(
        "limner evaluate: warning: the images' classes are not those of the data "
        f"({', '.join(class_names[:3])} ... and {', '.join(data.class_names[:3])} ...); "
        "their labels are not used",
        file=sys.stderr,
    )
    return None


def _tell(options: Evaluate, outcome: Outcome) -> None:
    """Lines on stderr, files, and the table or the JSON."""
    results = outcome.by_step.get(max(outcome.by_step, default=0), [])
    lines = scores.say_notes(results, "evaluate")
    title = f"{options.model} against {options.data or options.statistics}"
    if options.plot is not None and outcome.by_step:
        scores.write_plot(options.plot, outcome.by_step, title)
        outcome.facts["plot"] = str(options.plot)
    if options.json:
        print(json.dumps(scores.as_json(outcome.by_step, options.all, lines) | outcome.facts))
    else:
        scores.show(outcome.by_step, options.all, title)
        for name, fact in outcome.facts.items():
            print(_words(name, fact))


def _words(name: str, fact: Any) -> str:
    """A line about a file that was written."""
    if name == "statistics":
        return f"{fact['file']}: mu and sigma of {fact['num']:,} pictures by {fact['extractor']}"
    return fact if isinstance(fact, str) else fact["file"]
