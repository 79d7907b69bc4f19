"""StyleGAN3 (Karras et al. 2021, "Alias-Free GAN") by train.py of NVlabs/stylegan3 and its advice.

32 images a step on any number of GPUs: as many as fit at once, and the rest as micro-batches, over
whose number Adam's eps is divided since the original sums their gradients where limner averages.
R1 is lazy, the generator's only loss is not. gamma goes with the number of pixels: 0.5 at 128 px,
2 at 256, 8 at 512, 32 at 1024; other data may ask for a quarter to four times that.
The averages (mean style, magnitudes of layers) move where the discriminator learns, as there.
"""

from limner.core.facts import Machine, Pictures
from limner.core.schedules import Linear
from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.augment import AdaPipe, Blur
from limner.engine.controllers import AdaptP, Ema
from limner.models import StyleGan2Discriminator, StyleGan3Generator
from limner.objectives import R1, NonSaturatingD, NonSaturatingG
from limner.presets.fitted import USUAL_MACHINE, USUAL_PICTURES, Choice, gammas

BATCH = 32  # images a step
LAZY_D = 16  # steps between two penalties
SNAPSHOT = 200_000  # images between the original's sheets, states and scores


def stylegan3_t(pictures: Pictures = USUAL_PICTURES, machine: Machine = USUAL_MACHINE) -> RunConfig:
    """StyleGAN3-t, whose images can be moved, fitted to the pictures' size and the GPUs."""
    side = pictures.power_of_two(32, 1024)
    return recipe("stylegan3-t", side, min(max(4096 // side, 4), 16) * machine.num)


def stylegan3_r(pictures: Pictures = USUAL_PICTURES, machine: Machine = USUAL_MACHINE) -> RunConfig:
    """StyleGAN3-r, whose images can be moved and turned, fitted to the pictures' size and GPUs."""
    side = pictures.power_of_two(32, 1024)
    config = recipe("stylegan3-r", side, min(max(2048 // side, 4), 16) * machine.num)
    assert isinstance(config.generator, StyleGan3Generator)
    # As many parameters with pixels for kernels. What turns could show the discriminator its
    # wide blurred beginnings, so at first all that it sees is blurred.
    return config.replace(
        generator=config.generator.replace(
            kernel=1, radial=True, channel_base=65536, channel_max=1024
        ),
        augments=(
            Blur(sigma=Linear(10.0, 0.0, until_nimg=BATCH * 200_000 // 32)),
            *config.augments,
        ),
    )


def recipe(name: str, side: int, fits: int) -> RunConfig:
    """What both share, for pictures of a side, of which so many fit on all GPUs."""
    batch_size = min(fits, BATCH)
    accumulate = BATCH // batch_size
    adam = Adam(lr=2.5e-3, betas=(0.0, 0.99), eps=1e-8 / accumulate)
    every = SNAPSHOT // BATCH
    return RunConfig(
        name=name,
        generator=StyleGan3Generator(
            num_mapping=2,
            channel_base=32768,
            channel_max=512,
            clamp=256.0,
            magnitude_decay=0.5 ** (BATCH / 20_000),
            mean_style_decay=0.998,
        ),
        discriminator=StyleGan2Discriminator(
            channel_base=32768, channel_max=512, clamp=256.0, group_size=4, features=1
        ),
        data=DataConfig(resolution=side, channels=3, labels="none"),
        updates=(
            Update(
                player="g",
                terms=(NonSaturatingG(),),
                labels="natural",
                statistics="keep",
                accumulate=accumulate,
            ),
            Update(
                player="d",
                terms=(NonSaturatingD(),),
                labels="natural",
                forwards="fake_then_real",
                accumulate=accumulate,
            ),
            Update(
                player="d",
                terms=(R1(gamma=side**2 / 32768),),
                every=LAZY_D,
                reals="same",
                accumulate=accumulate,
            ),
        ),
        optim=Players(g=adam, d=adam.replace(lr=2e-3).corrected(LAZY_D)),
        controllers=(
            Ema(half_life_nimg=10_000.0, rampup=0.05, after="step", buffers="copy"),
            AdaptP(target=0.6, every=4, kimg=500.0),
        ),
        augments=(AdaPipe(transforms="bgc"),),
        batch_size=batch_size,
        kimg=25_000.0,
        intervals=Intervals(log=100, singular_values=0, sample=every, save=every, evaluate=every),
        metrics=("fid",),
        num_evaluate=50_000,
    )


def choices(config: RunConfig, pictures: Pictures, machine: Machine) -> list[Choice]:
    """What both picked."""
    side, rounds = min(config.data.size), config.updates[0].accumulate
    return [
        Choice("resolution", f"{side} px", "", f"--set data.resolution={max(side // 2, 8)}"),
        Choice("batch", f"{rounds} x {config.batch_size}", f"for {machine.num}", "--gpus N"),
        Choice("penalty", f"gamma {gammas(config, R1)}", "R1", "--set updates.2.terms.0.gamma=G"),
        Choice("augmentation", "ADA", "p adapts", "--set augments=[]"),
    ]
