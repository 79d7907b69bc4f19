"""Several models or sets of pictures against one reference; its statistics, and what is near."""

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner.api.pictures import Pictures, read_pictures
from limner.api.scoring import counted, data_for, pictures_for, recipe_of, sampler_for, standing_of
from limner.checkpoints import RunDirectory, list_states
from limner.core import distributed
from limner.core.config import encode
from limner.core.counting import Progress
from limner.core.errors import CheckpointError, LimnerError
from limner.data import PreparedData
from limner.data.opening import standing
from limner.metrics import (
    Distribution,
    Gaussian,
    ImageStream,
    Reference,
    Result,
    Side,
    check_metrics,
    features_id,
    find_metric,
    nearest_rows,
    num_reals,
    read_moments,
    score,
    settings_of,
    write_moments,
)
from limner.metrics.arrays import ArrayData, ImageSet
from limner.metrics.features.base import CPU, images_at
from limner.metrics.needs import settled
from limner.metrics.streams import Wanted, read
from limner.sampling import Model, StandingPlan, load, save_png, sheet

Stage = Callable[[str], AbstractContextManager[Progress]]  # of "preparing", say: its counter

NUM_SHOWN, NUM_NEIGHBOURS = 12, 7
NUM_PROBED = 1000  # real images whose own nearest neighbours say what is near


@dataclass(frozen=True)
class Asked:
    """What is measured and how; metrics, num and features as for `evaluate`.

    Attributes:
        seed: first seed of the latents, and of the choice of real images.
        statistics: an .npz of mu and sigma in the place of the real images, where that is enough.
        standing: standing statistics that models accumulate before.
        device: where models and pretrained features compute.
    """

    metrics: Sequence[str]
    num: int | None = None
    features: str | None = None
    seed: int = 0
    statistics: str | Path | None = None
    standing: StandingPlan | None = None
    device: torch.device = CPU


class Judge:
    """One reference, before which model after model is scored.

    Attributes:
        metrics: those asked for that the data can have.
        left_out: a line about each that could not be had, or has no floor -> its name, or several.
    """

    def __init__(self, data: PreparedData | None, asked: Asked, image_shape: tuple[int, int, int]):
        """Check the metrics; real images are read when they are first needed.

        Args:
            data: None where the statistics alone are compared with.
            image_shape: of the generated images.

        Raises:
            LimnerError: neither data nor statistics, or no metric that they suffice for.
        """
        if data is None and asked.statistics is None:
            raise LimnerError("give real pictures: --data, or their --statistics")
        found = {name: find_metric(name) for name in asked.metrics}
        num, features = settings_of(found, asked.num, asked.features)
        asked = replace(asked, num=num, features=features)
        self.asked = asked
        self.left_out: dict[str, str] = {}
        real: ImageSet = no_images(image_shape) if data is None else data
        reasons: dict[str, str] = {}
        for name, metric in found.items():
            if data is None and not (metric.takes_moments or metric.alone):
                reasons[name] = f"metric '{name}' needs real pictures: give --data, too"
        possible = settled(asked.metrics, reasons, self._tell)
        self.metrics = check_metrics(possible, real, asked.features, self._tell)
        given = None if asked.statistics is None else read_moments(asked.statistics)
        self.reference = Reference(
            *(real, asked.features, asked.seed),
            moments=given,
            device=asked.device,
            most=num_reals(found),
        )

    def _tell(self, metrics: str, line: str) -> None:
        self.left_out[line] = metrics

    @property
    def num(self) -> int:
        """Generated images."""
        if self.asked.num is not None:
            return self.asked.num
        usual = min((find_metric(name).num_usual for name in self.metrics), default=10_000)
        return min(len(self.reference) or usual, usual)

    def stream_of(self, model: Model) -> tuple[ImageStream, Tensor | None]:
        """A model's images and labels, made as they are looked at."""
        sample = sampler_for(model, self.reference.real, self.asked.standing)
        return sample(self.num, self.asked.seed)

    def score(self, images: Tensor | ImageStream, labels: Tensor | None) -> list[Result]:
        """See `limner.metrics.score`; what it tells goes to `left_out`."""
        return score(self.reference, images, labels, self.metrics, self._tell)

    def write_statistics(self, path: str | Path) -> dict[str, Any]:
        """Mean and covariance of the features of all real images, as an .npz of mu and sigma, and
        its facts; all processes call it, and the first one writes."""
        reference = self.reference
        extractor = reference.extractor
        features = features_id(extractor.name, extractor.weights_sha256)
        holds_all = len(reference) == len(reference.real)
        of_all = None if holds_all else _gaussian_of_all(reference)
        if distributed.rank() == 0:
            write_moments(path, reference.gaussian if of_all is None else of_all, features)
        return {
            "file": str(path),
            "extractor": extractor.name,
            "weights_sha256": extractor.weights_sha256,
            "num": len(reference.real),
            "data_sha256": reference.real.sha256,
        }

    def neighbours(
        self, images: Tensor | ImageStream, num: int = NUM_SHOWN, k: int = NUM_NEIGHBOURS
    ) -> tuple[Image.Image, dict[str, Any]]:
        """A sheet of generated images, each with the real ones that are nearest by features; the
        distances, and their unit.

        Under each stands its distance in units of the usual one: the median distance of a real
        image to the nearest other real image. Copies are near 0, and look it; what is not copied
        is near 1 or beyond.
        """
        reference = self.reference
        if len(reference) < 2:
            raise LimnerError("nearest real images: give real pictures, --data, at least 2")
        num = min(num, len(images))
        places = [i * len(images) // num for i in range(num)]
        one = images.part if isinstance(images, ImageStream) else lambda b, e: images[b:e]
        shown = torch.cat([one(place, place + 1) for place in places])
        k = min(k, len(reference))
        distances, found = nearest_rows(reference.extractor.features(shown), reference.features, k)
        probed = reference.features[:NUM_PROBED]
        own, _ = nearest_rows(probed, reference.features, 2)
        unit = float(own[:, 1].median())
        near = images_at(reference.real, reference.order[found.flatten()])
        rows = torch.cat([shown[:, None], near.view(len(shown), k, *near.shape[1:])], dim=1)
        shares = (distances / max(unit, 1e-12)).tolist()
        texts = [["", *(f"{share:.2f}" for share in row)] for row in shares]
        picture = sheet(
            rows.flatten(0, 1).permute(0, 2, 3, 1).numpy(),
            columns=k + 1,
            labels=[text for row in texts for text in row],
            headings=["made", *(f"real {i + 1}" for i in range(k))],
        )
        return picture, {"unit": unit, "distances": shares, "places": places}

    def write_neighbours(self, images: Tensor | ImageStream, path: Path) -> dict[str, Any]:
        """The sheet of `neighbours` as a PNG, and its facts; all processes call it, the first one
        writes and has the facts."""
        if distributed.rank() != 0:
            return {}
        with distributed.alone():
            picture, facts = self.neighbours(images)
        save_png(picture, path, {"Software": "limner", "features": self.reference.extractor.name})
        return {"file": str(path), **facts}


def _gaussian_of_all(reference: Reference) -> Gaussian:
    """Moments of all real images, where they are more than scores look at; by all processes."""
    real = reference.real
    every = ImageStream(
        len(real), real.image_shape, lambda begin, end: images_at(real, torch.arange(begin, end))
    )
    found = Distribution(Side(len(real), len(real)))
    read(every, [Wanted(found, reference.extractor.features)])
    return found.gaussian()


def no_images(image_shape: tuple[int, int, int]) -> ArrayData:
    """A set without images, where only the shape matters."""
    channels, height, width = image_shape
    return ArrayData(
        np.zeros((0, height, width, channels), np.uint8), np.zeros(0, np.int64), 0, "none"
    )


# --- models, images, or the real pictures alone ------------------------------


@dataclass
class Outcome:
    """What an evaluation leaves.

    Attributes:
        images: those scored last; None where there were none.
        by_step: results by step, 0 where there are no steps.
    """

    judge: Judge
    images: ImageStream | None = None
    by_step: dict[int, list[Result]] = field(default_factory=dict)


def _silent(verb: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda done, total: None)


def judge_of_data(data: str | Path, asked: Asked) -> Judge:
    """A judge that scores nothing, for the statistics of a prepared directory.

    Raises:
        LimnerError: not prepared, or one picture alone.
    """
    prepared = standing(data)
    if prepared is None:
        raise LimnerError(
            f"{data}: no prepared directory, and without a model no size to prepare it in; "
            "run limner data prepare first"
        )
    if len(prepared) < 2:
        raise LimnerError(f"{data}: 1 picture; a covariance needs at least 2")
    return Judge(prepared, replace(asked, metrics=()), prepared.image_shape)


def score_models(
    spec: str, data: str | None, asked: Asked, every: bool = False, stage: Stage = _silent
) -> Outcome:
    """Score a model, or every checkpoint of a run; damaged ones but the newest are left out.

    Args:
        data: the real pictures; None where the statistics alone are compared with.
        stage: shows the progress of "preparing" and "scoring".

    Raises:
        LimnerError: no model there, or see `data_for` and `Judge`.
    """
    own = standing_of(spec)
    if own is not None and asked.standing != own:
        warnings.warn(
            f"the run's own scores were taken with standing statistics; --standing {own} takes "
            "these as they were",
            stacklevel=2,
        )
    specs = checkpoints_of(spec) if every else {0: spec}
    outcome: Outcome | None = None
    for step, each in specs.items():
        try:
            model = load(each, str(asked.device))
        except CheckpointError as error:
            if not every or (outcome is None and step == max(specs)):
                raise
            warnings.warn(f"{error}; it is left out", stacklevel=2)
            continue
        if outcome is None:
            recipe = recipe_of(spec)
            with stage("preparing") as progress:
                real = None if data is None else data_for(model, data, recipe, progress)
            outcome = Outcome(Judge(real, asked, model.image_shape))
        outcome.images, labels = outcome.judge.stream_of(model)
        with stage("scoring") as progress:
            images = counted(outcome.images, progress)
            outcome.by_step[step] = outcome.judge.score(images, labels)
    assert outcome is not None
    return outcome


def score_images(place: str, data: str | None, asked: Asked, stage: Stage = _silent) -> Outcome:
    """Score images made elsewhere, see `read_pictures`; gray ones beside colored pictures, too.

    Args:
        data: as for `score_models`.
        stage: shows the progress of "reading" and "preparing".

    Raises:
        LimnerError: one image alone, or see `read_pictures`, `pictures_for` and `Judge`.
    """
    with stage("reading") as progress:
        pictures = read_pictures(place, asked.num, progress)
    if len(pictures.images) < 2:
        raise LimnerError(f"{place}: 1 image; scores need at least 2")
    channels, height, width = pictures.image_shape
    real = None
    if data is not None:
        # gray images may stand beside colored pictures, but no picture loses its color for them
        shape = (None if channels == 1 else channels, height, width)
        with stage("preparing") as progress:
            real = pictures_for(shape, "classes", data, None, progress)
    wanted = channels if real is None else real.image_shape[0]

    def part(begin: int, end: int) -> Tensor:
        images = torch.tensor(pictures.images[begin:end]).permute(0, 3, 1, 2)
        return images.expand(-1, wanted, -1, -1) if channels == 1 else images

    images = ImageStream(len(pictures.images), (wanted, height, width), part)
    labels = None if real is None else _labels_in(real, pictures)
    judge = Judge(real, asked, images.image_shape)
    given = None if labels is None else torch.tensor(labels)
    return Outcome(judge, images, {0: judge.score(images, given)})


def _labels_in(data: PreparedData, pictures: Pictures) -> list[int] | None:
    """The images' labels as classes of the data: by name, else by number where the counts agree."""
    labels, names = pictures.labels, pictures.class_names
    if labels is None or data.num_classes == 0 or data.label_rows is not None:
        return None
    if set(names) <= set(data.class_names):
        return [data.class_names.index(names[label]) for label in labels]
    if len(names) == data.num_classes or (
        names == [str(i) for i in range(len(names))] and len(names) <= data.num_classes
    ):
        return labels
    warnings.warn(
        f"the images' classes are not those of the data ({', '.join(names[:3])} ... and "
        f"{', '.join(data.class_names[:3])} ...); their labels are not used",
        stacklevel=2,
    )
    return None


# --- the checkpoints of a run ----------------------------------------------


def checkpoints_of(run: str | Path) -> dict[int, str]:
    """Step of every checkpoint -> the name under which it is loaded, oldest first.

    Raises:
        CheckpointError: no run there, or one without a checkpoint.
    """
    directory = RunDirectory(run)
    steps = [step for step, _ in list_states(directory.checkpoints)] if directory.exists() else []
    if not steps:
        raise CheckpointError(f"{run}: no checkpoints here; --all takes a run directory")
    return {step: f"{run}@step-{step}" for step in sorted(steps)}


def best_steps(by_step: dict[int, list[Result]]) -> dict[str, int]:
    """Name of each figure -> the step with its best finite value, of equals the newer."""
    best: dict[str, int] = {}
    values: dict[str, float] = {}
    for step, results in sorted(by_step.items()):
        for result in results:
            sign = 1 if result.higher_is_better else -1
            value = sign * result.value
            if not math.isfinite(value):
                value = -math.inf
            if result.name not in best or value >= values[result.name]:
                best[result.name], values[result.name] = step, value
    return best


def as_records(by_step: dict[int, list[Result]]) -> list[dict[str, Any]]:
    """{"step", "results"} of each checkpoint, oldest first."""
    return [
        {"step": step, "results": [encode(result) for result in results]}
        for step, results in sorted(by_step.items())
    ]
