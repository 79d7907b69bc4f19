"""From seeds to pictures: latents, truncation, generation, loaded models, sheets, animations.

The names below are imported on first use, so that one picture does not wait for films and walls.
"""

import importlib
from typing import TYPE_CHECKING, Any

# Not on first use: the module has the name of its function, and would stand in its place.
from limner.sampling.generate import generate, generate_batches

if TYPE_CHECKING:
    from limner.core.chosen import parse_classes, parse_seeds
    from limner.sampling.animate import (
        interpolate,
        interpolation_rows,
        parse_endpoint,
        save_animation,
    )
    from limner.sampling.archives import NpzWriter
    from limner.sampling.drifting import Drift, smoothed_noise
    from limner.sampling.fixed import FixedSamples, TrainingSheets
    from limner.sampling.latents import latents_from_seeds
    from limner.sampling.model import Model, load
    from limner.sampling.plans import SamplePlan
    from limner.sampling.progress_video import progress_frames, snapshots
    from limner.sampling.sheets import class_sheet, save_png, sheet
    from limner.sampling.standing import (
        StandingPlan,
        StandingSets,
        accumulate,
        standing_statistics,
        using_statistics,
    )
    from limner.sampling.videos import check_video, write_video
    from limner.sampling.walks import WalkStyle
    from limner.sampling.walls import Wall, wall, wall_places

_HOMES = {
    "limner.core.chosen": (
        "parse_classes",
        "parse_seeds",
    ),
    "limner.sampling.animate": (
        "interpolate",
        "interpolation_rows",
        "parse_endpoint",
        "save_animation",
    ),
    "limner.sampling.archives": ("NpzWriter",),
    "limner.sampling.drifting": (
        "Drift",
        "smoothed_noise",
    ),
    "limner.sampling.fixed": (
        "FixedSamples",
        "TrainingSheets",
    ),
    "limner.sampling.generate": (
        "generate",
        "generate_batches",
    ),
    "limner.sampling.latents": ("latents_from_seeds",),
    "limner.sampling.model": (
        "Model",
        "load",
    ),
    "limner.sampling.plans": ("SamplePlan",),
    "limner.sampling.progress_video": (
        "progress_frames",
        "snapshots",
    ),
    "limner.sampling.sheets": (
        "class_sheet",
        "save_png",
        "sheet",
    ),
    "limner.sampling.standing": (
        "StandingPlan",
        "StandingSets",
        "accumulate",
        "standing_statistics",
        "using_statistics",
    ),
    "limner.sampling.videos": (
        "check_video",
        "write_video",
    ),
    "limner.sampling.walks": ("WalkStyle",),
    "limner.sampling.walls": (
        "Wall",
        "wall",
        "wall_places",
    ),
}

__all__ = [
    "Drift",
    "FixedSamples",
    "Model",
    "NpzWriter",
    "SamplePlan",
    "StandingPlan",
    "StandingSets",
    "TrainingSheets",
    "WalkStyle",
    "Wall",
    "accumulate",
    "check_video",
    "class_sheet",
    "generate",
    "generate_batches",
    "interpolate",
    "interpolation_rows",
    "latents_from_seeds",
    "load",
    "parse_classes",
    "parse_endpoint",
    "parse_seeds",
    "progress_frames",
    "save_animation",
    "save_png",
    "sheet",
    "smoothed_noise",
    "snapshots",
    "standing_statistics",
    "using_statistics",
    "wall",
    "wall_places",
    "write_video",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'limner.sampling' has no attribute '{name}'")
