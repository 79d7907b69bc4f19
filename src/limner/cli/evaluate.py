"""`limner evaluate`: score a model, or images made elsewhere, against pictures."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from limner.cli.loading import load_model, warnings_as_lines
from limner.cli.parsing import parse
from limner.cli.progress import Counter
from limner.core.config import encode
from limner.core.errors import LimnerError

if TYPE_CHECKING:
    from limner.data import PreparedData

EXAMPLE = "limner evaluate runs/digits --data digits --metrics fid,prdc --json"


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Score a model, or a folder or .npz of images as they are, against pictures.

    Each figure comes with its floor: the same figure for real pictures against other real ones.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL|DIR|NPZ")]
    """Run, RUN@best-fid, model folder; or images: a folder, FILE.npz, prepared directory."""

    data: str
    """The real pictures: built-in name, prepared directory, or any source that train takes."""

    metrics: str = "fid,kid,prdc"
    """Names from fid, kid, is, prdc, swd, msssim, accuracy, cas (the last two need classes)."""

    num: int | None = None
    """Images to score; by default as many as there are pictures, at most 10,000
    (of swd alone 16,384, of msssim alone 20,000), or all given."""

    features: str | None = None
    """Feature extractor: classifier, random-conv, or module:Class of your own."""

    seed: int = 0
    """First seed of the latents, and seed of the choice of pictures."""

    device: str = "auto"
    """auto, cpu, cuda or mps."""

    module: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Module or FILE.py with classes of your own that the model names; may be repeated."""

    json: bool = False
    """Print the results as one JSON object on stdout."""


def main(argv: Sequence[str]) -> int:
    """Score and show; 0."""
    options = parse(Evaluate, argv, "evaluate", EXAMPLE)
    names = [name.strip() for name in options.metrics.split(",") if name.strip()]
    if not names:
        raise LimnerError("--metrics is empty; give for example fid,prdc")
    if options.num is not None and options.num < 2:
        raise LimnerError(f"--num {options.num}: scores need at least 2 images")

    from limner.metrics import find_metric

    for name in names:
        find_metric(name)
    scored = _score_images if _is_pictures(options.model) else _score_model
    with warnings_as_lines("evaluate"):
        results = [encode(result) for result in scored(options, names)]
    _note_few(results)
    if options.json:
        print(json.dumps({"results": results}))
    else:
        show(options, results)
    return 0


def _note_few(results: list[dict[str, Any]]) -> None:
    from limner.metrics import find_metric

    for name in dict.fromkeys(result["metric"] for result in results):
        published = find_metric(name).num_published
        num = next(result["num"] for result in results if result["metric"] == name)
        if published is not None and num < published:
            print(
                f"limner evaluate: note: {name} of {num:,} images is larger than of the "
                f"{published:,} of published figures; compare equal numbers only",
                file=sys.stderr,
            )


def _is_pictures(spec: str) -> bool:
    """A folder or file that exists and is neither a run nor a model folder."""
    path = Path(spec).expanduser()
    return path.is_file() or (path.is_dir() and not (path / "config.json").is_file())


def _score_model(options: Evaluate, names: list[str]) -> list[Any]:
    from limner import api

    model = load_model(options.model, options.device, options.module, "evaluate")
    with Counter("preparing", quiet=options.json) as counter:
        return api.evaluate(
            model,
            options.data,
            names,
            options.num,
            options.features,
            options.seed,
            api.recipe_of(options.model),
            counter,
        )


def _score_images(options: Evaluate, names: list[str]) -> list[Any]:
    import torch

    from limner.cli.pictures import read_pictures
    from limner.data import open_alike
    from limner.metrics import evaluate_images

    with Counter("reading", quiet=options.json) as counter:
        pictures = read_pictures(options.model, options.num, counter)
    channels, height, width = pictures.image_shape
    # gray images may stand beside colored pictures, but no picture loses its color for them
    shape = (None if channels == 1 else channels, height, width)
    with Counter("preparing", quiet=options.json) as counter:
        data = open_alike(shape, "classes", options.data, None, counter)
    images = torch.from_numpy(pictures.images).permute(0, 3, 1, 2)
    if channels == 1:
        images = images.expand(-1, data.image_shape[0], -1, -1)
    labels = _labels_in(data, pictures.labels, pictures.class_names)
    given = None if labels is None else torch.tensor(labels)
    return evaluate_images(images, given, data, names, options.features, options.seed)


def _labels_in(
    data: "PreparedData", labels: list[int] | None, class_names: list[str]
) -> list[int] | None:
    """The images' labels as classes of the data: by name, else by number where the counts agree."""
    if labels is None or data.num_classes == 0:
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


def show(options: Evaluate, results: list[dict[str, Any]]) -> None:
    """The figures as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{options.model} against {options.data}", title_justify="left")
    table.add_column("score")
    for heading in ("value", "+-", "floor", "images"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            result["name"],
            _shown(result["value"]),
            _shown(result["std"]),
            _shown(result["floor"]),
            f"{result['num']:,}",
        )
    Console(width=None if sys.stdout.isatty() else 100).print(table, markup=False)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
