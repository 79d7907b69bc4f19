"""BigGAN (Brock et al. 2019) by the launch scripts of BigGAN-PyTorch, constant by constant, and as
the paper trains it.

The scripts depart from the paper: the rates of SA-GAN with one discriminator step, statistics of
each process for itself, running statistics for sampling, no regularization. Scores are taken at
their intervals from 50,000 images, with the features that limner finds; `--set
features=inception-torchvision` takes the repository's own. The number of steps is the repository's
own claim for BigGAN (150,000, the best at 138,000), since its sampler shows the data more often
than its 100 epochs say. Elsewhere it is epochs x steps.

The paper (section 3, table 1, appendix C) has large batches whose statistics are those of all
processes, rates of 5e-5 and 2e-4 with two discriminator steps, an average from the first step on,
epsilons of 1e-4 in batch and spectral norm, samples with standing statistics. The batch is one
micro-batch over all processes: with `accumulate` it costs less memory, and batch norm then sees
less.
"""

from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Ema
from limner.models.biggan import BigGanDiscriminator, BigGanGenerator
from limner.objectives import HingeD, HingeG


def biggan_imagenet128_bs256x8() -> RunConfig:
    """launch_BigGAN_bs256x8.sh: ImageNet at 128 px, 8 micro-batches of 256 a step."""
    return RunConfig(
        name="biggan-imagenet128-bs256x8",
        generator=BigGanGenerator(
            width=96,
            z_dim=120,
            shared_dim=128,
            skip_z=True,
            attention=(64,),
            init="orthogonal",
            batch_norm_eps=1e-5,
            spectral_norm_eps=1e-6,
        ),
        discriminator=BigGanDiscriminator(
            width=96, attention=(64,), init="orthogonal", spectral_norm_eps=1e-6
        ),
        data=DataConfig(
            resolution=128, channels=3, filter="bilinear", in_memory=True, expected_classes=1000
        ),
        updates=(
            Update(player="d", terms=(HingeD(),), repeats=1, accumulate=8, forwards="joint"),
            Update(player="g", terms=(HingeG(),), accumulate=8),
        ),
        optim=Players(
            g=Adam(lr=1e-4, betas=(0.0, 0.999), eps=1e-6),
            d=Adam(lr=4e-4, betas=(0.0, 0.999), eps=1e-6),
        ),
        controllers=(Ema(decay=0.9999, start_step=20_000),),
        batch_size=256,
        steps=150_000,
        intervals=Intervals(singular_values=10, sample=1000, save=1000, evaluate=2000),
        metrics=("is", "fid"),
        num_evaluate=50_000,
        keep_best=5,
    )


def biggan_cifar10() -> RunConfig:
    """launch_cifar_ema.sh: CIFAR-10 at 32 px, batches of 50, four discriminator steps.

    500 epochs of 250 steps. The script also samples with the statistics of the batch at hand;
    limner always evaluates with running ones.
    """
    adam = Adam(lr=2e-4, betas=(0.0, 0.999), eps=1e-8)
    return RunConfig(
        name="biggan-cifar10",
        generator=BigGanGenerator(width=64, z_dim=128, init="normal", spectral_norm_eps=1e-8),
        discriminator=BigGanDiscriminator(width=64, init="normal", spectral_norm_eps=1e-8),
        data=DataConfig(resolution=32, channels=3),
        updates=(
            Update(player="d", terms=(HingeD(),), repeats=4, forwards="joint"),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(g=adam, d=adam),
        controllers=(Ema(decay=0.9999, start_step=1000),),
        batch_size=50,
        steps=125_000,
        intervals=Intervals(singular_values=10, sample=2000, save=2000, evaluate=5000),
        metrics=("is", "fid"),
        num_evaluate=50_000,
        keep_best=5,
    )


def biggan_ladder_batch256() -> RunConfig:
    """Table 1, row 1: the SA-GAN baseline with the paper's optimizer, batch norm and average."""
    return RunConfig(
        name="biggan-ladder-batch256",
        generator=BigGanGenerator(
            width=64,
            z_dim=120,
            attention=(64,),
            norm="cross_replica",
            init="orthogonal",
            batch_norm_eps=1e-4,
            spectral_norm_eps=1e-4,
        ),
        discriminator=BigGanDiscriminator(
            width=64, attention=(64,), init="orthogonal", spectral_norm_eps=1e-4
        ),
        data=DataConfig(resolution=128, channels=3, filter="box", expected_classes=1000),
        updates=(
            Update(player="d", terms=(HingeD(),), repeats=2, forwards="joint"),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(
            g=Adam(lr=5e-5, betas=(0.0, 0.999), eps=1e-8),
            d=Adam(lr=2e-4, betas=(0.0, 0.999), eps=1e-8),
        ),
        controllers=(Ema(decay=0.9999, start_step=0),),
        batch_size=256,
        steps=1_000_000,
        intervals=Intervals(singular_values=10, sample=1000, save=1000, evaluate=2000),
        metrics=("is", "fid"),
        num_evaluate=50_000,
        standing_passes=100,
    )
