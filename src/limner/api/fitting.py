"""Presets that fit themselves to the pictures and to the machine."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from limner import presets
from limner.api.configs import composed
from limner.checkpoints import RunDirectory, list_states
from limner.core import distributed
from limner.core.facts import Kind, Machine, Pictures
from limner.data import Batch
from limner.data.facts import facts_of, settings_of
from limner.engine import RunConfig
from limner.engine.trainer import Trainer
from limner.presets.costs import COSTS
from limner.presets.fitted import USUAL_PICTURES, Choice

MOST_TIMED = 16  # steps
TIMED_ON_A_CPU = 8  # images a step, where only the speed is asked for


def fitted(
    name: str,
    data: str | os.PathLike[str],
    run: str | Path | None = None,
    assignments: Sequence[str] = (),
    steps: int | None = None,
    kimg: float | None = None,
    seed: int | None = None,
    device: str = "auto",
    fresh: bool = False,
) -> tuple[RunConfig, list[Choice]]:
    """The config of a preset that fits itself, and what it picked, why and how to change that. A
    prepared directory is taken as it is.

    A run that has begun goes on as it began, unless `fresh`: its own config is what the arguments
    change.

    Args:
        name: one of `presets.FITTED`.
        data: any source, or a prepared directory.
        run: the run directory.
        assignments: "dotted.key=value"; what depends on data.resolution follows it.
        steps, kimg, seed: see `composed`.

    Raises:
        LimnerError: the pictures cannot be read, there is no such device, or a wrong assignment.
    """
    directory = RunDirectory(run or Path("runs") / name)
    if not fresh and list_states(directory.checkpoints) and directory.config.exists():
        begun = directory.config_as(RunConfig, import_modules=True)
        if begun.name == name:
            return composed(name, assignments, steps, kimg, seed, begun), []
    place = distributed.local_device(device)
    machine = Machine(cast(Kind, place.type), int(os.environ.get("WORLD_SIZE", "1")))
    pictures = facts_of(data)
    config, choices = presets.fit(name, pictures, machine, [*settings_of(data), *assignments])
    config = composed(name, (), steps, kimg, seed, config)
    return config, [Choice("fitted to", _basis(pictures, machine), "", ""), *choices]


def _basis(pictures: Pictures, machine: Machine) -> str:
    classes = f"{len(pictures.class_counts)} classes" if pictures.class_counts else "no classes"
    side = f"{pictures.side} px" if pictures.is_final else f"most at least {pictures.side} px"
    return f"{pictures.num:,} pictures ({side}, {classes}), on {machine.num} x {machine.kind}"


def seconds_a_step(config: RunConfig, num_classes: int, device: torch.device) -> float:
    """How long a step takes on average, measured on noise over a whole round of lazy updates."""
    num = min(max(update.every for update in config.updates), MOST_TIMED)
    shape = (config.data.channels or 3, *config.data.size)
    images = torch.randint(256, (config.batch_size, *shape), dtype=torch.uint8)
    places = torch.zeros(config.batch_size, dtype=torch.int64)
    batch = Batch(images, places, places)
    counts = [1] * num_classes or None
    trainer = Trainer(config, shape, num_classes, lambda: batch, device, label_counts=counts)
    trainer.step()
    began = time.perf_counter()
    for _ in range(num):
        trainer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / num


def measured_speed() -> tuple[str, float]:
    """This machine's kind of device, and its operations a second in steps of `photos` on noise."""
    device = distributed.local_device("auto")
    machine = Machine(cast(Kind, device.type))
    config, _ = presets.fit("photos", USUAL_PICTURES, machine)
    assert config.kimg is not None
    an_image = COSTS[f"photos on {machine.kind}"].petaflops * 1e15 / (config.kimg * 1000)
    if machine.kind == "cpu":
        config = config.replace(batch_size=TIMED_ON_A_CPU)
    return device.type, an_image * config.batch_size / seconds_a_step(config, 0, device)
