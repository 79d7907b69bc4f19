"""StyleGAN2-ADA (Karras et al. 2020), by train.py of NVlabs/stylegan2-ada-pytorch.

Lazy regularization: path length and R1 take part in each 4th and 16th step, as steps of their own
of the one optimizer of their player, whose rate and betas are corrected for as many steps more.
Half precision is not a default here; `--set precision=bfloat16` runs the networks' forwards in it.
A batch is one micro-batch over all processes; on fewer GPUs, `--set` a smaller `batch_size` and as
much more `accumulate` of each update (and eps over it: the original sums where limner averages).
Augmentation adapts, as is the default of train.py; without it: `--set augments=[]`, and AdaptP out
of the controllers.
"""

from limner.core.config import override
from limner.core.facts import Machine, Pictures
from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.augment import AdaPipe
from limner.engine.controllers import AdaptP, Ema
from limner.models import StyleGan2Discriminator, StyleGan2Generator
from limner.objectives import R1, NonSaturatingD, NonSaturatingG, PathLength
from limner.presets.fitted import USUAL_MACHINE, USUAL_PICTURES, Choice, gammas
from limner.presets.stylegan2_variants import automatic, changes

LAZY_G, LAZY_D = 4, 16  # steps between the lazy updates of either player


def stylegan2() -> RunConfig:
    """StyleGAN2, configuration F of the paper: 1024 px, 25 million images, 8 GPUs."""
    return RunConfig(
        name="stylegan2",
        generator=StyleGan2Generator(
            z_dim=512, w_dim=512, num_mapping=8, channel_base=32768, channel_max=512, clamp=256.0
        ),
        discriminator=StyleGan2Discriminator(
            channel_base=32768, channel_max=512, clamp=256.0, group_size=4, features=1
        ),
        data=DataConfig(resolution=1024, channels=3, labels="none"),
        updates=(
            Update(player="g", terms=(NonSaturatingG(),), labels="natural", style_mixing=0.9),
            Update(
                player="g",
                terms=(PathLength(weight=2.0, decay=0.01),),
                every=LAZY_G,
                labels="natural",
                style_mixing=0.9,
                latent_share=0.5,
                unreached="zero",
            ),
            Update(
                player="d",
                terms=(NonSaturatingD(),),
                labels="natural",
                style_mixing=0.9,
                forwards="fake_then_real",
            ),
            Update(
                player="d", terms=(R1(gamma=10.0),), every=LAZY_D, reals="same", unreached="zero"
            ),
        ),
        optim=Players(
            g=Adam(lr=2e-3, betas=(0.0, 0.99), eps=1e-8).corrected(LAZY_G),
            d=Adam(lr=2e-3, betas=(0.0, 0.99), eps=1e-8).corrected(LAZY_D),
        ),
        controllers=(
            Ema(half_life_nimg=10_000.0, after="step", buffers="copy"),
            AdaptP(target=0.6, every=4, kimg=500.0),
        ),
        augments=(AdaPipe(transforms="bgc"),),
        batch_size=32,
        kimg=25_000.0,
        intervals=Intervals(log=100, singular_values=0, sample=6250, save=6250, evaluate=6250),
        metrics=("fid",),
        num_evaluate=50_000,
    )


def stylegan2_cifar() -> RunConfig:
    """StyleGAN2 tuned for CIFAR-10 at 32 px: no path length, no mixing, no shortcuts; 2 GPUs."""
    config = stylegan2()
    main_g, _, main_d, penalty = config.updates
    return config.replace(
        name="stylegan2-cifar",
        generator=StyleGan2Generator(num_mapping=2, channel_base=32768, clamp=256.0),
        discriminator=StyleGan2Discriminator(
            architecture="orig", channel_base=32768, clamp=256.0, group_size=32
        ),
        data=config.data.replace(resolution=32),
        updates=(
            main_g.replace(style_mixing=0.0),
            main_d.replace(style_mixing=0.0),
            penalty.replace(terms=(R1(gamma=0.01),)),
        ),
        # The generator's rate and betas stay corrected for the path length that is not there.
        optim=Players(
            g=Adam(lr=2.5e-3, betas=(0.0, 0.99), eps=1e-8).corrected(LAZY_G),
            d=Adam(lr=2.5e-3, betas=(0.0, 0.99), eps=1e-8).corrected(LAZY_D),
        ),
        controllers=(
            Ema(half_life_nimg=500_000.0, rampup=0.05, after="step", buffers="copy"),
            *config.controllers[1:],
        ),
        batch_size=64,
        kimg=100_000.0,
        intervals=config.intervals.replace(sample=3125, save=3125, evaluate=3125),
    )


def stylegan2_auto(
    pictures: Pictures = USUAL_PICTURES, machine: Machine = USUAL_MACHINE
) -> RunConfig:
    """StyleGAN2-ADA's automatic settings, by the size of the pictures and the number of GPUs."""
    row = automatic(pictures.power_of_two(32, 1024), machine.num)
    return override(stylegan2(), ["name=stylegan2-auto", *changes(row)])


def choices(config: RunConfig, pictures: Pictures, machine: Machine) -> list[Choice]:
    """What `stylegan2_auto` picked."""
    side = min(config.data.size)
    return [
        Choice("resolution", f"{side} px", "", f"--set data.resolution={max(side // 2, 8)}"),
        Choice("batch", f"{config.batch_size}", f"for {machine.num}", "--set batch_size=N"),
        Choice("penalty", f"gamma {gammas(config, R1)}", "R1", "--set updates.3.terms.0.gamma=G"),
        Choice("augmentation", "ADA", "p adapts", "--set augments.0.transforms=bg"),
    ]
