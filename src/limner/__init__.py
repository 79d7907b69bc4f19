"""limner: train, judge and use generative adversarial networks.

    model = limner.load("runs/digits")
    images = model.sample(num=16, classes=[3])
    limner.save_samples(model, "sheet.png", limner.SampleOptions(classes="all", grid="sheet"))
    run = limner.train(limner.presets.digits(), data="digits", run="runs/digits")
    scores = limner.evaluate(model, data="digits", metrics=["fid", "kid"])

Names are imported on first use, so `import limner` is quick and needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner import presets
    from limner.api import (
        Drift,
        Model,
        PrepareOptions,
        RunConfig,
        SampleOptions,
        StandingPlan,
        TrainedRun,
        TrainOptions,
        WalkOptions,
        evaluate,
        list_presets,
        load,
        load_config,
        prepare_data,
        report_data,
        save_drift,
        save_png,
        save_samples,
        save_training_video,
        save_walk,
        sheet,
        sizes_of,
        store_statistics,
        train,
        write_report,
    )

__version__ = "0.1.0"
__all__ = [
    "Drift",
    "Model",
    "PrepareOptions",
    "RunConfig",
    "SampleOptions",
    "StandingPlan",
    "TrainOptions",
    "TrainedRun",
    "WalkOptions",
    "evaluate",
    "list_presets",
    "load",
    "load_config",
    "prepare_data",
    "presets",
    "report_data",
    "save_drift",
    "save_png",
    "save_samples",
    "save_training_video",
    "save_walk",
    "sheet",
    "sizes_of",
    "store_statistics",
    "train",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "presets":
        return importlib.import_module("limner.presets")
    if name in __all__:
        return getattr(importlib.import_module("limner.api"), name)
    raise AttributeError(f"module 'limner' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
