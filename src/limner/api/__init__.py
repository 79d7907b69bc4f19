"""The rooms put together: what the command line and `import limner` both call."""

from limner.api.scoring import evaluate, evaluation_sampler, recipe_of
from limner.api.training import TrainedRun, TrainOptions, resolved, train
from limner.sampling import load

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
