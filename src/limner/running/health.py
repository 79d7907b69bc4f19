"""Numbers that are not finite in a state that is about to be saved."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from limner.core import distributed
from limner.core.errors import DivergenceError
from limner.engine.finite import is_finite

# What a state may not hold: a memory may use infinity ("no minimum yet"), a weight may not.
CHECKED = (
    "generator",
    "discriminator",
    "generator_ema",
    "optimizer_g",
    "optimizer_d",
    "ema",  # these and the following are the players' names in a process's own part
    "g",
    "d",
)


def nonfinite_in_state(tree: Mapping[str, Any]) -> str | None:
    """The name of the first tensor of a training state that is not finite, or None."""
    for key in CHECKED:
        if found := _search(tree.get(key), key):
            return found
    return _search(tree.get("memories"), "memories", only_nan=True)


def _search(value: Any, name: str, only_nan: bool = False) -> str | None:
    if isinstance(value, Tensor):
        bad = bool(torch.isnan(value).any()) if only_nan else not is_finite(value)
        return name if bad else None
    if isinstance(value, Mapping):
        items = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, (list, tuple)) else []
    for key, item in items:
        if found := _search(item, f"{name} {key}", only_nan):
            return found
    return None


def require_finite(tree: Mapping[str, Any], own: Mapping[str, Any] | None, step: int) -> None:
    """Refuse to save a state that nobody could resume from: a DivergenceError on every process,
    which names the tensor. All processes call it."""
    found = nonfinite_in_state(tree) or nonfinite_in_state(own or {})
    if distributed.any_rank(found is not None):
        raise DivergenceError(
            f"step {step}: the state is not finite ({found or 'in another process'}), so it is not "
            "saved; the newest checkpoint is from before it: lower the learning rate, then run the "
            "same command again"
        )
