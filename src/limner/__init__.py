"""limner: train, judge and use generative adversarial networks.

Names are imported on first use, so `import limner` is quick and needs no torch.

Examples:
    >>> config = limner.presets.digits_tiny().replace(steps=2, metrics=())
    >>> run = limner.train(config, data="digits", run="runs/first")
    >>> model = limner.load("runs/first")
    >>> images = model.sample(num=16, classes=[3])  # uint8 [N, H, W, C]
    >>> limner.sheet(images).save("threes.png")
    >>> scores = limner.evaluate(model, "digits", metrics=["prdc"], num=100, features="pixels")
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
        Scores,
        ShardOptions,
        StandingPlan,
        TrainedRun,
        TrainOptions,
        WalkOptions,
        evaluate,
        export,
        import_model,
        list_presets,
        load,
        load_config,
        prepare_data,
        read_recipe,
        report_data,
        save_drift,
        save_png,
        save_samples,
        save_training_video,
        save_walk,
        shard_data,
        sheet,
        sizes_of,
        store_statistics,
        train,
        write_comparison,
        write_report,
    )

__version__ = "0.1.0"
__all__ = [
    "Drift",
    "Model",
    "PrepareOptions",
    "RunConfig",
    "SampleOptions",
    "Scores",
    "ShardOptions",
    "StandingPlan",
    "TrainOptions",
    "TrainedRun",
    "WalkOptions",
    "evaluate",
    "export",
    "import_model",
    "list_presets",
    "load",
    "load_config",
    "prepare_data",
    "presets",
    "read_recipe",
    "report_data",
    "save_drift",
    "save_png",
    "save_samples",
    "save_training_video",
    "save_walk",
    "shard_data",
    "sheet",
    "sizes_of",
    "store_statistics",
    "train",
    "write_comparison",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "presets":
        return importlib.import_module("limner.presets")
    if name in __all__:
        return getattr(importlib.import_module("limner.api"), name)
    raise AttributeError(f"module 'limner' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
