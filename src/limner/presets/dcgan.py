"""DCGAN (Radford et al. 2016) by MMGeneration's recipes, constant by constant.

Where they depart from the paper (leaky slope 0.01, batch-norm weights from N(0, 1)) the networks'
config fields say so: set discriminator.leaky_slope=0.2, *.norm_mean=1 and *.norm_std=0.02 for it.
"""

from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.models.dcgan import DcganDiscriminator, DcganGenerator
from limner.objectives import NonSaturatingD, NonSaturatingG


def unlabelled(side: int) -> DataConfig:
    """Pictures as MMGeneration reads those of its unconditional networks."""
    return DataConfig(
        resolution=side, channels=3, labels="none", fit="squash", filter="bilinear", flip=False
    )


def dcgan_celeba64() -> RunConfig:
    """MMGeneration's dcgan_celeba-cropped_64_b128x1_300k: any folder of pictures, no labels."""
    adam = Adam(lr=2e-4, betas=(0.5, 0.999))
    return RunConfig(
        name="dcgan-celeba64",
        generator=DcganGenerator(width=128, z_dim=100, max_channels=1024),
        discriminator=DcganDiscriminator(width=128, max_channels=1024, leaky_slope=0.01),
        data=unlabelled(64),
        updates=(
            Update(player="d", terms=(NonSaturatingD(),), forwards="fake_then_real"),
            Update(player="g", terms=(NonSaturatingG(),)),
        ),
        optim=Players(g=adam, d=adam),
        batch_size=128,
        steps=300_002,
        intervals=Intervals(log=100, sample=1000, save=10_000),
    )
