"""Recipes for small sets of pictures, to choose between: networks of about one cost on a CPU."""

from limner.core.protocols import NetworkConfig
from limner.data import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.augment import Augment
from limner.engine.controllers import Ema
from limner.models import BigGanDiscriminator, BigGanGenerator
from limner.objectives import R1, R2, RelativisticD, RelativisticG

QUIET = Intervals(log=50, health=0, singular_values=0, save=500)
LAZY = 4  # steps between penalties


def relativistic(
    networks: tuple[NetworkConfig, NetworkConfig],
    seed: int,
    steps: int,
    lr: float = 5e-4,
    gamma: float = 2.0,
    batch_size: int = 32,
    augments: tuple[Augment, ...] = (),
    resolution: int = 64,
    flip: bool = True,
) -> RunConfig:
    """R3GAN's loss on any pair; both penalties at every LAZY-th step, and Adam corrected for it."""
    share = LAZY / (LAZY + 1)
    adam = Adam(lr=lr, betas=(0.0, 0.99))
    return RunConfig(
        name="pictures",
        generator=networks[0],
        discriminator=networks[1],
        data=DataConfig(resolution=resolution, labels="none", flip=flip),
        updates=(
            Update(player="d", terms=(RelativisticD(),), labels="real"),
            Update(player="d", terms=(R1(gamma=gamma), R2(gamma=gamma)), every=LAZY, reals="same"),
            Update(player="g", terms=(RelativisticG(),), labels="real", counts=False),
        ),
        optim=Players(g=adam, d=adam.replace(lr=lr * share, betas=(0.0, 0.99**share))),
        controllers=(Ema(half_life_nimg=3000, rampup=0.05, after="step"),),
        augments=augments,
        batch_size=batch_size,
        steps=steps,
        seed=seed,
        intervals=QUIET,
    )


def residual(seed: int, steps: int) -> RunConfig:
    """The residual pair of BigGAN in small width, without spectral norm."""
    multipliers = (1, 2, 4, 4)
    networks = (
        BigGanGenerator(width=16, z_dim=64, multipliers=multipliers, spectral_norm=False),
        BigGanDiscriminator(
            width=16, multipliers=multipliers, spectral_norm=False, bottom=4, num_last_blocks=1
        ),
    )
    return relativistic(networks, seed, steps)
