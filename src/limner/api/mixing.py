"""Sheets of mixed styles: what each layer of a generator of styles decides over."""

from pathlib import Path

import numpy as np

from limner.core.chosen import parse_seeds
from limner.core.errors import LimnerError
from limner.core.outputs import check_still
from limner.sampling import Model, load, save_png, sheet
from limner.sampling.looks import truncated
from limner.sampling.plans import Classes

MOST_IMAGES = 2500
USUAL_LAYERS = "0-6"


def parse_layers(text: str) -> list[int]:
    """Layers from "0-6,9", counted from 0."""
    try:
        return sorted(set(parse_seeds(text)))
    except LimnerError:
        raise LimnerError(f"--layers {text}: give layers from 0 on, for example 0-6") from None


def save_mix(
    model: Model | str | Path,
    out: str | Path,
    rows: str = "0-3",
    columns: str = "4-9",
    layers: str = USUAL_LAYERS,
    truncation: float | None = None,
    classes: Classes | None = None,
) -> tuple[int, int]:
    """A sheet: images of the rows' seeds on the left, of the columns' above, and where they meet
    the row's image with the column's styles in `layers` (Karras et al. 2019, figure 3).

    Args:
        layers: counted from 0; the first ones decide over pose and shape, the last over color.
        truncation: as for `Model.sample` in the mode "w".
        classes: one class for all, where the model has some.

    Returns:
        numbers of rows and columns.

    Raises:
        LimnerError: the model has no styles, or not so many layers.

    Examples:
        >>> limner.api.save_mix("models/styles", "mix.png", rows="0-1", columns="2-4", layers="0-3")
        (2, 3)
    """
    check_still("--out", out)
    loaded = model if isinstance(model, Model) else load(model)
    images = mixed_images(loaded, rows, columns, layers, truncation, classes)
    text = {
        "Software": "limner",
        "rows": rows,
        "columns": columns,
        "layers": layers,
        "truncation": "none" if truncation is None else f"{truncation:g}",
        "model_sha256": loaded.sha256,
    }
    high, wide = images.shape[:2]
    save_png(sheet(images.reshape(-1, *images.shape[2:]), columns=wide), Path(out), text)
    return high - 1, wide - 1


def mixed_images(
    model: Model,
    rows: str,
    columns: str,
    layers: str = USUAL_LAYERS,
    truncation: float | None = None,
    classes: Classes | None = None,
) -> np.ndarray:
    """The images of `save_mix`, uint8 [1 + rows, 1 + columns, H, W, C]; the first is white."""
    places, seeds, others = parse_layers(layers), parse_seeds(rows), parse_seeds(columns)
    if (len(seeds) + 1) * (len(others) + 1) > MOST_IMAGES:
        raise LimnerError(f"a sheet of {len(seeds)} x {len(others)} images: take fewer seeds")
    if not model.has_styles:
        raise LimnerError("this model has no styles to mix; give one of StyleGAN2 or StyleGAN3")
    if classes is not None and len(model.class_indices(classes)) != 1:
        raise LimnerError("--classes: give one class for all images of the sheet")
    own, given = (_styles(model, each, classes, truncation) for each in (seeds, others))
    num_layers = own.shape[1]
    if places[-1] >= num_layers:
        raise LimnerError(
            f"--layers {layers}: this model has {num_layers} layers of styles, 0 to "
            f"{num_layers - 1}"
        )
    mixed = np.repeat(own, len(others), axis=0)
    mixed[:, places] = np.tile(given, (len(seeds), 1, 1))[:, places]
    images = model.sample(styles=np.concatenate([own, given, mixed]))
    left, top, inside = np.split(images, [len(own), len(own) + len(given)])
    found = np.full((len(own) + 1, len(given) + 1, *images.shape[1:]), 255, np.uint8)
    found[1:, 0], found[0, 1:] = left, top
    found[1:, 1:] = inside.reshape(len(own), len(given), *images.shape[1:])
    return found


def _styles(
    model: Model, seeds: list[int], classes: Classes | None, truncation: float | None
) -> np.ndarray:
    """Truncated [n, layers, w], of the first class where none is named."""
    import torch

    if model.num_classes and classes is None:
        classes = 0
    styles = model.styles(model.plan(seeds=seeds, classes=classes))
    if truncation is None:
        return styles
    mean = model.mean_style.cpu().float()
    return truncated(torch.from_numpy(styles), mean, truncation).numpy()
