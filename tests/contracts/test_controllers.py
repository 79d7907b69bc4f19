"""What every controller and augment in the tables keeps: its place in a config, and exact resume."""

import copy
import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from growing import GrowingDiscriminator, GrowingGenerator
from limner.core.config import Config, decode, encode
from limner.core.growth import GrowthSchedule
from limner.core.schedules import Cosine, Linear
from limner.engine import RunConfig
from limner.engine.augment import AUGMENTS, AdaPipe, Augment, Blur, DiffAugment
from limner.engine.controllers import (
    CONTROLLERS,
    AdaptP,
    Beta2,
    Controller,
    Ema,
    Growth,
    LearningRate,
)
from limner.engine.trainer import Trainer
from limner.objectives import Memory
from runs import digest
from toys import ToyReals, toy_config

NUM_STEPS = 9

# An example of every controller, with an interval that the steps do not end with; a new line in
# the table needs one here.
EXAMPLES: dict[str, dict[str, Any]] = {
    "AdaptP": {
        "augments": (AdaPipe(p=0.5),),
        "controllers": (AdaptP(every=4, kimg=0.05),),
    },
    "Beta2": {"controllers": (Beta2(value=Linear(0.9, 0.5, 40)),)},
    "Ema": {"controllers": (Ema(half_life_nimg=Cosine(1.0, 30.0, 40), rampup=0.5, every=2),)},
    "Growth": {
        "generator": GrowingGenerator(),
        "discriminator": GrowingDiscriminator(),
        "controllers": (
            Growth(
                schedule=GrowthSchedule(
                    initial_resolution=4,
                    training_kimg=0.012,
                    transition_kimg=0.012,
                    g_rates=((8, 2e-2),),
                    tick_kimg=((4, 0.01),),
                ),
                read_every=4,
            ),
        ),
    },
    "LearningRate": {
        "controllers": (LearningRate(factor=Linear(1.0, 0.0, 60), read_every=4),),
    },
}


class Shades(Config, Augment, frozen=True):
    """Adds a number to each image that grows with its calls, as an augment of one's own would."""

    def __call__(self, images: Tensor, noise, nimg: int, memory) -> Tensor:
        memory["calls"] = memory.get("calls", torch.zeros(())) + 1
        return images + 0.01 * memory["calls"] * noise.normal("shade", (len(images), 1, 1, 1))


AUGMENT_EXAMPLES: dict[str, Augment] = {
    "AdaPipe": AdaPipe(p=Linear(0.2, 0.8, 40)),
    "Blur": Blur(sigma=Linear(1.0, 0.0, 40)),
    "DiffAugment": DiffAugment(),
    "Shades": Shades(),
}


def test_every_part_of_the_tables_has_an_example():
    assert set(EXAMPLES) == set(CONTROLLERS)
    assert set(AUGMENT_EXAMPLES) >= set(AUGMENTS)
    for name, changes in EXAMPLES.items():
        assert isinstance(changes["controllers"][0], CONTROLLERS[name])


def config_of(changes: dict[str, Any]) -> RunConfig:
    return toy_config(batch_size=4, precision="float64", **changes)


def trainer_of(config: RunConfig, drawn: int = 0) -> Trainer:
    side = 16 if isinstance(config.generator, GrowingGenerator) else 4
    reals = ToyReals(config.batch_size, side=side)
    reals.drawn = drawn
    return Trainer(config, (1, side, side), 0, reals)


CASES = {
    **EXAMPLES,
    **{name: {"augments": (part,)} for name, part in AUGMENT_EXAMPLES.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_a_config_comes_back(name):
    class Holder(Config, frozen=True):
        controllers: tuple[Controller, ...] = ()
        augments: tuple[Augment, ...] = ()

    parts = {k: v for k, v in CASES[name].items() if k in ("controllers", "augments")}
    holder = Holder(**parts)
    assert decode(Holder, encode(holder)) == holder
    part = (holder.controllers or holder.augments)[0]
    assert type(part).__doc__


@functools.cache
def end_of(name: str) -> str:
    """The state after all steps of one run that is never read before its end, as a hash."""
    whole = trainer_of(config_of(CASES[name]))
    for _ in range(NUM_STEPS):
        whole.step()
    return digest(whole.state_dict())


@functools.cache
def saved_at(name: str) -> list[dict[str, Any]]:
    """What a second run of the same config would save before each of its steps."""
    trainer = trainer_of(config_of(CASES[name]))
    saved = []
    for _ in range(NUM_STEPS):
        saved.append(copy.deepcopy(trainer.state_dict()))
        trainer.step()
    return saved


@pytest.mark.parametrize("step", range(1, NUM_STEPS))
@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("unchecked")
def test_resume_is_exact_at_every_step(name, step):
    saved = saved_at(name)[step]
    second = trainer_of(config_of(CASES[name]), drawn=saved["progress"]["num_drawn"] // 4)
    second.load_state_dict(saved)
    for _ in range(NUM_STEPS - step):
        second.step()
    assert digest(second.state_dict()) == end_of(name)


@pytest.mark.parametrize("name", CASES)
def test_it_changes_the_run(name):
    """Without the part the run ends elsewhere: the resume above is of something."""
    changes = CASES[name]
    part = "controllers" if "controllers" in changes else "augments"
    bare = {k: v for k, v in changes.items() if k != part}
    ends = []
    for given in ({"controllers": (), **changes}, {"controllers": (), **bare}):
        trainer = trainer_of(config_of(given))
        for _ in range(NUM_STEPS):
            trainer.step()
        ends.append(digest([trainer.state_dict()[k] for k in ("generator", "generator_ema")]))
    assert ends[0] != ends[1]


@pytest.mark.parametrize("name", AUGMENT_EXAMPLES)
def test_an_augment_keeps_the_shape_and_passes_gradients(name):
    class Noise:
        def uniform(self, purpose, shape):
            return torch.rand(shape, generator=torch.Generator().manual_seed(len(purpose)))

        def normal(self, purpose, shape):
            return torch.randn(shape, generator=torch.Generator().manual_seed(len(purpose)))

    images = torch.zeros(4, 1, 8, 8, requires_grad=True)
    shown = AUGMENT_EXAMPLES[name](images, Noise(), 0, Memory())
    assert shown.shape == images.shape
    shown.sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
