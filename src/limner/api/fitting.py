"""Presets that fit themselves to the pictures and to the machine."""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import torch

from limner import presets
from limner.api.configs import composed
from limner.checkpoints import RunDirectory, list_states
from limner.core import distributed
from limner.core.facts import Kind, Machine, Pictures
from limner.data import Batch
from limner.data.facts import facts_of
from limner.engine import RunConfig
from limner.engine.trainer import Trainer
from limner.presets.fitted import Choice

MOST_TIMED = 16  # steps


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
) -> tuple[RunConfig, list[str]]:
    """The config of a preset that fits itself, and the lines that say what it picked, why, how to
    change it, and how long training takes.

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
    config, choices = presets.fit(name, pictures, machine, assignments)
    config = composed(name, (), steps, kimg, seed, config)
    lines = [_heading(name, pictures, machine), *_table([*choices, _length(config)])]
    if machine.num == 1:
        lines.append(_estimate(config, pictures, place))
    return config, lines


def _heading(name: str, pictures: Pictures, machine: Machine) -> str:
    classes = f"{len(pictures.class_counts)} classes" if pictures.class_counts else "no classes"
    side = f"{pictures.side} px" if pictures.is_final else f"most at least {pictures.side} px"
    return (
        f"{name}: {pictures.num:,} pictures ({side}, {classes}), on {machine.num} x {machine.kind}"
    )


def _length(config: RunConfig) -> Choice:
    if config.kimg is None:
        return Choice("length", f"{config.steps:,} steps", "", "--steps N")
    return Choice("length", f"{config.kimg:g} thousand images shown", "", "--kimg N")


def _table(choices: Iterable[Choice]) -> list[str]:
    rows = [(c.what, f"{c.value}{f' ({c.why})' if c.why else ''}", c.change) for c in choices]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [
        f"  {what:<{widths[0]}}  {value:<{widths[1]}}  {to}".rstrip() for what, value, to in rows
    ]


def _estimate(config: RunConfig, pictures: Pictures, device: torch.device) -> str:
    """One line, from the run's first steps on noise."""
    classes = len(pictures.class_counts) if config.data.labels != "none" else 0
    seconds = seconds_a_step(config, classes, device)
    steps = config.steps or (config.kimg or 0) * 1000 / config.images_per_step()
    return f"  about {_duration(seconds * steps)} of training here, beside scores and pictures"


def seconds_a_step(config: RunConfig, num_classes: int, device: torch.device) -> float:
    """How long a step takes on average, measured on noise over a whole round of lazy updates."""
    num = min(max(update.every for update in config.updates), MOST_TIMED)
    shape = (config.data.channels or 3, *config.data.size)
    images = torch.randint(256, (config.batch_size, *shape), dtype=torch.uint8)
    places = torch.zeros(config.batch_size, dtype=torch.int64)
    batch = Batch(images, places, places)
    trainer = Trainer(config, shape, num_classes, lambda: batch, device)
    trainer.step()
    began = time.perf_counter()
    for _ in range(num):
        trainer.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / num


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return f"{minutes} min"
    return (
        f"{minutes // 60} h {minutes % 60:02} min"
        if minutes < 2880
        else f"{minutes / 1440:.1f} days"
    )
