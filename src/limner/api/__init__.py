"""The rooms put together: what the command line and `import limner` both call.

The names below are imported on first use, so that what needs no torch (help, the lock of a run,
the list of presets) starts without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limner.api.carrying import TrainedRun, TrainOptions
    from limner.api.configs import list_presets, load_config
    from limner.api.exporting import export
    from limner.api.importing import import_model
    from limner.api.mixing import save_mix
    from limner.api.preparing import PrepareOptions, prepare_data, report_data
    from limner.api.recipes import read_recipe
    from limner.api.samples import SampleOptions, save_samples
    from limner.api.scoring import evaluate, evaluation_sampler, recipe_of
    from limner.api.sharding import ShardOptions, shard_data
    from limner.api.sizes import Sizes, sizes_of
    from limner.api.standing import store_statistics
    from limner.api.tables import Scores
    from limner.api.training import resolved, train
    from limner.api.videos import save_drift, save_training_video
    from limner.api.walks import WalkOptions, save_walk
    from limner.engine import RunConfig
    from limner.metrics import Result, find_metric, notes
    from limner.reports import write_comparison, write_report
    from limner.sampling import Drift, Model, StandingPlan, load, save_png, sheet

_HOMES = {
    "limner.api.configs": ("list_presets", "load_config"),
    "limner.api.exporting": ("export",),
    "limner.api.importing": ("import_model",),
    "limner.api.mixing": ("save_mix",),
    "limner.api.preparing": ("PrepareOptions", "prepare_data", "report_data"),
    "limner.api.recipes": ("read_recipe",),
    "limner.api.samples": ("SampleOptions", "save_samples"),
    "limner.api.scoring": ("evaluate", "evaluation_sampler", "recipe_of"),
    "limner.api.sharding": ("ShardOptions", "shard_data"),
    "limner.api.sizes": ("Sizes", "sizes_of"),
    "limner.api.standing": ("store_statistics",),
    "limner.api.tables": ("Scores",),
    "limner.api.carrying": ("TrainOptions", "TrainedRun"),
    "limner.api.training": ("resolved", "train"),
    "limner.api.videos": ("save_drift", "save_training_video"),
    "limner.api.walks": ("WalkOptions", "save_walk"),
    "limner.engine": ("RunConfig",),
    "limner.metrics": ("Result", "find_metric", "notes"),
    "limner.reports": ("write_comparison", "write_report"),
    "limner.sampling": ("Drift", "Model", "StandingPlan", "load", "save_png", "sheet"),
}

__all__ = [
    "Drift",
    "Model",
    "PrepareOptions",
    "Result",
    "RunConfig",
    "SampleOptions",
    "Scores",
    "ShardOptions",
    "Sizes",
    "StandingPlan",
    "TrainOptions",
    "TrainedRun",
    "WalkOptions",
    "evaluate",
    "evaluation_sampler",
    "export",
    "find_metric",
    "import_model",
    "list_presets",
    "load",
    "load_config",
    "notes",
    "prepare_data",
    "read_recipe",
    "recipe_of",
    "report_data",
    "resolved",
    "save_drift",
    "save_mix",
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
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'limner.api' has no attribute '{name}'")
