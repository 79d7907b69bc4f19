"""Handwritten digits: a class-conditional residual GAN that trains in minutes on two CPU cores.

The pair is that of SN-GAN with projection (Miyato & Koyama 2018) and BigGAN (Brock et al. 2019) in
small width: conditional batch norm in the generator, an average of the generator for sampling. The
loss of `digits` is that of R3GAN (Huang et al. 2024), which shows more kinds of each digit than the
hinge loss with spectral norm that `digits_tiny` has (docs/log.md).
"""

from limner.core.schedules import Cosine
from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Ema, LearningRate
from limner.models import BigGanDiscriminator, BigGanGenerator
from limner.objectives import R1, R2, HingeD, HingeG, RelativisticD, RelativisticG

METRICS = ("fid", "prdc", "accuracy", "cas")


def digits() -> RunConfig:
    """1,797 scans brought to 32x32: a sheet, scores and a report in minutes."""
    adam = Adam(lr=1.2e-3, betas=(0.0, 0.99))
    widths = (1, 1, 12)  # most at 8x8, of which the scans are: above, they are only enlarged
    calming = Cosine(start=1.0, end=0.3, from_nimg=16_800, until_nimg=56_000)
    return RunConfig(
        name="digits",
        generator=BigGanGenerator(
            width=8, z_dim=64, shared_dim=16, multipliers=widths, spectral_norm=False
        ),
        discriminator=BigGanDiscriminator(
            width=8, multipliers=widths, bottom=4, num_last_blocks=1, spectral_norm=False
        ),
        data=DataConfig(resolution=32, filter="bicubic"),
        updates=(
            Update(player="d", terms=(RelativisticD(),), labels="real"),
            Update(player="d", terms=(R1(1.0), R2(1.0)), labels="real", every=4, counts=False),
            Update(player="g", terms=(RelativisticG(),), labels="real", counts=False),
        ),
        optim=Players(g=adam, d=adam),
        controllers=(Ema(decay=0.98), LearningRate(factor=calming)),
        batch_size=80,
        steps=700,
        intervals=Intervals(log=25, sample=100, save=175, evaluate=350),
        metrics=(*METRICS, "copies"),
    )


def digits_tiny() -> RunConfig:
    """The same at 8x8: a smoke of about ten seconds."""
    adam = Adam(lr=2e-3, betas=(0.0, 0.99))
    return RunConfig(
        name="digits-tiny",
        generator=BigGanGenerator(width=16, z_dim=32, multipliers=(1, 2), spectral_norm=False),
        discriminator=BigGanDiscriminator(width=16, multipliers=(1, 2)),
        data=DataConfig(resolution=8),
        updates=(
            Update(player="d", terms=(HingeD(),)),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(g=adam, d=adam),
        controllers=(Ema(decay=0.99),),
        batch_size=64,
        steps=400,
        intervals=Intervals(log=20, sample=200, save=200),
        metrics=METRICS,
        num_evaluate=1800,
    )
