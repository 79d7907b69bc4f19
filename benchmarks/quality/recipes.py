"""What is trained: one RunConfig a benchmark. docs/quality.md says where each comes from."""

from typing import Literal

from limner.core.schedules import Cosine
from limner.data import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Ema, LearningRate
from limner.objectives import (
    R1,
    R2,
    HingeD,
    HingeG,
    NonSaturatingD,
    NonSaturatingG,
    RelativisticD,
    RelativisticG,
)
from quality.networks import (
    DigitDiscriminator,
    DigitGenerator,
    PointDiscriminator,
    PointGenerator,
    UnrolledDiscriminator,
    UnrolledGenerator,
)
from quality.reals import Points

QUIET = Intervals(log=500, health=0, singular_values=0, save=1000)
SN_GAN = (
    Update(player="d", terms=(HingeD(),)),
    Update(player="g", terms=(HingeG(),)),
)

Mixture = Literal["ring", "grid"]


def conditional(seed: int, steps: int) -> RunConfig:
    """Class-conditional digits: hinge, projection, spectral norm in D, class batch norm in G."""
    return RunConfig(
        name="conditional",
        generator=DigitGenerator(z_dim=32),
        discriminator=DigitDiscriminator(),
        data=DataConfig(resolution=28, channels=1),
        updates=SN_GAN,
        optim=Players(g=Adam(lr=1e-3), d=Adam(lr=1e-3)),
        controllers=(Ema(decay=0.995), cooled(64 * steps)),
        batch_size=64,
        steps=steps,
        seed=seed,
        intervals=QUIET,
    )


def stacked(seed: int, steps: int) -> RunConfig:
    """Stacked MNIST, protocol free-10k: the same pair without classes, three channels.

    The average looks back over 1,000 steps where the six-minute study's looked over 200, for the
    run is that much longer.
    """
    return RunConfig(
        name="stacked",
        generator=DigitGenerator(),
        discriminator=DigitDiscriminator(),
        data=DataConfig(resolution=28, channels=3, labels="none"),
        updates=SN_GAN,
        optim=Players(g=Adam(lr=1e-3), d=Adam(lr=1e-3)),
        controllers=(Ema(decay=0.999 if steps > 5000 else 0.995), cooled(64 * steps)),
        batch_size=64,
        steps=steps,
        seed=seed,
        intervals=QUIET,
    )


def stacked_relativistic(seed: int, steps: int) -> RunConfig:
    """The same with R3GAN's loss in place of hinge and spectral norm: relativistic pairing, R1 and
    R2 at every fourth step."""
    config, penalties = stacked(seed, steps), (R1(gamma=1.0), R2(gamma=1.0))
    adam = Adam(lr=1e-3, betas=(0.0, 0.99))
    return config.replace(
        name="stacked-relativistic",
        discriminator=DigitDiscriminator(spectral_norm=False),
        updates=(
            Update(player="d", terms=(RelativisticD(),)),
            Update(player="d", terms=penalties, every=4, reals="same"),
            Update(player="g", terms=(RelativisticG(),), counts=False),
        ),
        optim=Players(g=adam, d=adam.corrected(4)),
    )


def cooled(nimg: int) -> LearningRate:
    """Full rates over the first half of a run, then along a cosine to a twentieth."""
    return LearningRate(
        factor=Cosine(start=1.0, end=0.05, from_nimg=nimg // 2, until_nimg=nimg), read_every=10
    )


def protocol_b(seed: int, steps: int, widths: tuple[int, int, int]) -> RunConfig:
    """DCGAN of the "Unrolled" protocol, from PacGAN's code: no average, no schedule."""
    return RunConfig(
        name="protocol-b",
        generator=UnrolledGenerator(),
        discriminator=UnrolledDiscriminator(widths=widths),
        data=DataConfig(resolution=28, channels=3, labels="none"),
        updates=(
            Update(player="d", terms=(NonSaturatingD(),), forwards="real_then_fake"),
            Update(player="g", terms=(NonSaturatingG(),)),
        ),
        optim=Players(g=Adam(lr=1e-4, betas=(0.5, 0.99)), d=Adam(lr=2e-4, betas=(0.5, 0.99))),
        batch_size=128,
        steps=steps,
        seed=seed,
        intervals=QUIET,
    )


def mixture(name: Mixture, seed: int, steps: int) -> RunConfig:
    """Points: relativistic pairing with R1 and R2, gamma from 0.02 to 0.002."""
    nimg = 2 * 256 * steps  # both players look at reals
    gamma = Cosine(start=0.02, end=0.002, until_nimg=nimg)
    return RunConfig(
        name=name,
        generator=PointGenerator(),
        discriminator=PointDiscriminator(),
        data=DataConfig(resolution=1, channels=2, labels="none"),
        updates=(
            Update(
                player="d",
                terms=(RelativisticD(), R1(gamma=gamma), R2(gamma=gamma)),
                forwards="joint",
            ),
            Update(player="g", terms=(RelativisticG(),), forwards="joint"),
        ),
        optim=Players(g=Adam(lr=1e-3), d=Adam(lr=1e-3)),
        controllers=(Points(mixture=name), Ema(decay=0.995), cooled(nimg)),
        batch_size=256,
        steps=steps,
        seed=seed,
        intervals=QUIET,
    )


def mixture_plain(name: Mixture, seed: int, steps: int) -> RunConfig:
    """The same points and networks with the non-saturating loss alone: what may well collapse."""
    config = mixture(name, seed, steps)
    return config.replace(
        name=f"{name}-plain",
        updates=(
            Update(player="d", terms=(NonSaturatingD(),), forwards="joint"),
            Update(player="g", terms=(NonSaturatingG(),)),
        ),
        controllers=(Points(mixture=name), Ema(decay=0.995), cooled(256 * steps)),
    )
