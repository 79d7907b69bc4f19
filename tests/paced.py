"""A run slow enough to be watched: a preset for `limner train tests/paced.py:config` under torchrun.

$LIMNER_TEST_PACE is the least length of a step in seconds. float64 and no batch statistics, so that
any number of processes computes the same up to rounding.
"""

import importlib.util
import os
import time

from limner.api import screen
from limner.engine import Intervals, RunConfig
from limner.engine.trainer import Trainer
from runs import CROPPED
from toys import ToyGenerator, toy_config

STEPS = 60


def config() -> RunConfig:
    return toy_config(
        generator=ToyGenerator(),
        data=CROPPED,
        precision="float64",
        batch_size=8,
        steps=STEPS,
        num_classes=0,
        intervals=Intervals(log=1, sample=0, save=5, milestone=0),
    )


if "LIMNER_TEST_PACE" in os.environ:
    pace, original, find = (
        float(os.environ["LIMNER_TEST_PACE"]),
        Trainer.step,
        importlib.util.find_spec,
    )

    def paced(trainer: Trainer) -> None:
        original(trainer)
        time.sleep(pace)

    Trainer.step = paced
    screen.timed = lambda *_: None
    extras = ("matplotlib", "tensorboard")
    importlib.util.find_spec = lambda name, *more: None if name in extras else find(name, *more)
