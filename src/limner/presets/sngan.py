"""SN-GAN with projection (Miyato et al. 2018; Miyato & Koyama 2018), by BigGAN-PyTorch's launch
script and by MMGeneration's configs.

MMGeneration normalizes the discriminator alone, takes batch statistics over all processes with an
epsilon of 1e-4, and sees fakes before reals; its iterations count discriminator steps.
"""

from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.models.sngan import SnganDiscriminator, SnganGenerator
from limner.objectives import HingeD, HingeG


def sngan_imagenet128() -> RunConfig:
    """launch_SNGAN.sh: batches of 64, five discriminator steps; 100 epochs of 4,003 steps."""
    adam = Adam(lr=2e-4, betas=(0.0, 0.9), eps=1e-8)
    return RunConfig(
        name="sngan-imagenet128",
        generator=SnganGenerator(
            width=64, z_dim=128, init="xavier", batch_norm_eps=1e-5, spectral_norm_eps=1e-8
        ),
        discriminator=SnganDiscriminator(
            width=64, wide=False, init="xavier", spectral_norm_eps=1e-8
        ),
        data=DataConfig(resolution=128, channels=3, filter="bilinear", expected_classes=1000),
        updates=(
            Update(player="d", terms=(HingeD(),), repeats=5, forwards="joint"),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(g=adam, d=adam),
        batch_size=64,
        steps=400_300,
        intervals=Intervals(singular_values=10, sample=1000, save=1000, evaluate=2000),
        metrics=("is", "fid"),
        num_evaluate=50_000,
        keep_best=5,
    )


def sngan_cifar10_mmgen() -> RunConfig:
    """MMGeneration's sngan_proj_32_woReLUinplace_lr-2e-4_ndisc5_cifar10_b64x1, pictures mirrored.

    256 channels in the generator and 128 in the discriminator everywhere; 500,000 iterations.
    """
    adam = Adam(lr=2e-4, betas=(0.5, 0.999), eps=1e-8)
    return RunConfig(
        name="sngan-cifar10-mmgen",
        generator=SnganGenerator(
            width=256,
            z_dim=128,
            multipliers=(1,),
            norm="cross_replica",
            spectral_norm=False,
            init="orthogonal",
            batch_norm_eps=1e-4,
        ),
        discriminator=SnganDiscriminator(
            width=128, multipliers=(1,), wide=True, init="orthogonal", spectral_norm_eps=1e-12
        ),
        data=DataConfig(resolution=32, channels=3, flip=True),
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
