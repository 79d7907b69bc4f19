"""Recipes for small sets of pictures, and families to compare, each for equal time of a CPU."""

from collections.abc import Callable
from functools import partial

from limner import presets
from limner.core.facts import Machine, Pictures
from limner.core.protocols import NetworkConfig
from limner.data import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.augment import AdaPipe, Augment, DiffAugment
from limner.engine.controllers import AdaptP, Ema
from limner.models import (
    DcganDiscriminator,
    DcganGenerator,
    FastGanGenerator,
    ProjectedDiscriminator,
    R3ganDiscriminator,
    R3ganGenerator,
    StyleGan2Discriminator,
    StyleGan2Generator,
)
from limner.objectives import (
    R1,
    R2,
    HingeD,
    HingeG,
    NonSaturatingD,
    NonSaturatingG,
    PathLength,
    RelativisticD,
    RelativisticG,
)
from limner.presets import own_pictures

QUIET = Intervals(log=50, health=0, singular_values=0, save=200)
LAZY = 4  # steps between penalties
KIMG = 20.0  # for ADA's p to go from 0 to 1; the original's 500 is for runs of 25,000
HALF_LIFE = Ema(half_life_nimg=10_000, rampup=0.05, after="step", buffers="copy")

Networks = tuple[NetworkConfig, NetworkConfig]
Recipe = Callable[[int], RunConfig]  # from the side of the pictures in pixels


def of_seed(recipe: Recipe, side: int, flip: bool, seed: int, steps: int) -> RunConfig:
    """A recipe as the benchmarks ask for it."""
    config = recipe(side)
    return config.replace(data=config.data.replace(flip=flip), seed=seed, steps=steps)


def relativistic(
    networks: Networks, lr: float, side: int, augments: tuple[Augment, ...] = ()
) -> RunConfig:
    """R3GAN's loss on any pair, both penalties at every LAZY-th step."""
    gamma = 2.0 * (side / 64) ** 2
    adam = Adam(lr=lr, betas=(0.0, 0.99))
    penalties = (R1(gamma=gamma), R2(gamma=gamma))
    return RunConfig(
        name="pictures",
        generator=networks[0],
        discriminator=networks[1],
        data=DataConfig(resolution=side, labels="none"),
        updates=(
            Update(player="d", terms=(RelativisticD(),), labels="real"),
            Update(player="d", terms=penalties, labels="real", every=LAZY, reals="same"),
            Update(player="g", terms=(RelativisticG(),), labels="real", counts=False),
        ),
        optim=Players(g=adam, d=adam.corrected(LAZY)),
        controllers=(HALF_LIFE,),
        augments=augments,
        batch_size=32,
        steps=1_000_000,
        intervals=QUIET,
    )


def residual(side: int, augments: tuple[Augment, ...] = ()) -> RunConfig:
    """`photos` as it is on a CPU, for as long as there is time."""
    pictures = Pictures(num=1500, side=side, is_final=True)
    config = own_pictures.photos(pictures, Machine())
    return config.replace(
        augments=augments, kimg=None, steps=1_000_000, intervals=QUIET, metrics=()
    )


def r3gan(side: int, augments: tuple[Augment, ...] = ()) -> RunConfig:
    """R3GAN's networks with a block a resolution and few channels."""
    lists = {"widths": (96, 96, 64, 32, 16), "blocks": (1,)}
    networks = (R3ganGenerator(z_dim=64, **lists), R3ganDiscriminator(**lists))
    return relativistic(networks, 5e-4, side, augments)


def stylegan2(side: int) -> RunConfig:
    """StyleGAN2-ADA's `auto` for one GPU, with few channels; without augmentation."""
    few = {"channel_base": 1024, "channel_max": 128}
    adam, mixing = Adam(lr=0.0025, betas=(0.0, 0.99)), {"style_mixing": 0.9}
    return RunConfig(
        name="pictures",
        generator=StyleGan2Generator(z_dim=128, w_dim=128, num_mapping=2, **few),
        discriminator=StyleGan2Discriminator(**few),
        data=DataConfig(resolution=side, labels="none"),
        updates=(
            Update(player="g", terms=(NonSaturatingG(),), **mixing),
            Update(player="g", terms=(PathLength(),), every=4, latent_share=0.5, **mixing),
            Update(player="d", terms=(NonSaturatingD(),), **mixing),
            Update(player="d", terms=(R1(gamma=0.0002 * side**2 / 32),), every=16, reals="same"),
        ),
        optim=Players(g=adam.corrected(4), d=adam.corrected(16)),
        controllers=(HALF_LIFE,),
        batch_size=32,
        steps=1_000_000,
        intervals=QUIET,
    )


def stylegan2_ada(side: int) -> RunConfig:
    """The same with the whole of ADA and its p."""
    config = stylegan2(side)
    controllers = (*config.controllers, AdaptP(kimg=KIMG))
    return config.replace(augments=(AdaPipe(),), controllers=controllers)


def projected(side: int) -> RunConfig:
    """Projected GAN with FastGAN's generator, small, on EfficientNet-lite0 at 128 px."""
    return RunConfig(
        name="pictures",
        generator=FastGanGenerator(width=16, z_dim=64),
        discriminator=ProjectedDiscriminator(input_size=128, head_channels=128),
        data=DataConfig(resolution=side, labels="none"),
        updates=(
            Update(player="d", terms=(HingeD(),), forwards="fake_then_real"),
            Update(player="g", terms=(HingeG(),)),
        ),
        optim=Players(g=Adam(lr=2e-4), d=Adam(lr=2e-4)),
        controllers=(HALF_LIFE,),
        augments=(DiffAugment(cutout=0.2),),
        batch_size=16,
        steps=1_000_000,
        intervals=QUIET,
    )


def dcgan(side: int) -> RunConfig:
    """`dcgan-celeba64` at half its channels and half its batch, with an average."""
    width = side  # 64 at 64 px, where the preset has 128
    return presets.get("dcgan-celeba64")().replace(
        name="pictures",
        generator=DcganGenerator(width=width),
        discriminator=DcganDiscriminator(width=width),
        data=DataConfig(resolution=side, labels="none"),
        controllers=(HALF_LIFE,),
        batch_size=64,
        steps=1_000_000,
        intervals=QUIET,
    )


def biggan(side: int) -> RunConfig:
    """`biggan-cifar10` at a quarter of its channels, with one discriminator step for its four, for
    so short a run has few steps; its average by images shown."""
    config = presets.get("biggan-cifar10")()
    return config.replace(
        name="pictures",
        generator=config.generator.replace(width=16),
        discriminator=config.discriminator.replace(width=16),
        data=DataConfig(resolution=side, labels="none"),
        updates=(config.updates[0].replace(repeats=1), config.updates[1]),
        controllers=(HALF_LIFE,),
        steps=1_000_000,
        intervals=QUIET,
        metrics=(),
    )


AUGMENTED = (DiffAugment(),)
CANDIDATES: dict[str, Recipe] = {
    "residual": residual,
    "residual-augmented": partial(residual, augments=AUGMENTED),
    "r3gan": partial(r3gan, augments=AUGMENTED),
    "stylegan2-ada": stylegan2_ada,
    "projected": projected,
}
FAMILIES: dict[str, Recipe] = {
    "dcgan": dcgan,
    "biggan": biggan,
    "stylegan2-ada": stylegan2_ada,
    "r3gan": r3gan,
}
