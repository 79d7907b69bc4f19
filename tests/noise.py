"""A run of 30,000 parameters on 16x16 noise with everything that a state can hold, in a file that
`limner train FILE.py:FUNCTION` takes."""

from pathlib import Path

import numpy as np

from limner.data import DataConfig
from limner.engine import Intervals, RunConfig
from runs import eventful_config
from toys import ToyDiscriminator, ToyGenerator

STEPS, SAVE_EVERY = 20, 4


def config() -> RunConfig:
    """Dropout, batch norm, lazy terms, memories, a late average, a rate between two readings."""
    return eventful_config(
        generator=ToyGenerator(norm="batch", dropout=0.3, z_dim=8, width=60),
        discriminator=ToyDiscriminator(width=60),
        data=DataConfig(resolution=16, channels=1, labels="none", flip=True),
        steps=STEPS,
        intervals=Intervals(log=1, sample=10, save=SAVE_EVERY, milestone=0),
    )


def pictures(path: Path) -> Path:
    """An .npz of noise."""
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 1), dtype=np.uint8)
    np.savez(path, images=images)
    return path
