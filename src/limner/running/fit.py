"""A run: step after step, with log, samples, checkpoints and scores at their intervals."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from limner.checkpoints import (
    RunDirectory,
    load_rank_state,
    load_state,
    read_manifest,
)
from limner.core import distributed
from limner.core.errors import CheckpointError, DivergenceError
from limner.core.leaving import Interrupted
from limner.data import WORKER_TIMEOUT, Crop, Loader, PreparedData
from limner.engine.config import RunConfig
from limner.engine.progress import rate_factor, salted
from limner.engine.trainer import Trainer
from limner.running import watch
from limner.running.alarms import Alarms, worse_scores
from limner.running.health import require_finite
from limner.running.keeping import Keeper
from limner.running.rollback import (
    MOST_ROLLBACKS,
    OnDivergence,
    forget_after,
    move_on,
    newest_for_all,
)
from limner.running.signals import StopRequests

Record = dict[str, Any]


@dataclass(frozen=True)
class Hooks:
    """What a run calls but does not know: training imports neither sampling nor metrics.

    Attributes:
        draw_samples: (generator, path, step) writes a sheet of fixed latents.
        evaluate: generator -> results, as interface.md lists their fields; all processes call it,
            and the first one has the results.
        on_log: gets every log record (a display, a tracker).
        on_scores: gets every line of scores.
        on_event: gets (event, message): resumed, saved, warnings.
    """

    draw_samples: Callable[[nn.Module, Path, int], None] | None = None
    evaluate: Callable[[nn.Module], list[Record]] | None = None
    on_step: Callable[[int, int], None] = field(default=lambda step, nimg: None)
    on_log: Callable[[Record], None] = field(default=lambda record: None)
    on_scores: Callable[[Record], None] = field(default=lambda record: None)
    on_event: Callable[[str, str], None] = field(default=lambda event, message: None)


@dataclass(frozen=True)
class Outcome:
    """How a call ended: `signal` is 0 when the run's length was reached."""

    step: int
    nimg: int
    signal: int = 0


class Fit:
    """One process's share of a run. Rank 0 alone writes logs, samples and scores.

    Args:
        config: the run, resolved against the data.
        data: the prepared pictures.
        run: the run directory, locked by the caller.
        device: where to train.
        hooks: what to call.
        num_workers: loader processes; the result does not depend on it.
        worker_timeout: seconds without a batch after which one of them counts as hung.
        on_divergence: "stop", or go back to the newest checkpoint (see rollback.py).
    """

    def __init__(
        self,
        config: RunConfig,
        data: PreparedData,
        run: RunDirectory,
        device: torch.device,
        hooks: Hooks | None = None,
        num_workers: int = 0,
        on_divergence: OnDivergence = "stop",
        worker_timeout: float = WORKER_TIMEOUT,
    ):
        self.config, self.run, self.hooks = config, run, hooks or Hooks()
        self._main = distributed.rank() == 0
        self._data, self._num_workers, self._worker_timeout = data, num_workers, worker_timeout
        self._on_divergence, self._alarms = on_divergence, Alarms()
        rows = data.label_rows
        self.trainer = Trainer(
            config,
            data.image_shape,
            config.num_classes or 0,
            lambda: self.loader.next(self.trainer.batch_size),
            device,
            label_counts=data.class_counts.tolist(),
            label_rows=None if rows is None else torch.from_numpy(np.array(rows)),
        )
        self.loader = self._loader_at(0)
        self._seconds, self._waited = 0.0, 0.0
        self._mark = (time.perf_counter(), 0)  # moment and nimg of the last log record
        self._maintenance = 0.0  # seconds of pictures, saves and scores since the last log record
        self._tick_mark: tuple[int, float] | None = None  # tick, and the run's seconds at its end
        self._saved_step = -1
        self._requests = StopRequests()
        self._keeper = Keeper(run, config.failed_saves, lambda line: self.note("warning", line))

    def _loader_at(self, position: int, rollbacks: int = 0) -> Loader:
        return Loader(
            self._data,
            self.trainer.batch_size,
            salted(self.config.seed, rollbacks),
            position=position,
            num_workers=self._num_workers,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            worker_timeout=self._worker_timeout,
            on_loss=lambda line: self.note("warning", line),
            crop=Crop.of(self.config.data),
        )

    @property
    def generator(self) -> nn.Module:
        """The generator that samples and scores are drawn from: the average where there is one."""
        return self.trainer.generator_ema or self.trainer.networks["g"]

    # --- beginning ---------------------------------------------------------

    def resume(
        self, checkpoint: Path, keep_rates: bool = True, rollbacks: int | None = None
    ) -> None:
        """Take up a verified checkpoint: of this run, or of the one that this run continues.

        Args:
            checkpoint: directory of a training state.
            keep_rates: keep the saved optimizer settings; otherwise take this config's.
            rollbacks: how often the run has now gone back; None keeps what was saved.
        """
        tree, own = load_state(checkpoint), None
        if read_manifest(checkpoint)["world_size"] == distributed.world_size():
            own = load_rank_state(checkpoint, distributed.rank())
        try:
            self._take(tree, own, keep_rates, rollbacks)
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint}: {error}") from None

    def _take(
        self, tree: Record, own: Record | None, keep_rates: bool, rollbacks: int | None
    ) -> None:
        groups = {p: _settings(o) for p, o in self.trainer.optimizers.items()}
        self.trainer.load_state_dict(tree, own)
        if not keep_rates:
            for player, optimizer in self.trainer.optimizers.items():
                for group, settings in zip(optimizer.param_groups, groups[player], strict=True):
                    group.update(settings)
            self.trainer.set_rollbacks(0)
        if rollbacks is not None:
            move_on(self.trainer, rollbacks)
        self._seconds = tree["clock"]["seconds"]
        self.loader.close()
        progress = self.trainer.progress
        self.loader = self._loader_at(progress.num_drawn, progress.rollbacks)
        self._mark, self._maintenance = (time.perf_counter(), progress.nimg), 0.0
        self._saved_step = progress.step

    # --- the loop ----------------------------------------------------------

    def __call__(self) -> Outcome:
        """Train to the end of the run, or until a signal asks to stop."""
        with self._requests as requests:
            try:
                signal = self._train_on(requests)
            finally:
                self.loader.close()
        self._keeper.finish()
        return Outcome(self.trainer.progress.step, self.trainer.progress.nimg, signal)

    def _train_on(self, requests: StopRequests) -> int:
        """All steps that are left, with what rollbacks are allowed; the signal, or 0."""
        if self._on_divergence == "rollback" and self._saved_step < 0:
            self.save("saved")  # so that there always is a state to go back to
        while True:
            try:
                signal = self._train(requests)
                if signal:
                    self.save("saved", last=True)
                    self.note("stopped", f"by signal {signal}")
                return signal
            except DivergenceError as error:
                done = self.trainer.progress.rollbacks
                if self._on_divergence == "stop" or done >= MOST_ROLLBACKS:
                    self.note("diverged", str(error))
                    raise
                self._roll_back(error, done + 1)

    def _roll_back(self, error: DivergenceError, rollbacks: int) -> None:
        """Go on from the newest checkpoint that verifies, with another seed and lower rates."""
        distributed.first_process(self._keeper.finish)
        warnings: list[str] = []
        checkpoint = newest_for_all(self.run.checkpoints, warnings.append)
        if checkpoint is None:
            raise error
        self.resume(checkpoint, rollbacks=rollbacks)
        step = self.trainer.progress.step
        distributed.first_process(lambda: forget_after(self.run, step))
        for line in warnings:
            self.note("warning", line)
        self.note("diverged", str(error))
        self.note(
            "rolled back",
            f"to step {step}, {rollbacks} of at most {MOST_ROLLBACKS} times: another seed from "
            f"here on, learning rates x {rate_factor(rollbacks):g}",
        )

    def _train(self, requests: StopRequests) -> int:
        """All steps that are left; the signal that asked to stop, or 0."""
        progress = self.trainer.progress
        self._alarms = Alarms()
        for record in self.run.read_log("log") if self._main else ():
            self._alarms.hear(record)
        self._observe()
        while not self.config.is_finished(progress.step, progress.nimg):
            if signal := distributed.largest(requests.stop):
                return signal
            self.trainer.step()
            self.hooks.on_step(progress.step, progress.nimg)
            self._after_step(requests)
        self._finish()
        return distributed.largest(requests.stop)

    def _after_step(self, requests: StopRequests) -> None:
        step, intervals = self.trainer.progress.step, self.config.intervals
        if _due(step, intervals.log):
            self._log()
        if _due(step, intervals.singular_values) and self._main:
            self._log_spectra(step)
        milestone = _due(step, intervals.milestone)
        if self._is_due("save") or milestone or distributed.any_rank(requests.save):
            requests.save = False
            self.save("saved")
        self._observe()

    def _observe(self) -> None:
        """Draw and score what is due and not there yet, so that a resumed run catches up."""
        step = self.trainer.progress.step
        if step == 0 or self._is_due("sample"):
            self._sample(step)
        if step and self._is_due("evaluate") and self.config.metrics:
            self.save("saved")
            self._evaluate(step)

    def _is_due(self, event: str) -> bool:
        """Whether this step ends an interval of an event, counted in steps or in ticks."""
        progress, intervals = self.trainer.progress, self.config.intervals
        if _due(progress.step, getattr(intervals, event)):
            return True
        ends_tick = progress.tick > 0 and progress.tick_step == progress.step
        return ends_tick and _due(progress.tick, getattr(intervals, f"{event}_ticks"))

    def _finish(self) -> None:
        step = self.trainer.progress.step
        self.save("finished", last=True)
        self._sample(step)
        if self.config.metrics:
            self._evaluate(step)

    # --- what is due -------------------------------------------------------

    def _log(self) -> None:
        now, nimg = time.perf_counter(), self.trainer.progress.nimg
        means = self.trainer.meters.drain()
        before, nimg_before = self._mark
        elapsed = max(now - before, 1e-9)
        self._seconds += now - before
        record: Record = {
            "step": self.trainer.progress.step,
            "nimg": nimg,
            "seconds": round(self._seconds, 3),
            "images_per_second": round((nimg - nimg_before) / elapsed, 2),
            "data_wait_share": round((self.loader.seconds_waited - self._waited) / elapsed, 5),
            "memory_mb": _memory_mb(self.trainer.device),
            **{
                f"lr_{player}": optimizer.param_groups[0]["lr"]
                for player, optimizer in self.trainer.optimizers.items()
            },
            **means,
            **self._health(),
            **self._figures(),
        }
        record |= self._pace(record.get("tick"), nimg - nimg_before, elapsed)
        self._mark, self._waited = (now, nimg), self.loader.seconds_waited
        if self._main:
            self._keeper.append("log", record)
            self.hooks.on_log(record)
            for message in self._alarms.hear(record):
                self.note("alarm", message)

    def _log_spectra(self, step: int) -> None:
        """Largest singular values of the normalized layers; nothing for networks without."""
        values = watch.kept_singular_values(self.trainer.networks)
        if values:
            self._keeper.append("spectra", {"step": step, **values})

    def _pace(self, tick: int | None, num_images: int, elapsed: float) -> Record:
        """Seconds for a thousand images without what is not training, and that; with ticks the
        seconds of the last one, as far as its ends were logged."""
        spent, self._maintenance = self._maintenance, 0.0
        record: Record = {
            "seconds_per_kimg": round((elapsed - spent) / max(num_images, 1) * 1000, 3),
            "maintenance": round(spent, 3),
        }
        if tick is None:
            return record
        before, now = self._tick_mark, self._seconds
        if before is None:
            self._tick_mark = (tick, now)
        elif tick > before[0]:
            record["seconds_per_tick"] = round((now - before[1]) / (tick - before[0]), 3)
            self._tick_mark = (tick, now)
        return record

    @contextlib.contextmanager
    def _maintaining(self) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._maintenance += time.perf_counter() - begin

    def _figures(self) -> Record:
        """What the controllers say about themselves."""
        record: Record = {}
        names = self.trainer.names.controllers
        for name, controller in zip(names, self.config.controllers, strict=True):
            record |= controller.figures(self.trainer, self.trainer.memory(name))
        return record

    def _health(self) -> Record:
        """What the log line says about health, where it is due; all processes call it."""
        progress, intervals = self.trainer.progress, self.config.intervals
        record: Record = {"rollbacks": progress.rollbacks} if progress.rollbacks else {}
        every, before = intervals.health, progress.step - intervals.log
        if every and progress.step // every > before // every:
            record |= watch.record(self.trainer.watch, self.trainer.networks)
        return record

    def save(self, event: str, last: bool = False) -> None:
        """Write a checkpoint of this step, once, and delete those that are not kept."""
        step = self.trainer.progress.step
        if step == self._saved_step:
            return
        now = time.perf_counter()
        clock = {"seconds": self._seconds + now - self._mark[0]}
        tree = {**self.trainer.state_dict(), "clock": clock}
        own = self.trainer.rank_state_dict()
        require_finite(tree, own, step)
        with self._maintaining():
            saved = self._keeper.save(step, tree, own, last)
        if not saved:
            return
        self._saved_step = step
        self.note(event, f"checkpoint of step {step}")
        if self._main:
            self._keeper.attempt(self._prune)

    def forget_save(self) -> None:
        """The state came from another run: it has to be saved here even at the same step."""
        self._saved_step = -1

    def _prune(self) -> None:
        self.run.prune(
            keep_newest=2,
            keep_best=self.config.keep_best,
            milestone_every=self.config.intervals.milestone or None,
        )

    def _sample(self, step: int) -> None:
        path = self.run.samples / f"step-{step:08d}.png"
        if self._main and self.hooks.draw_samples and not path.exists():
            draw = self.hooks.draw_samples
            with self._maintaining():
                self._keeper.attempt(lambda: draw(self.generator, path, step))

    def _evaluate(self, step: int) -> None:
        """Score the first process's generator, by all of them together."""
        if not (self.hooks.evaluate and self.config.metrics):
            return
        scored = self._main and any(x["step"] == step for x in self.run.read_log("scores"))
        if distributed.any_rank(scored) or distributed.largest(self._requests.stop):
            return
        hearing = self.generator.register_forward_pre_hook(lambda *_: self._requests.check())
        try:
            with (
                self._maintaining(),
                distributed.state_of_first(self.generator),
                self._requests.at_once(),
            ):
                results = self.hooks.evaluate(self.generator)
        except Interrupted:  # the state is saved; the next call evaluates it
            return
        finally:
            hearing.remove()
        if self._main:
            self._keep_scores({"step": step, "nimg": self.trainer.progress.nimg}, results)

    def _keep_scores(self, line: Record, results: list[Record]) -> None:
        line = {**line, "results": results}
        self._keeper.append("scores", line)
        self.hooks.on_scores(line)
        for message in self._worse_scores():
            self.note("warning", message)
        self._keeper.attempt(self._prune)

    def _worse_scores(self) -> list[str]:
        distances = [name for name, family in self.run.families().items() if family == "fid"]
        return worse_scores(self.run.figures(), distances)

    def note(self, event: str, message: str) -> None:
        """Write an event into the run's events, and tell the display."""
        if not self._main:
            return
        record = {"step": self.trainer.progress.step, "time": time.time()}
        self._keeper.append("events", {**record, "event": event, "message": message})
        self.hooks.on_event(event, message)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _settings(optimizer: torch.optim.Optimizer) -> list[Record]:
    return [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]


def rounding_notes(checkpoint: Path) -> list[str]:
    """Why going on from a checkpoint may differ in the last bits, as one line or none.

    Sums run in another order with other threads, processes or releases of torch (measured; see
    the reproducibility notes of PyTorch), so equality bit for bit is promised only without.
    """
    manifest = read_manifest(checkpoint)
    now = {
        "world_size": ("processes", distributed.world_size()),
        "threads": ("threads", torch.get_num_threads()),
        "torch": ("torch", torch.__version__),
    }
    changes = [
        f"{name} {manifest[key]} -> {value}"
        for key, (name, value) in now.items()
        if key in manifest and manifest[key] != value
    ]
    if not changes:
        return []
    return [f"equal up to rounding only: {checkpoint.name} was saved with {', '.join(changes)}"]


def _memory_mb(device: torch.device) -> float:
    """Peak memory so far: of the accelerator, or the process's resident set."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def data_facts(data: PreparedData, name: str) -> str:
    """RUN/data.json: which pictures a run learns from."""
    facts = {
        "path": str(data.directory),
        "name": name,
        "sha256": data.sha256,
        "num_images": len(data),
        "num_classes": data.num_classes,
        "class_names": list(data.class_names),
        "image_shape": list(data.image_shape),
    }
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
