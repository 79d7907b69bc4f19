"""How long a run will take on this device, from steps of a trainer that is then thrown away."""

import time
from dataclasses import dataclass

import torch

from limner.core import distributed
from limner.core.errors import DataError, DivergenceError
from limner.data import Crop, Loader, PreparedData
from limner.engine.config import RunConfig
from limner.engine.controllers import Growth
from limner.running.fit import trainer_for

MOST_TIMED = 16  # steps, of a round of lazy updates
FEW = 4  # pictures of a first step, which shows whether whole ones can be waited for
PATIENCE = 3.0  # seconds of one measurement
BUDGET = 10.0  # seconds of all measurements of a network that grows
MOST_WAITED = (
    30.0  # seconds of a first step, which also loads much of torch: a second one tells more
)
NUM_PHASES = 8  # of its growth


@dataclass(frozen=True)
class Timing:
    """What a run takes.

    Attributes:
        images_per_second: real images, by the first steps of all processes.
        seconds: of training, from its begin to its end.
        is_least: whether later phases of a growing network were too slow to be measured.
    """

    images_per_second: float
    seconds: float
    is_least: bool = False


def timed(config: RunConfig, data: PreparedData, device: torch.device) -> Timing | None:
    """Train some steps beside the run, and leave nothing of them. All processes call it and train
    their shares, waiting for nobody.

    Where a step takes long, few pictures stand for its batch, so that this ends soon on any device.
    None where not even the first steps stay finite, or have no pictures.

    Args:
        config: the run, resolved against the data.
    """
    num = distributed.world_size()
    share = of_batch(config, max(config.batch_size // num, 1))
    try:
        with distributed.alone():
            return _timed(share, data, device, num, config.images_in_all())
    except (DivergenceError, DataError):
        return None


def _timed(
    config: RunConfig, data: PreparedData, device: torch.device, num: int, total: float
) -> Timing:
    first = _seconds_an_image(config, data, device, 0)
    if not any(isinstance(controller, Growth) for controller in config.controllers):
        return Timing(num / first, total * first / num)
    began, phases, is_least = time.perf_counter(), [first], False
    for phase in range(NUM_PHASES):
        is_least = time.perf_counter() - began > BUDGET
        at = round(total * (phase + 0.5) / NUM_PHASES)
        phases.append(phases[-1] if is_least else _seconds_an_image(config, data, device, at))
    return Timing(num / first, total * sum(phases[1:]) / NUM_PHASES / num, is_least)


def _seconds_an_image(
    config: RunConfig, data: PreparedData, device: torch.device, nimg: int
) -> float:
    """Of the steps that begin when so many real images have been shown."""
    num = min(max(update.every for update in config.updates), MOST_TIMED)
    few, seconds = of_batch(config, min(FEW, config.batch_size), accumulate=1), 0.0
    if few != config:
        seconds, batch_size = _seconds_a_step(few, data, device, nimg, 1)
        seconds *= config.batch_size / batch_size * _rounds(config) / _rounds(few)
    if seconds <= PATIENCE:
        seconds, batch_size = _seconds_a_step(config, data, device, nimg, num)
        seconds *= config.batch_size / batch_size
    return seconds / config.images_per_step()


def _seconds_a_step(
    config: RunConfig, data: PreparedData, device: torch.device, nimg: int, most: int
) -> tuple[float, int]:
    """The mean over as many steps as PATIENCE allows, without the first one if there are others;
    and their batch."""
    loader = Loader(data, config.batch_size, config.seed, crop=Crop.of(config.data))
    trainer = trainer_for(config, data, lambda: loader.next(trainer.batch_size), device)
    trainer.progress.nimg = nimg
    loader.secure(2 * config.batch_size)
    begin, marks = time.perf_counter(), list[float]()
    while len(marks) <= most and (not marks or marks[-1] - marks[0] < PATIENCE):
        trainer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        marks.append(time.perf_counter())
        if marks[0] - begin > MOST_WAITED:
            break
    loader.close()
    first, num = marks[0] - begin, len(marks) - 1
    return (marks[-1] - marks[0]) / num if num else first, trainer.batch_size


def _rounds(config: RunConfig) -> float:
    """Micro-batches that go through the networks in a step, on average."""
    return sum(update.repeats * update.accumulate / update.every for update in config.updates)


def of_batch(config: RunConfig, size: int, accumulate: int | None = None) -> RunConfig:
    """The same algorithm with other batches, and as many micro-batches an update as said."""
    updates = []
    for update in config.updates:
        num = update.num_latents
        num = None if num is None else max(num * size // config.batch_size, 1)
        changed = update.replace(num_latents=num)
        updates.append(changed if accumulate is None else changed.replace(accumulate=accumulate))
    return config.replace(batch_size=size, updates=tuple(updates))
