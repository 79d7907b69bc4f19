"""The rooms put together: what the command line and `import limner` both call.

The names below are imported on first use, so that what needs no torch starts without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.api.scoring import evaluate, evaluation_sampler, recipe_of
    from limner.api.training import TrainedRun, TrainOptions, resolved, train
    from limner.sampling import load

_HOMES = {
    "limner.api.scoring": ("evaluate", "evaluation_sampler", "recipe_of"),
    "limner.api.training": ("TrainOptions", "TrainedRun", "resolved", "train"),
    "limner.sampling": ("load",),
}

__all__ = [
    "TrainOptions",
    "TrainedRun",
    "evaluate",
    "evaluation_sampler",
    "load",
    "recipe_of",
    "resolved",
    "train",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
