"""A batch that is larger than the memory: micro-batches whose gradients are averaged."""

import os
from pathlib import Path

import torch

from limner.api.costs import cost_of
from limner.api.fitting import begun, machine_of
from limner.checkpoints import RunDirectory
from limner.core import distributed
from limner.core.errors import ConfigError
from limner.core.facts import Machine
from limner.engine import RunConfig
from limner.engine.controllers import Growth
from limner.running.timing import of_batch

SHARE = (
    0.7  # of the free memory; augmentation, optimizer and the kernels' own space are not counted
)
GIB = 2**30


def split(
    config: RunConfig, total: int, device: str = "auto", run: str | Path | None = None
) -> tuple[RunConfig, str]:
    """The config with batches of `total` real images, in as few micro-batches as fit into the free
    memory; and what it holds of that, in words. A run that has begun keeps its own split.

    Raises:
        ConfigError: not even the smallest micro-batch fits; a total that the processes cannot
            share; updates whose batches differ, or are those of a growing network's resolution.
    """
    machine = machine_of(device)
    _check(config, total, machine.num)
    own = None if run is None else begun(RunDirectory(run), config.name)
    if own is not None and own.batch_size * own.updates[0].accumulate == total:
        return _of(config, total, own.batch_size), "as the run began"
    free = free_memory(machine, distributed.local_device(device))
    sizes = [size for size in range(total, 0, -1) if total % size == 0 and size % machine.num == 0]
    needed = 0.0
    for size in sizes:
        made = _of(config, total, size)
        needed = cost_of(made.replace(batch_size=size // machine.num)).memory
        if needed <= SHARE * free:
            return made, f"about {needed:.1f} of {free:.1f} GiB; statistics of a batch see {size}"
    raise ConfigError(
        f"--total-batch {total}: {sizes[-1]} images a micro-batch need {needed:.1f} GiB, and "
        f"{free:.1f} are free; give a smaller --resolution or a narrower network"
    )


def _check(config: RunConfig, total: int, num_processes: int) -> None:
    if total < 1 or total % num_processes:
        raise ConfigError(
            f"--total-batch {total}: give a multiple of the number of processes, {num_processes}"
        )
    if any(isinstance(part, Growth) for part in config.controllers):
        raise ConfigError(
            f"--total-batch {total}: {config.name} picks its batches by resolution; change "
            "those in its schedule by --set"
        )
    if len({update.accumulate for update in config.updates}) > 1:
        raise ConfigError(
            f"--total-batch {total}: the updates of {config.name} accumulate differently; "
            "give --set updates.N.accumulate"
        )


def _of(config: RunConfig, total: int, size: int) -> RunConfig:
    return of_batch(config, size, total // size)


def free_memory(machine: Machine, device: torch.device) -> float:
    """GiB that one process of a device can have."""
    if machine.kind == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    if machine.kind == "mps":
        return torch.mps.recommended_max_memory() / GIB
    file = Path("/proc/meminfo")
    if file.is_file():  # Linux; pages of cached files can be had, too
        lines = dict(line.split(":") for line in file.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) / 2**20 / machine.num
    pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
    return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") / GIB / machine.num
