"""R3GAN (Huang et al. 2024) by brownvc/R3GAN's train.py and its commands, constant by constant.

Everything that changes follows half a cosine over one horizon: rates, beta2, gamma, the half-life
of the average and the chance of an augmentation. The original is stopped by hand; here a run ends
where its schedules do. Its bfloat16 stages are those of the networks' `bfloat16_stages`:
precision=float32 computes all in float32, as a machine without bfloat16 has to.

A step shows batch_size * accumulate reals to either player, and the clock counts them once. The
original's processes are the `accumulate` micro-batches here, so `--set batch_size=32` makes steps
and memory smaller in proportion; where more fits, on several GPUs, raise batch_size (it counts all
processes) and lower both `accumulate`. Other resolutions take the same networks, cut or continued
(`--set data.resolution=128`); gamma is what they may ask for: 0.05 to 0.5 at 32 px, 1 to 2 at 64,
150 at 256.
"""

from limner.core.schedules import Cosine
from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.augment import AdaPipe
from limner.engine.controllers import Beta2, Ema, LearningRate
from limner.models.r3gan import R3ganDiscriminator, R3ganGenerator
from limner.objectives import R1, R2, RelativisticD, RelativisticG

SNAPSHOT = 200_000  # images between the original's sheets, states and scores


def r3gan_cifar10() -> RunConfig:
    """R3GAN on CIFAR-10 with its classes: 512 images a step, the original's on 8 GPUs."""
    return recipe(
        name="r3gan-cifar10",
        data=DataConfig(resolution=32, channels=3, flip=True, expected_classes=10),
        widths=(768,),
        gamma=0.05,
        half_life=5e6,
        p=0.55,
        images=(64, 8),
    )


def r3gan_ffhq64() -> RunConfig:
    """R3GAN on FFHQ at 64 px: 256 images a step, the original's on 8 GPUs."""
    return recipe(
        name="r3gan-ffhq64",
        data=DataConfig(resolution=64, channels=3, labels="none", flip=True),
        widths=(768, 768, 768, 768, 384),
        gamma=2.0,
        half_life=5e5,
        p=0.3,
        images=(32, 8),
    )


def r3gan_ffhq256() -> RunConfig:
    """R3GAN on FFHQ at 256 px: 256 images a step, the original's on 8 GPUs."""
    return recipe(
        name="r3gan-ffhq256",
        data=DataConfig(resolution=256, channels=3, labels="none", flip=True),
        widths=(768, 768, 768, 768, 384, 192, 96),
        gamma=150.0,
        half_life=5e5,
        p=0.3,
        images=(32, 8),
    )


def r3gan_imagenet32() -> RunConfig:
    """R3GAN on ImageNet at 32 px: 4096 images a step, the original's on 32 GPUs."""
    return recipe(
        name="r3gan-imagenet32",
        data=DataConfig(resolution=32, channels=3, flip=True, expected_classes=1000),
        widths=(1536,),
        group_width=32,
        horizon=200_000_000,
        gamma=0.5,
        half_life=5e7,
        p=0.5,
        images=(128, 32),
    )


def r3gan_imagenet64() -> RunConfig:
    """R3GAN on ImageNet at 64 px: 4096 images a step, the original's on 64 GPUs."""
    return recipe(
        name="r3gan-imagenet64",
        data=DataConfig(resolution=64, channels=3, flip=True, expected_classes=1000),
        widths=(1536,),
        group_width=32,
        horizon=200_000_000,
        gamma=1.0,
        half_life=5e7,
        p=0.4,
        images=(64, 64),
    )


def recipe(
    *,
    name: str,
    data: DataConfig,
    widths: tuple[int, ...],
    gamma: float,
    half_life: float,
    p: float,
    images: tuple[int, int],
    group_width: int = 16,
    horizon: int = 20_000_000,
) -> RunConfig:
    """What the five presets share.

    Args:
        widths, group_width: channels of both networks, and of a group.
        gamma: of R1 and R2 at first; a tenth at the end.
        half_life: of the average in images at the end; at first it copies.
        p: chance of each augmentation at the end; none at first.
        images: of a micro-batch, and micro-batches of a step.
        horizon: real images after which all schedules have ended.
    """

    def until_end(start: float, end: float) -> Cosine:
        return Cosine(start, end, until_nimg=horizon)

    batch_size, accumulate = images
    # At 32 px all but 4x4, above the four highest resolutions.
    sizes = {
        "widths": widths,
        "group_widths": (group_width,),
        "bfloat16_stages": 3 if data.resolution == 32 else 4,
    }
    adam = Adam(lr=2e-4, betas=(0.0, 0.9), eps=1e-8)
    every = SNAPSHOT // (batch_size * accumulate)
    return RunConfig(
        name=name,
        generator=R3ganGenerator(z_dim=64, embedding_dim=64, blocks=(2,), expansion=2, **sizes),
        discriminator=R3ganDiscriminator(blocks=(2,), expansion=2, **sizes),
        data=data,
        updates=updates_of(until_end(gamma, gamma / 10), accumulate),
        optim=Players(g=adam, d=adam),
        controllers=(
            LearningRate(factor=until_end(1.0, 0.25)),
            Beta2(value=until_end(0.9, 0.99)),
            Ema(half_life_nimg=until_end(0.0, half_life), after="step", buffers="copy"),
        ),
        augments=(AdaPipe(p=until_end(0.0, p), transforms="r3gan"),),
        batch_size=batch_size,
        kimg=horizon / 1000,
        precision="bfloat16",
        intervals=Intervals(singular_values=0, sample=every, save=every, evaluate=every),
        metrics=("fid",),
        num_evaluate=50_000,
    )


def updates_of(gamma: Cosine, accumulate: int) -> tuple[Update, ...]:
    """A step: the discriminator's and the generator's update, on real batches of their own, whose
    labels the fakes take; both penalties in every step."""
    return (
        Update(
            player="d",
            terms=(RelativisticD(), R1(gamma=gamma), R2(gamma=gamma)),
            labels="real",
            forwards="real_then_fake",
            accumulate=accumulate,
        ),
        Update(
            player="g",
            terms=(RelativisticG(),),
            labels="real",
            forwards="fake_then_real",
            counts=False,
            accumulate=accumulate,
        ),
    )
