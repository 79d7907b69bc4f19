"""A resumable run of the engine on reals that no data source holds."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limner.checkpoints import RunDirectory, load_state, newest_verified, save_state
from limner.core.config import encode, from_json, to_json
from limner.core.errors import ConfigError
from limner.core.files import write_atomically
from limner.engine import RunConfig
from limner.engine.trainer import Trainer
from limner.running.signals import StopRequests
from quality.reals import Batch, Reals


@dataclass
class Clock:
    """Seconds of training, without the judging, over all sessions of a run: wall, and CPU time of
    all threads."""

    wall: float = 0.0
    cpu: float = 0.0
    sessions: int = 1


@dataclass(frozen=True)
class Ran:
    """How a run stands: `signal` asked it to stop (0: none), or `cut`: its time was up."""

    trainer: Trainer
    clock: Clock
    signal: int = 0
    cut: bool = False


def trained(
    config: RunConfig,
    shape: tuple[tuple[int, int, int], int],
    reals: Reals,
    path: Path,
    is_up: Callable[[Clock], bool] = lambda clock: False,
    say: Callable[[str], None] = lambda line: None,
) -> Ran:
    """Train to config.steps, from the newest checkpoint in `path` if there is one.

    Args:
        config: `intervals.log` and `intervals.save` hold.
        shape: (image shape, number of classes).
        path: a run directory: config.json, log.jsonl, checkpoints.
        is_up: asked after each step with the training so far, over all sessions: whether the run
            ends where it is.

    Raises:
        ConfigError: the directory holds a run with another config.
        DivergenceError: a loss or a gradient was not finite.
    """
    run = RunDirectory(path)
    with run.lock(), StopRequests() as requests:
        _begin(run, config)
        trainer = Trainer(config, *shape, lambda: _next(trainer, reals))
        clock = _resumed(run, trainer)
        say(f"{path.name}: step {trainer.progress.step} of {config.steps}")
        timer, step = _Timer(clock), trainer.progress.step
        cut = is_up(clock)
        while step < (config.steps or 0) and not requests.stop and not cut:
            trainer.step()
            step = trainer.progress.step
            timer.tick()
            if step % config.intervals.log == 0:
                run.append("log", {"step": step, **vars(clock), **trainer.meters.drain()})
            cut = is_up(clock)
            if step % config.intervals.save == 0 or cut:
                _save(run, trainer, clock)
                say(f"{path.name}: step {step} of {config.steps}, {clock.wall:.0f} s")
        _save(run, trainer, clock)
    return Ran(trainer, clock, requests.stop, cut)


def _next(trainer: Trainer, reals: Reals) -> Batch:
    return reals(trainer.progress.nimg)


def _begin(run: RunDirectory, config: RunConfig) -> None:
    run.create()
    run.remove_leftovers()
    if run.exists():
        before = from_json(RunConfig, run.config.read_bytes(), str(run.config), True)
        if encode(before) != encode(config):
            raise ConfigError(
                f"{run.path}: holds a run with another config; give another --runs, or remove it"
            )
    write_atomically(run.config, to_json(config))


def _resumed(run: RunDirectory, trainer: Trainer) -> Clock:
    checkpoint = newest_verified(run.checkpoints, lambda line: None)
    if checkpoint is None:
        return Clock()
    tree = load_state(checkpoint)
    trainer.load_state_dict(tree)
    run.truncate_logs(trainer.progress.step)
    clock = tree["clock"]
    assert isinstance(clock, dict)
    return Clock(clock["wall"], clock["cpu"], clock["sessions"] + 1)


def _save(run: RunDirectory, trainer: Trainer, clock: Clock) -> None:
    tree = {**trainer.state_dict(), "clock": dict(vars(clock))}
    save_state(run.checkpoints, trainer.progress.step, tree)
    run.prune(keep_newest=2)


class _Timer:
    """Adds what has passed since the last tick to a clock."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def tick(self) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.clock.wall += wall - self.wall
        self.clock.cpu += cpu - self.cpu
        self.wall, self.cpu = wall, cpu
