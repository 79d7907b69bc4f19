"""From seeds to pictures: latents, truncation, generation, loaded models, sheets, animations."""

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
from limner.sampling.generate import generate, generate_batches
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
