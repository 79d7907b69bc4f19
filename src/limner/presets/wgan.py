"""WGAN-GP (Gulrajani et al. 2017) by MMGeneration's recipe, without a moving average or labels."""

from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.models import WganGpDiscriminator, WganGpGenerator
from limner.objectives import GradientPenalty, WassersteinD, WassersteinG
from limner.presets.dcgan import unlabelled


def wgan_gp_celeba128() -> RunConfig:
    """MMGeneration's WGAN-GP at 128 px: five steps of the critic for one of the generator."""
    adam = Adam(lr=1e-4, betas=(0.5, 0.9))
    return RunConfig(
        name="wgan-gp-celeba128",
        generator=WganGpGenerator(),
        discriminator=WganGpDiscriminator(),
        data=unlabelled(128),
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
