"""`photos`, for one's own pictures: a recipe that fits itself to them and to the machine.

R3GAN's loss (Huang et al. 2024) with both penalties at every fourth step on a residual pair, and
DiffAugment (Zhao et al. 2020) where pictures are few and a run is long enough to learn them.
What was tried and measured before: docs/log.md.
"""

from limner.core.facts import Machine, Pictures
from limner.core.protocols import NetworkConfig
from limner.data.config import DataConfig
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.augment import Augment, DiffAugment
from limner.engine.controllers import Ema
from limner.models import BigGanDiscriminator, BigGanGenerator
from limner.objectives import R1, R2, RelativisticD, RelativisticG
from limner.presets.fitted import (
    SMALL_CLASS,
    USUAL_MACHINE,
    USUAL_PICTURES,
    Choice,
    gammas,
    labels_for,
)

SMALLEST, LARGEST = 32, {"cpu": 64, "mps": 128, "cuda": 256}  # pixels
FEW = 20_000  # pictures; the discriminator learns fewer by heart
LAZY = 4  # steps between penalties
AUGMENT = """--set 'augments=[{"type": "DiffAugment"}]'"""


def photos(pictures: Pictures = USUAL_PICTURES, machine: Machine = USUAL_MACHINE) -> RunConfig:
    """Your own pictures: `limner train photos --data DIR` fits itself to them and the machine."""
    side = pictures.power_of_two(SMALLEST, LARGEST[machine.kind])
    gamma = 2.0 * (side / 64) ** 2  # a penalty's gradient is a sum over pixels
    adam = Adam(lr=1e-3, betas=(0.0, 0.99))
    generator, discriminator = networks(machine)
    return RunConfig(
        name="photos",
        generator=generator,
        discriminator=discriminator,
        data=DataConfig(
            resolution=side,
            labels=labels_for(pictures),
            flip=pictures.mirrors,
        ),
        updates=(
            Update(player="d", terms=(RelativisticD(),), labels="real"),
            Update(
                player="d",
                terms=(R1(gamma=gamma), R2(gamma=gamma)),
                labels="real",
                every=LAZY,
                reals="same",
            ),
            Update(player="g", terms=(RelativisticG(),), labels="real", counts=False),
        ),
        optim=Players(g=adam, d=adam.corrected(LAZY)),
        controllers=(Ema(half_life_nimg=10_000, rampup=0.05, after="step"),),
        augments=augments(pictures, machine),
        batch_size=32,
        kimg=100 if machine.kind == "cpu" else 2000,
        intervals=Intervals(log=20, sample=200, save=500, evaluate=1000),
        metrics=("fid", "kid", "prdc"),
        num_evaluate=1000,
    )


def networks(machine: Machine) -> tuple[NetworkConfig, NetworkConfig]:
    """A pair that a CPU can bear, and a wide one elsewhere."""
    width = 16 if machine.kind == "cpu" else 64
    multipliers = (1, 2, 4, 4)
    return (
        BigGanGenerator(width=width, z_dim=64, multipliers=multipliers, spectral_norm=False),
        BigGanDiscriminator(
            width=width, multipliers=multipliers, spectral_norm=False, bottom=4, num_last_blocks=1
        ),
    )


def augments(pictures: Pictures, machine: Machine) -> tuple[Augment, ...]:
    """DiffAugment for few pictures, but on a CPU: so short a run only loses by it."""
    return (DiffAugment(),) if pictures.num < FEW and machine.kind != "cpu" else ()


def choices(config: RunConfig, pictures: Pictures, machine: Machine) -> list[Choice]:
    """What `photos` picked, why, and what changes it."""
    side, batch = min(config.data.size), config.batch_size
    most = "" if pictures.is_final else f"at most {LARGEST[machine.kind]} on a {machine.kind}"
    parts = (type(config.generator).__name__, type(config.discriminator).__name__)
    found = [type(augment).__name__ for augment in config.augments]
    flipped = "half of the pictures" if config.data.flip else "none"
    return [
        Choice("resolution", f"{side} px", most, f"--set data.resolution={2 * side}"),
        _labels(config.data.labels, pictures),
        Choice("mirrored", flipped, "", f"--set data.flip={str(not config.data.flip).lower()}"),
        Choice("networks", ", ".join(parts), "", "--set generator.width=32"),
        Choice("batch", str(batch), "", f"--set batch_size={batch // 2}"),
        Choice(
            "penalties",
            f"gamma {gammas(config, R1)}",
            "by the pixels of a side",
            "--set updates.1.terms.0.gamma=1",
        ),
        Choice("augmentation", ", ".join(found) or "none", _why(pictures, machine), AUGMENT),
    ]


def _labels(asked: str, pictures: Pictures) -> Choice:
    if not pictures.class_counts:
        return Choice("labels", "none", "the pictures have none", "")
    if asked != "none":
        why = f"{SMALL_CLASS} pictures of a class or more"
        return Choice("labels", asked, why, "--set data.labels=none")
    return Choice("labels", "none", "too few of a class", "--set data.labels=classes")


def _why(pictures: Pictures, machine: Machine) -> str:
    few = "few" if pictures.num < FEW else "many"
    return f"{few} pictures, a {'short' if machine.kind == 'cpu' else 'long'} run"
