"""Progressive growing (Karras et al. 2018), by config.py of tkarras/progressive_growing_of_gans.

WGAN-GP with a drift term, equalized learning rates, and networks that grow from 4x4 pixels. Half
precision is replaced by bfloat16 forwards, without loss scaling; penalties stay in float32. What
the original is told by lines of config.py (a schedule, a data set, an ablation) is a variant.
"""

from limner.core.growth import GrowthSchedule
from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Sheet, Update
from limner.engine.controllers import Ema, Growth
from limner.models.pggan import PgganDiscriminator, PgganGenerator
from limner.objectives import (
    Drift,
    GradientPenalty,
    WassersteinD,
    WassersteinG,
)

# What one GPU of 16 GB holds of the two networks.
MOST_IN_FLOAT32 = ((256, 16), (512, 8), (1024, 4))


def pggan_v2_1gpu() -> RunConfig:
    """CelebA-HQ at 1024 px on one GPU: the original's default; two weeks of a V100."""
    adam = Adam(lr=1e-3, betas=(0.0, 0.99), eps=1e-8)
    rates = ((1024, 1.5e-3),)
    schedule = GrowthSchedule(
        initial_resolution=4,
        training_kimg=600.0,
        transition_kimg=600.0,
        batch_sizes=(
            (4, 128),
            (8, 128),
            (16, 128),
            (32, 64),
            (64, 32),
            (128, 16),
            (256, 8),
            (512, 4),
        ),
        most_per_process=MOST_IN_FLOAT32,
        num_processes=1,
        g_rates=rates,
        d_rates=rates,
    )
    return RunConfig(
        name="pggan-v2-1gpu",
        generator=PgganGenerator(fmap_base=8192, fmap_decay=1.0, fmap_max=512),
        discriminator=PgganDiscriminator(
            fmap_base=8192, fmap_decay=1.0, fmap_max=512, group_size=4
        ),
        data=DataConfig(resolution=1024, channels=3, labels="none", filter="box", flip=True),
        updates=(
            Update(
                player="d",
                terms=(
                    WassersteinD(),
                    GradientPenalty(weight=10.0, target=1.0),
                    Drift(weight=1e-3),
                ),
            ),
            Update(player="g", terms=(WassersteinG(),)),
        ),
        optim=Players(g=adam, d=adam),
        controllers=(
            Growth(schedule=schedule, read_every=4, reset_optimizers=True),
            Ema(decay=0.999, after="d", buffers="copy"),
        ),
        batch_size=4,
        kimg=12_000.0,
        seed=1000,
        intervals=Intervals(
            log=50, singular_values=0, sample=0, save=0, sample_ticks=1, save_ticks=10
        ),
        sheet=Sheet(grid="1080p", layout="random"),
        num_evaluate=50_000,
    )
