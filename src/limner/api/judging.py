"""Several models or sets of pictures against one reference; its statistics, and what is near."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from limner.api.scoring import sampler_for
from limner.checkpoints import RunDirectory, list_states
from limner.core import distributed
from limner.core.config import encode
from limner.core.errors import CheckpointError, LimnerError
from limner.data import PreparedData
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
    read_moments,
    score,
    write_moments,
)
from limner.metrics.arrays import ArrayData, ImageSet
from limner.metrics.features.base import CPU, images_at
from limner.metrics.streams import Wanted, read
from limner.sampling import Model, StandingPlan, sheet

NUM_SHOWN, NUM_NEIGHBOURS = 12, 7
NUM_PROBED = 1000  # real images whose own nearest neighbours say what is near


@dataclass(frozen=True)
class Asked:
    """What is measured and how.

    Attributes:
        metrics: names in METRICS.
        num: generated images; None takes as many as there are real ones, at most 10,000 or what
            the metrics usually take.
        features: extractor's name; None takes the data's usual one.
        seed: first seed of the latents, and of the choice of real images.
        statistics: an .npz of mu and sigma in the place of the real images, where that is enough.
        standing: standing statistics that models accumulate before.
        device: where pretrained features are computed.
    """

    metrics: Sequence[str]
    num: int | None = None
    features: str | None = None
    seed: int = 0
    statistics: str | Path | None = None
    standing: StandingPlan | None = None
    device: torch.device = CPU


class Judge:
    """One reference, before which model after model is scored."""

    def __init__(self, data: PreparedData | None, asked: Asked, image_shape: tuple[int, int, int]):
        """Check the metrics; real images are read when they are first needed.

        Args:
            data: None where the statistics alone are compared with.
            image_shape: of the generated images.

        Raises:
            LimnerError: neither data nor statistics, or a metric that they do not suffice for.
        """
        if data is None and asked.statistics is None:
            raise LimnerError("give real pictures: --data, or their --statistics")
        self.asked = asked
        real: ImageSet = no_images(image_shape) if data is None else data
        check_metrics(asked.metrics, real, asked.features)
        for name in asked.metrics:
            metric = find_metric(name)
            if data is None and not (metric.takes_moments or metric.alone):
                raise LimnerError(f"metric '{name}' needs real pictures: give --data, too")
        given = None if asked.statistics is None else read_moments(asked.statistics)
        self.reference = Reference(
            real, asked.features, asked.seed, moments=given, device=asked.device
        )

    @property
    def num(self) -> int:
        """Generated images."""
        if self.asked.num is not None:
            return self.asked.num
        usual = min((find_metric(name).num_usual for name in self.asked.metrics), default=10_000)
        return min(len(self.reference) or usual, usual)

    def stream_of(self, model: Model) -> tuple[ImageStream, Tensor | None]:
        """A model's images and labels, made as they are looked at."""
        sample = sampler_for(model, self.reference.real, self.asked.standing)
        return sample(self.num, self.asked.seed)

    def score(self, images: Tensor | ImageStream, labels: Tensor | None) -> list[Result]:
        """See `limner.metrics.score`."""
        return score(self.reference, images, labels, self.asked.metrics)

    def write_statistics(self, path: str | Path) -> dict[str, Any]:
        """Mean and covariance of the features of all real images, as an .npz of mu and sigma.

        All processes call it, and the first one writes.

        Returns:
            the facts: whose features of what they are.
        """
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
        """Generated images, each with the real ones that are nearest by features, as a sheet.

        Under each stands its distance in units of the usual one: the median distance of a real
        image to the nearest other real image. Copies are near 0, and look it; what is not copied
        is near 1 or beyond.

        Returns:
            the sheet; the distances, and the unit.
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
