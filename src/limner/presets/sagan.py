"""SA-GAN (Zhang et al. 2019) by BigGAN-PyTorch's launch script and by MMGeneration's configs."""

from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Ema
from limner.models.sagan import SaganDiscriminator, SaganGenerator
from limner.objectives import HingeD, HingeG


def sagan_imagenet128() -> RunConfig:
    """launch_SAGAN_bs128x2_ema.sh: two micro-batches of 128; 100 epochs of 5,004 steps."""
    return RunConfig(
        name="sagan-imagenet128",
        generator=SaganGenerator(
            width=64,
            z_dim=128,
            attention=(64,),
            init="xavier",
            batch_norm_eps=1e-5,
            spectral_norm_eps=1e-8,
        ),
        discriminator=SaganDiscriminator(
            width=64, attention=(64,), init="xavier", spectral_norm_eps=1e-8
        ),
        data=DataConfig(resolution=128, channels=3, filter="bilinear", expected_classes=1000),
        updates=(
            Update(player="d", terms=(HingeD(),), repeats=1, accumulate=2, forwards="joint"),
            Update(player="g", terms=(HingeG(),), accumulate=2),
        ),
        optim=Players(
            g=Adam(lr=1e-4, betas=(0.0, 0.999), eps=1e-8),
            d=Adam(lr=4e-4, betas=(0.0, 0.999), eps=1e-8),
        ),
        controllers=(Ema(decay=0.9999, start_step=2000),),
        batch_size=128,
        steps=500_400,
        intervals=Intervals(singular_values=10, sample=1000, save=1000, evaluate=2000),
        metrics=("is", "fid"),
        num_evaluate=50_000,
        keep_best=5,
    )


def sagan_cifar10_mmgen() -> RunConfig:
    """MMGeneration's sagan_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1: attention at 16 px.

    Five discriminator steps; its 500,000 iterations count those. No average. The config file says
    `disc_step`, which MMGeneration ignores, but its base has five as well.
    """
    adam = Adam(lr=2e-4, betas=(0.5, 0.999), eps=1e-8)
    return RunConfig(
        name="sagan-cifar10-mmgen",
        generator=SaganGenerator(
            width=256,
            z_dim=128,
            multipliers=(1,),
            attention=(16,),
            norm="cross_replica",
            init="orthogonal",
            batch_norm_eps=1e-4,
            spectral_norm_eps=1e-12,
        ),
        discriminator=SaganDiscriminator(
            width=128,
            multipliers=(1,),
            attention=(16,),
            init="orthogonal",
            spectral_norm_eps=1e-12,
        ),
        data=DataConfig(resolution=32, channels=3),
        updates=(
            Update(player="d", terms=(HingeD(),), repeats=5, forwards="fake_then_real"),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(g=adam, d=adam),
        batch_size=64,
        steps=100_000,
        intervals=Intervals(log=20, sample=1000, save=2000, evaluate=2000),
        metrics=("is", "fid"),
        num_evaluate=50_000,
    )
