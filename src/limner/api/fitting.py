"""Presets that fit themselves to the pictures and to the machine."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from limner import presets
from limner.api.configs import composed
from limner.checkpoints import RunDirectory, list_states
from limner.core import distributed
from limner.core.facts import Kind, Machine, Pictures
from limner.data.facts import facts_of
from limner.engine import RunConfig
from limner.presets.fitted import Choice


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
    """The config of a preset that fits itself, and what it picked, why and how to change that.

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
    return config, [Choice("fitted to", _basis(pictures, machine), "", ""), *choices]


def _basis(pictures: Pictures, machine: Machine) -> str:
    classes = f"{len(pictures.class_counts)} classes" if pictures.class_counts else "no classes"
    side = f"{pictures.side} px" if pictures.is_final else f"most at least {pictures.side} px"
    return f"{pictures.num:,} pictures ({side}, {classes}), on {machine.num} x {machine.kind}"
