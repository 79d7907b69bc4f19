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
from limner.data.facts import facts_of, settings_of
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
    own = None if fresh else begun(RunDirectory(run or Path("runs") / name), name)
    if own is not None:
        return composed(name, assignments, steps, kimg, seed, own), []
    machine = machine_of(device)
    pictures = facts_of(data)
    config, choices = presets.fit(name, pictures, machine, [*settings_of(data), *assignments])
    config = composed(name, (), steps, kimg, seed, config)
    return config, [Choice("fitted to", _basis(pictures, machine), "", ""), *choices]


def _basis(pictures: Pictures, machine: Machine) -> str:
    classes = f"{len(pictures.class_counts)} classes" if pictures.class_counts else "no classes"
    side = f"{pictures.side} px" if pictures.is_final else f"most at least {pictures.side} px"
    return f"{pictures.num:,} pictures ({side}, {classes}), on {machine.num} x {machine.kind}"


def begun(run: RunDirectory, name: str) -> RunConfig | None:
    """The config of a run of that name that has a checkpoint already; None where there is none."""
    if not list_states(run.checkpoints) or not run.config.exists():
        return None
    config = run.config_as(RunConfig, import_modules=True)
    return config if config.name == name else None


def machine_of(device: str) -> Machine:
    """What trains there: its kind, and how many processes there are."""
    place = distributed.local_device(device)
    return Machine(cast(Kind, place.type), int(os.environ.get("WORLD_SIZE", "1")))
