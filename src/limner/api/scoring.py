"""Scores of a model against pictures, prepared as the model's own were."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from limner.api.notebooks import counter
from limner.checkpoints import RunDirectory
from limner.core import distributed
from limner.core.config import decode
from limner.core.counting import Progress
from limner.core.errors import ConfigError, LimnerError
from limner.core.images import to_uint8
from limner.core.protocols import z_dim_of
from limner.core.streams import stream
from limner.data import DataConfig, PreparedData, open_alike
from limner.data.report import MIXED_ASPECTS, changed
from limner.data.sources import Labels
from limner.sampling import (
    Model,
    StandingPlan,
    generate_batches,
    latents_from_seeds,
    load,
    standing_statistics,
)
from limner.sampling.generate import styles_of
from limner.sampling.looks import Look, has_styles
from limner.sampling.moving import can_move, moved_by

if TYPE_CHECKING:
    from limner.api.tables import Scores
    from limner.metrics import ImageStream
    from limner.metrics.arrays import ImageSet

SCORED = Look(noise="random")


def evaluation_sampler(
    generator: nn.Module,
    num_classes: int,
    standing: StandingPlan | None = None,
    label_rows: np.ndarray | None = None,
) -> Callable[[int, int], tuple["ImageStream", Tensor | None]]:
    """sample(num, seed) -> (images, labels or None), the classes in equal shares.

    The images are made when they are looked at, so memory does not grow with their number. With
    `standing` the generator has standing statistics of its own latents meanwhile. `label_rows` are
    the data's labels where those are rows of numbers [N, num_classes]: images are then made for
    rows drawn from them, and no labels are returned, as no image has one class. Noise of a style
    generator is random, as in its originals' scores, each image's that of its seed.
    """
    from limner.metrics import ImageStream

    def sample(num: int, seed: int) -> tuple[ImageStream, Tensor | None]:
        z_dim = z_dim_of(generator)
        y_all = _labels_of(num, num_classes, label_rows, seed)
        with distributed.alone():
            statistics = standing_statistics(generator, standing, num_classes) if standing else {}

        def made(z: Tensor, y: Tensor | None, seeds: Sequence[int]) -> Iterator[Tensor]:
            options = {"look": SCORED, "seeds": seeds, "statistics": statistics}
            yield from generate_batches(generator, z, y, **options)

        def chosen(y: Tensor | None) -> Tensor | None:
            if label_rows is None or y is None:
                return y
            return torch.from_numpy(label_rows[y.numpy()])

        def generate_floats(z: Tensor, y: Tensor | None, noise: Tensor) -> Tensor:
            seeds = (seed + noise).tolist()
            return torch.cat([images.cpu() for images in made(z, chosen(y), seeds)])

        def moved(z: Tensor, y: Tensor | None, noise: Tensor, there: Tensor) -> Tensor:
            with moved_by(generator, there):
                return generate_floats(z, y, noise)

        def styles(z: Tensor, y: Tensor | None) -> Tensor:
            return styles_of(generator, z, chosen(y))

        def part(begin: int, end: int) -> Tensor:
            seeds = range(seed + begin, seed + end)
            y = None if y_all is None else y_all[begin:end]
            images = made(latents_from_seeds(seeds, z_dim), y, seeds)
            return torch.cat([to_uint8(batch).cpu() for batch in images])

        channels, height, width = part(0, 1).shape[1:]
        shape = (channels, height, width)
        labels = y_all if label_rows is None else None
        # ways between latents are drawn with one row of the data each
        num_choices = num_classes if label_rows is None else len(label_rows)
        halves = styles if has_styles(generator) else None
        moving = moved if can_move(generator) else None
        paths = (generate_floats, z_dim, num_choices, halves, moving)
        return ImageStream(num, shape, part, *paths), labels

    return sample


def _labels_of(
    num: int, num_classes: int, label_rows: np.ndarray | None, seed: int
) -> Tensor | None:
    if label_rows is None:
        return torch.arange(num) % num_classes if num_classes else None
    places = torch.randint(len(label_rows), (num,), generator=stream("rows", seed))
    return torch.from_numpy(label_rows[places.numpy()])


def evaluate(
    model: "str | Path | Model",
    data: str | Path,
    metrics: Sequence[str] = ("fid", "kid", "prdc"),
    num: int | None = None,
    features: str | None = None,
    seed: int = 0,
    recipe: DataConfig | None = None,
    on_prepare: Progress | None = None,
) -> "Scores":
    """Score a model against pictures; see limner.metrics for what each name gives.

    Args:
        data: as for `train`; brought to the model's size where it is not prepared.
        metrics: names in limner.metrics.METRICS.
        num: generated images; by default as many as there are pictures, at most 10,000 (16,384
            for "swd" alone, 20,000 for "msssim" alone).
        features: extractor's name, or "module:Class" of your own; None takes the data's usual one.
        seed: first seed of the latents.
        recipe: how pictures are prepared; by default as for the training of a run, see `recipe_of`.
        on_prepare: called with (pictures prepared, their number or None).

    Returns:
        the results; with several processes on the first one, elsewhere an empty list.

    Examples:
        >>> scores = limner.evaluate("runs/digits", "digits", ["prdc"], 50, features="pixels")
        >>> [(result.name, result.num) for result in scores][:2]
        [('precision', 50), ('recall', 50)]
    """
    from limner.api.tables import Scores
    from limner.metrics import find_metric, make_evaluator, settings_of

    loaded = model if isinstance(model, Model) else load(model)
    if recipe is None and not isinstance(model, Model):
        recipe = recipe_of(model)
    prepared = data_for(loaded, data, recipe, on_prepare or counter("preparing"))
    found = {name: find_metric(name) for name in metrics}
    num, features = settings_of(found, num, features)
    usual = min((metric.num_usual for metric in found.values()), default=10_000)
    num = min(len(prepared), usual) if num is None else num
    evaluator = make_evaluator(prepared, list(metrics), num, features, seed, loaded.device)
    sample, count = sampler_for(loaded, prepared), counter("scoring")

    def counted_sample(num: int, seed: int) -> tuple["ImageStream", Tensor | None]:
        images, labels = sample(num, seed)
        return counted(images, count), labels

    return Scores(evaluator(counted_sample))


def counted(images: "ImageStream", progress: Progress) -> "ImageStream":
    """The same images; the progress follows them."""

    def part(begin: int, end: int) -> Tensor:
        made = images.part(begin, end)
        progress(end, images.num)
        return made

    return replace(images, part=part)


def data_for(
    model: Model,
    data: str | Path,
    recipe: DataConfig | None = None,
    on_prepare: Progress | None = None,
) -> PreparedData:
    """`pictures_for` a model; a warning where their classes are not the model's."""
    labels = "classes" if model.num_classes else "none"
    prepared = pictures_for(model.image_shape, labels, data, recipe, on_prepare)
    if prepared.num_classes not in (0, model.num_classes):
        warnings.warn(
            f"the model has {model.num_classes} classes, the data {prepared.num_classes}; "
            "labels are not used",
            stacklevel=2,
        )
    return prepared


def sampler_for(
    model: Model, data: "ImageSet", standing: StandingPlan | None = None
) -> Callable[[int, int], tuple["ImageStream", Tensor | None]]:
    """`evaluation_sampler` of a model beside data; without labels where its classes are not those
    of the data."""
    same = model.num_classes == data.num_classes
    rows = data.label_rows if same and isinstance(data, PreparedData) else None
    sample = evaluation_sampler(model.generator, model.num_classes, standing, rows)

    def without_labels(num: int, seed: int) -> tuple["ImageStream", Tensor | None]:
        return sample(num, seed)[0], None

    return sample if same else without_labels


def pictures_for(
    image_shape: tuple[int | None, int, int],
    labels: Labels,
    data: str | Path,
    recipe: DataConfig | None = None,
    on_prepare: Progress | None = None,
) -> PreparedData:
    """Pictures to score images of a shape (C, H, W) against; C None takes the data's.

    A warning where some were enlarged though no recipe (what a model was trained on) asks for it.

    Raises:
        LimnerError: a run or a model, one picture alone, or see `open_alike`.
    """
    place = Path(data).expanduser()
    if (place / "checkpoints").is_dir() or (place / "model.safetensors").is_file():
        raise LimnerError(
            f"{data}: a run or a model, and scores need pictures; draw its own by "
            f"limner sample {data} --num 10000 --out samples.npz, and give that file"
        )
    prepared = open_alike(image_shape, labels, data, recipe, on_prepare)
    if len(prepared) < 2:
        raise LimnerError(f"{data}: 1 picture; scores need at least 2")
    side = min(image_shape[1:])
    smallest = min(prepared.info["sizes"]["smallest"] or image_shape[1:])
    if recipe is None and smallest < side:
        warnings.warn(
            f"{data}: pictures from {smallest} pixels a side on were enlarged to {side}, "
            "so images are compared with blurred ones",
            stacklevel=2,
        )
    for message in changed(prepared) if recipe is None else ():
        warnings.warn(f"{data}: {message}", stacklevel=2)
    aspect = image_shape[2] / image_shape[1]
    narrow, wide = prepared.info["sizes"]["aspects"] or (aspect, aspect)
    if recipe is None and aspect != 1 and max(wide / aspect, aspect / narrow) > MIXED_ASPECTS:
        warnings.warn(
            f"{data}: pictures are cut to the images' {image_shape[1]}x{image_shape[2]}; scores "
            "say most of pictures of one shape",
            stacklevel=2,
        )
    return prepared


def recipe_of(spec: str | Path) -> DataConfig | None:
    """How a run ("RUN", "RUN@best-fid", "RUN:raw") had its pictures prepared; None for others."""
    plain = _config_of(spec)
    if "data" not in plain:
        return None
    try:
        return decode(DataConfig, {**plain["data"], "source": None})
    except ConfigError as error:
        raise ConfigError(f"{_run_of(spec).config}: data.{error}") from None


def standing_of(spec: str | Path) -> StandingPlan | None:
    """How a run accumulates standing statistics for its own scores; None where it does not."""
    passes = _config_of(spec).get("standing_passes")
    if not passes:
        return None
    return StandingPlan(passes, max(_config_of(spec, "batch_size")["batch_size"], 2))


def _run_of(spec: str | Path) -> RunDirectory:
    path = str(spec) if Path(spec).is_dir() else str(spec).removesuffix(":raw").partition("@")[0]
    return RunDirectory(path)


def _config_of(spec: str | Path, *needs: str) -> dict[str, Any]:
    run = _run_of(spec)
    return run.read_config(*needs) if run.exists() else {}
