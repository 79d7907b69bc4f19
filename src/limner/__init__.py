"""limner: train, judge and use generative adversarial networks.

    model = limner.load("runs/digits")
    images = model.sample(num=16, classes=[3])
    run = limner.train(limner.presets.digits(), data="digits", run="runs/digits")
    scores = limner.evaluate(model, data="digits", metrics=["fid", "kid"])

Names are imported on first use, so `import limner` is quick and needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner import presets
    from limner.api import TrainedRun, TrainOptions, evaluate, load, train

__version__ = "0.1.0"
__all__ = ["TrainOptions", "TrainedRun", "evaluate", "load", "presets", "train"]


def __getattr__(name: str) -> Any:
    if name == "presets":
        return importlib.import_module("limner.presets")
    if name in __all__:
        return getattr(importlib.import_module("limner.api"), name)
    raise AttributeError(f"module 'limner' has no attribute '{name}'")
