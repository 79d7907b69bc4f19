"""WGAN-GP (Gulrajani et al. 2017) and LSGAN (Mao et al. 2017) by MMGeneration's recipes, without a
moving average and without labels."""

from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.models import (
    LsganDiscriminator,
    LsganGenerator,
    WganGpDiscriminator,
    WganGpGenerator,
)
from limner.objectives import (
    GradientPenalty,
    LeastSquaresD,
    LeastSquaresG,
    WassersteinD,
    WassersteinG,
)


def pictures(side: int) -> DataConfig:
    """As these recipes read them."""
    return DataConfig(
        resolution=side, channels=3, labels="none", fit="squash", filter="bilinear", flip=False
    )


def wgan_gp_celeba128() -> RunConfig:
    """MMGeneration's WGAN-GP at 128 px: five steps of the critic for one of the generator."""
    adam = Adam(lr=1e-4, betas=(0.5, 0.9))
    return RunConfig(
        name="wgan-gp-celeba128",
        generator=WganGpGenerator(),
        discriminator=WganGpDiscriminator(),
        data=pictures(128),
        updates=(
            Update(
                player="d",
                terms=(WassersteinD(), GradientPenalty(10.0)),
                repeats=5,
                forwards="fake_then_real",
            ),
            Update(player="g", terms=(WassersteinG(),)),
        ),
        optim=Players(g=adam, d=adam),
        batch_size=64,
        steps=32_000,
        intervals=Intervals(log=20, sample=2000, save=4000),
    )


def lsgan_bedroom128() -> RunConfig:
    """MMGeneration's LSGAN on LSUN bedrooms at 128 px, with that paper's own networks."""
    adam = Adam(lr=1e-4, betas=(0.5, 0.99))
    return RunConfig(
        name="lsgan-bedroom128",
        generator=LsganGenerator(),
        discriminator=LsganDiscriminator(),
        data=pictures(128),
        updates=(
            Update(player="d", terms=(LeastSquaresD(),), forwards="fake_then_real"),
            Update(player="g", terms=(LeastSquaresG(),)),
        ),
        optim=Players(g=adam, d=adam),
        batch_size=64,
        steps=160_000,
        intervals=Intervals(log=100, sample=10_000, save=20_000),
    )
