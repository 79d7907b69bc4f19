"""Which images are to be made, and the checks of latents, styles and labels that users give."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from limner.core.chosen import check_classes, parse_seeds
from limner.core.errors import LimnerError
from limner.sampling.looks import USUAL, Look

Seeds = str | int | Sequence[int]
Classes = str | int | Sequence[int | str]
DEFAULT_NUM = 16


@dataclass(frozen=True)
class SamplePlan:
    """Which images to make: latents [N, z_dim], labels, and the seeds where latents came of seeds.

    In the place of latents may stand styles [N, layers, w], then without labels. y is None (no
    classes), int64 [N] or float32 [N, classes]. In the mode "statistics" the truncation also says
    which batch norm statistics the generator uses.
    """

    z: Tensor
    y: Tensor | None
    seeds: list[int] | None
    look: Look = USUAL

    def __len__(self) -> int:
        return len(self.z)


def given_latents(z: np.ndarray | Tensor, z_dim: int) -> Tensor:
    """Latents as float32 [N, z_dim]; a LimnerError for others."""
    latents = torch.as_tensor(z)
    if latents.ndim != 2 or latents.shape[1] != z_dim or len(latents) == 0:
        raise LimnerError(f"z has the shape {list(latents.shape)}; this model needs [N, {z_dim}]")
    latents = latents.float()
    if not torch.isfinite(latents).all():
        raise LimnerError("z holds a value that is not finite")
    return latents


def given_styles(styles: np.ndarray | Tensor, shape: tuple[int, ...]) -> Tensor:
    """Styles as float32 [N, *shape], shape being (layers, w); those of [N, w] are all layers'. A
    LimnerError for others."""
    given = torch.as_tensor(styles).float()
    whole = given[:, None].expand(-1, *shape) if given.shape[1:] == shape[1:] else given
    if whole.shape[1:] != shape or len(whole) == 0:
        raise LimnerError(
            f"styles have the shape {list(given.shape)}; this model needs [N, {shape[1]}] or "
            f"[N, {shape[0]}, {shape[1]}]"
        )
    if not torch.isfinite(whole).all():
        raise LimnerError("styles hold a value that is not finite")
    return whole


def given_labels(y: np.ndarray | Tensor, num_classes: int) -> Tensor:
    """Labels as int64 [N] or float32 [N, classes]; a LimnerError for others."""
    if num_classes == 0:
        raise LimnerError("y was given, but this model has no classes; leave it out")
    labels = torch.as_tensor(y)
    if labels.ndim == 1 and not labels.is_floating_point() and len(labels):
        labels = labels.long()
        check_classes([int(labels.min()), int(labels.max())], num_classes)
        return labels
    if labels.ndim == 2 and labels.shape[1] == num_classes and len(labels):
        rows = labels.float()
        if torch.isfinite(rows).all():
            return rows
        raise LimnerError("y holds a value that is not finite")
    raise LimnerError(
        f"y has the shape {list(labels.shape)} and type {labels.dtype}; this model needs "
        f"integers [N] in 0-{num_classes - 1} or numbers [N, {num_classes}]"
    )


def chosen_seeds(
    num: int | None, seeds: Seeds | None, seed: int, num_labels: int | None
) -> list[int]:
    """The seeds that were asked for; a LimnerError for none, or for two ways to ask."""
    if seeds is not None:
        if num is not None:
            raise LimnerError("give either num or seeds, not both")
        if isinstance(seeds, str):
            chosen = parse_seeds(seeds)
        else:
            given = [seeds] if isinstance(seeds, (int, np.integer)) else seeds
            chosen = [int(item) for item in given]
        if not chosen:
            raise LimnerError("seeds is empty; name at least one")
        return chosen
    if num is None:
        num = DEFAULT_NUM if num_labels is None else num_labels
    if num < 1:
        raise LimnerError(f"num {num} is less than 1; ask for at least one image")
    return list(range(seed, seed + num))
