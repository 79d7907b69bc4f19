"""What a run says of itself: lines of the log, singular values, scores, events and alarms."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator

import torch

from limner.checkpoints import RunDirectory
from limner.core import distributed
from limner.engine.trainer import Trainer
from limner.running import watch
from limner.running.alarms import Alarms, worse_scores
from limner.running.hooks import Hooks, Record
from limner.running.keeping import Keeper
from limner.running.pace import Pace

GLANCE_SECONDS = 2.0
GLANCED = ("loss_d", "loss_g", "real_logits", "fake_logits")


class Logbook:
    """Writes the run's logs and tells the display: `on_log`, `on_scores` and `on_event` of the
    hooks. All processes measure, the first one writes.

    Attributes:
        keeper: what lines, and everything else that the run leaves, are written with.
        pace: the run's clock.
    """

    def __init__(self, run: RunDirectory, trainer: Trainer, hooks: Hooks):
        self._run, self._trainer, self._hooks = run, trainer, hooks
        self._main = distributed.rank() == 0
        self._alarms = Alarms()
        self.keeper = Keeper(run, trainer.config.failed_saves, self.warn)
        self.pace = Pace()
        self._glanced = -math.inf  # when the display was told something

    def recall(self) -> None:
        """Steps begin. Hear what the run has said up to here: the same log gives the same alarms
        and ticks."""
        self.pace.start(self._length()[0])
        self._glanced = -math.inf
        self._alarms = Alarms()
        for record in self._run.read_log("log") if self._main else ():
            self._alarms.hear(record)
            self.pace.hear(record)

    # --- events --------------------------------------------------------------

    def note(self, event: str, message: str) -> None:
        """Write an event into the run's events, and tell the display."""
        if not self._main:
            return
        record = {"step": self._trainer.progress.step, "time": time.time()}
        self.keeper.append("events", {**record, "event": event, "message": message})
        self._hooks.on_event(event, message)

    def warn(self, message: str) -> None:
        """An event of the kind "warning"."""
        self.note("warning", message)

    @contextlib.contextmanager
    def noting_at_end(self) -> Iterator[Callable[[str, str], None]]:
        """Gives a `note` whose events are written on leaving, also where an error follows: taking
        up a state drops what the logs say beyond it."""
        events: list[tuple[str, str]] = []
        try:
            yield lambda event, message: events.append((event, message))
        finally:
            for event, message in events:
                self.note(event, message)

    # --- figures -------------------------------------------------------------

    def log(self, waited: float) -> None:
        """Write what happened since the line before; the loader has `waited` so many seconds."""
        trainer, now = self._trainer, self.pace.now()
        means = trainer.meters.drain()
        record: Record = {
            "step": trainer.progress.step,
            "nimg": trainer.progress.nimg,
            **self.pace.measure(now, trainer.progress.nimg, waited),
            "memory_mb": _memory_mb(trainer.device),
            **{f"lr_{p}": o.param_groups[0]["lr"] for p, o in trainer.optimizers.items()},
            **means,
            **self._health(),
            **self._of_controllers(),
        }
        record |= self.pace.hear(record)
        if self._main:
            self.keeper.append("log", record)
            self._hooks.on_log(record)
            self._show(record)
            for message in self._alarms.hear(record):
                self.note("alarm", message)

    def glance(self) -> None:
        """Tell the display how it goes, unless it was told lately or no image was shown since."""
        now, progress = self.pace.now(), self._trainer.progress
        if not self._main or now - self._glanced < GLANCE_SECONDS:
            return
        if not self.pace.num_images(progress.nimg):
            return
        rate = self.pace.images_per_second(now, progress.nimg)
        record = {"step": progress.step, "nimg": progress.nimg, "images_per_second": rate}
        self._show(record | self._trainer.meters.glance(GLANCED))

    def _show(self, record: Record) -> None:
        self._glanced = self.pace.now()
        self._hooks.on_glance({**record, "seconds_left": self.pace.left(*self._length())})

    def _length(self) -> tuple[float, float]:
        progress = self._trainer.progress
        return self._trainer.config.length(progress.step, progress.nimg)

    def log_spectra(self) -> None:
        """Largest singular values of the normalized layers; nothing for networks without."""
        values = watch.kept_singular_values(self._trainer.networks)
        if values:
            self.keeper.append("spectra", {"step": self._trainer.progress.step, **values})

    def log_scores(self, results: list[Record]) -> None:
        """A line of scores, and a warning where a distance has become far worse."""
        progress = self._trainer.progress
        line = {"step": progress.step, "nimg": progress.nimg, "results": results}
        self.keeper.append("scores", line)
        self._hooks.on_scores(line)
        distances = [name for name, family in self._run.families().items() if family == "fid"]
        for message in worse_scores(self._run.figures(), distances):
            self.warn(message)

    def _of_controllers(self) -> Record:
        """What the controllers say about themselves."""
        record: Record = {}
        names = self._trainer.names.controllers
        for name, controller in zip(names, self._trainer.config.controllers, strict=True):
            record |= controller.figures(self._trainer, self._trainer.memory(name))
        return record

    def _health(self) -> Record:
        """What the log line says about health, where it is due; all processes call it."""
        progress, intervals = self._trainer.progress, self._trainer.config.intervals
        record: Record = {"rollbacks": progress.rollbacks} if progress.rollbacks else {}
        every, before = intervals.health, progress.step - intervals.log
        if every and progress.step // every > before // every:
            record |= watch.record(self._trainer.watch, self._trainer.networks)
        return record


def _memory_mb(device: torch.device) -> float:
    """Peak memory so far: of the accelerator, or the process's resident set."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
