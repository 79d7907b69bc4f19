"""Looking around one image: along the directions that change it most, along the truncation, through
the levels of a network that grew, and at the training pictures that are nearest to it."""

import dataclasses
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from limner.api.samples import LOOKS
from limner.api.walks import WalkOptions
from limner.checkpoints.run_directory import RunDirectory
from limner.core.errors import LimnerError
from limner.data import PreparedData
from limner.data.opening import standing
from limner.sampling import Model, SamplePlan, parse_endpoint
from limner.sampling.directions import principal_directions

MOST_DIRECTIONS = 6
MOST_SEARCHED = 100_000  # training pictures
SEARCHED_SIDE = 16  # pixels of a side to which pictures are averaged where they are compared
BLOCK = 2000

_KEPT: "WeakKeyDictionary[Model, Tensor]" = WeakKeyDictionary()


def directions_of(model: Model) -> Tensor:
    """`principal_directions` of a model, at most six: float32 [k, z_dim or w_dim]."""
    if model not in _KEPT:
        found = principal_directions(model.generator, model.num_classes, MOST_DIRECTIONS)
        _KEPT[model] = found
    return _KEPT[model]


def moved_plan(model: Model, plan: SamplePlan, distances: Sequence[float]) -> SamplePlan:
    """The plan with its latents, or styles, moved so far along the first directions.

    Raises:
        LimnerError: a distance that is not finite, or more of them than directions.
    """
    directions = directions_of(model)
    steps = torch.tensor(distances, dtype=torch.float32)
    if not torch.isfinite(steps).all() or len(steps) > len(directions):
        raise LimnerError(f"directions: give at most {len(directions)} finite distances")
    move = steps @ directions[: len(steps)]
    if not model.has_styles:
        return dataclasses.replace(plan, z=plan.z + move)
    styles = torch.from_numpy(model.styles(plan)) + move
    return SamplePlan(styles, None, plan.seeds, plan.look)


def crossed_images(model: Model, options: WalkOptions) -> np.ndarray:
    """Style mixing from the first image of a walk to its last: uint8 [layers + 1, H, W, C], image k
    with the last one's styles in the k finest layers and the first one's in the others (Karras et
    al. 2019, section 3.1).

    Raises:
        LimnerError: the model has no styles; an end that it does not have.
    """
    styles = []
    for text in (options.from_, options.to or "1"):
        seed, index = parse_endpoint(text, model)
        labels = None if index is None else torch.tensor([index])
        plan = model.plan(seeds=seed)
        styles.append(model.styles(plan if labels is None else dataclasses.replace(plan, y=labels)))
    first, last = styles
    num_layers = first.shape[1]
    crossed = np.repeat(first, num_layers + 1, axis=0)
    for k in range(1, num_layers + 1):
        crossed[k, num_layers - k :] = last[0, num_layers - k :]
    looks = {name: getattr(options, name) for name in LOOKS}
    return model.draw(model.plan(styles=crossed, **looks))


def level_images(model: Model, plan: SamplePlan) -> list[np.ndarray]:
    """The plan's first image at each level of a network that grew, the lowest first, uint8
    [H, W, C] of the full size; [] for another network."""
    generator: Any = model.generator
    num_levels = getattr(generator, "num_levels", None)
    if not isinstance(num_levels, int) or not hasattr(generator, "lod"):
        return []
    before = generator.lod
    images = []
    try:
        for lod in reversed(range(num_levels)):
            generator.lod = float(lod)
            images.append(model.draw(plan)[0])
    finally:
        generator.lod = before
    return images


def data_of_run(run: RunDirectory) -> PreparedData:
    """What a run was trained on, if it is still there; else a LimnerError."""
    path = run.read_data("path")["path"]
    data = standing(path)
    if data is None:
        raise LimnerError(f"{path}: the run's data is no longer there; name it by --data")
    return data


def nearest_pictures(data: PreparedData, image: np.ndarray, num: int = 8) -> list[np.ndarray]:
    """The pictures nearest to an image, nearest first, uint8 [H, W, C]: by the squared difference
    of pixels, averaged to at most 16 a side, among the first 100,000.

    Raises:
        LimnerError: pictures of another shape.
    """
    pictures = data.images
    if pictures.shape[1:] != image.shape:
        raise LimnerError(f"{data.directory}: pictures of another shape than the model's")
    searched = min(len(pictures), MOST_SEARCHED)
    wanted = _small(image[None])
    parts = [
        np.square(_small(np.asarray(pictures[i : min(i + BLOCK, searched)])) - wanted).mean(
            (1, 2, 3)
        )
        for i in range(0, searched, BLOCK)
    ]
    order = np.argsort(np.concatenate(parts), kind="stable")[:num]
    return [np.asarray(pictures[int(place)]) for place in order]


def _small(images: np.ndarray) -> np.ndarray:
    """float32 [N, h, w, C], averaged over squares."""
    factor = max(1, min(images.shape[1:3]) // SEARCHED_SIDE)
    num, height, width, channels = images.shape
    height, width = height // factor, width // factor
    cut = images[:, : height * factor, : width * factor].astype(np.float32)
    return cut.reshape(num, height, factor, width, factor, channels).mean((2, 4))
