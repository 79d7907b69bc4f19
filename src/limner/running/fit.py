"""A run: step after step, with log, samples, checkpoints and scores at their intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from limner.core.errors import CheckpointError, DataError, DivergenceError
from limner.core.leaving import Interrupted
from limner.data import WORKER_TIMEOUT, Batch, Crop, Loader, PreparedData
from limner.engine.config import RunConfig
from limner.engine.progress import rate_factor, salted
from limner.engine.trainer import Trainer
from limner.running.health import require_finite
from limner.running.hooks import Hooks
from limner.running.logbook import Logbook
from limner.running.rollback import (
    MOST_ROLLBACKS,
    OnDivergence,
    forget_after,
    newest_for_all,
)
from limner.running.signals import StopRequests

NO_PICTURES = 1000  # beyond all signals
BATCHES_AHEAD = 2  # as a growing run may double its batch within a step


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
        run: the run directory, locked by the caller.
        num_workers, worker_timeout: as for the `Loader`; the result does not depend on them.
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
        self._on_divergence = on_divergence
        self.trainer = trainer_for(
            config, data, lambda: self.loader.next(self.trainer.batch_size), device
        )
        self.book = Logbook(run, self.trainer, self.hooks)
        self.note, self._keeper = self.book.note, self.book.keeper
        self.loader = self._loader_at(0)
        self._saved_step = -1
        self._requests = StopRequests()
        self._no_pictures: DataError | None = None  # why the next step cannot be taken

    def _loader_at(self, position: int, rollbacks: int = 0) -> Loader:
        return Loader(
            self._data,
            self.trainer.batch_size,
            salted(self.config.seed, rollbacks),
            position=position,
            num_workers=self._num_workers,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            pin_memory=self.trainer.device.type == "cuda",
            worker_timeout=self._worker_timeout,
            on_loss=self.book.warn,
            crop=Crop.of(self.config.data),
        )

    @property
    def generator(self) -> nn.Module:
        """The generator that samples and scores are drawn from: the average where there is one."""
        return self.trainer.generator_ema or self.trainer.networks["g"]

    # --- beginning ---------------------------------------------------------

    def resume(
        self, checkpoint: Path, saved_by: RunConfig | None = None, rollbacks: int | None = None
    ) -> list[str]:
        """Take up a verified checkpoint: of this run, or of the one that this run continues.
        Returns the names of the parts whose memory this run has no use for.

        Args:
            saved_by: the config that wrote it, where that is another.
            rollbacks: how often the run has now gone back; None keeps what was saved.
        """
        tree, own = load_state(checkpoint), None
        if read_manifest(checkpoint)["world_size"] == distributed.world_size():
            own = load_rank_state(checkpoint, distributed.rank())
        try:
            left = self.trainer.load_state_dict(tree, own, saved_by)
        except CheckpointError as error:
            raise CheckpointError(f"{checkpoint}: {error}") from None
        if rollbacks is not None:
            self.trainer.set_rollbacks(rollbacks)
        self.loader.close()
        progress = self.trainer.progress
        self.loader = self._loader_at(progress.num_drawn, progress.rollbacks)
        self.book.pace.begin(tree["clock"]["seconds"], progress.nimg, self.loader.seconds_waited)
        self._saved_step = progress.step
        return left

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
                if signal == NO_PICTURES:
                    self._stop_without_pictures()
                elif signal:
                    self.save("saved", last=True)
                    self.note("stopped", f"by signal {signal}")
                return signal
            except DivergenceError as error:
                done = self.trainer.progress.rollbacks
                if self._on_divergence == "stop" or done >= MOST_ROLLBACKS:
                    self.note("diverged", str(error))
                    raise
                self._roll_back(error, done + 1)

    def _stop_without_pictures(self) -> None:
        """A shard cannot be had: the state is as good as ever, so it is kept."""
        self.save("saved", last=True)
        error = self._no_pictures or DataError("another process has no pictures, and says why")
        self.note("stopped", str(error))
        raise error

    def _roll_back(self, error: DivergenceError, rollbacks: int) -> None:
        """Go on from the newest checkpoint that verifies, with another seed and lower rates."""
        with self.book.noting_at_end() as note:
            note("diverged", str(error))
            distributed.first_process(self._keeper.finish)
            checkpoint = newest_for_all(self.run.checkpoints, lambda line: note("warning", line))
            if checkpoint is None:
                raise error
            self.resume(checkpoint, rollbacks=rollbacks)
            step = self.trainer.progress.step
            distributed.first_process(lambda: forget_after(self.run, step))
        self.note(
            "rolled back",
            f"to step {step}, {rollbacks} of at most {MOST_ROLLBACKS} times: another seed from "
            f"here on, learning rates x {rate_factor(rollbacks):g}",
        )

    def _train(self, requests: StopRequests) -> int:
        """All steps that are left; the signal that asked to stop, NO_PICTURES, or 0."""
        progress = self.trainer.progress
        self.book.recall()
        self._observe()
        while not self.config.is_finished(progress.step, progress.nimg):
            if signal := distributed.largest(self._secured(requests) or requests.stop):
                return signal
            self.trainer.step()
            self.hooks.on_step(progress.step, progress.nimg)
            self._after_step(requests)
            self.book.glance()
        self._finish()
        return distributed.largest(requests.stop)

    def _secured(self, requests: StopRequests) -> int:
        """0 once all that the next step can show lies on this machine, or NO_PICTURES."""
        micro_batches = sum(u.repeats * u.accumulate for u in self.config.updates if u.reads_real)
        count = BATCHES_AHEAD * self.trainer.batch_size * micro_batches
        try:
            self.loader.secure(count, lambda: requests.stop)
        except DataError as error:
            self._no_pictures = error
            return NO_PICTURES
        return 0

    def _after_step(self, requests: StopRequests) -> None:
        step, intervals = self.trainer.progress.step, self.config.intervals
        if _due(step, intervals.log):
            self.book.log(self.loader.seconds_waited)
        if _due(step, intervals.singular_values) and self._main:
            self.book.log_spectra()
        milestone = _due(step, intervals.milestone)
        if self._is_due("save") or milestone or distributed.any_rank(requests.save):
            requests.save = False
            self.save("saved")
        self._observe()

    def _observe(self) -> None:
        """Draw and score what is due and not there yet, so that a resumed run catches up."""
        step = self.trainer.progress.step
        if step == 0 or self._is_due("sample") or self._is_early_sample():
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

    def _is_early_sample(self) -> bool:
        """Whether a sheet is due by time: only before the first one by steps or ticks."""
        progress, intervals = self.trainer.progress, self.config.intervals
        rings = self.book.pace.rings(intervals.sample_seconds)
        return rings and (
            progress.step < intervals.sample or progress.tick < intervals.sample_ticks
        )

    def _finish(self) -> None:
        step = self.trainer.progress.step
        self.save("finished", last=True)
        self._sample(step)
        if self.config.metrics:
            self._evaluate(step)

    # --- what is due -------------------------------------------------------

    def save(self, event: str, last: bool = False) -> None:
        """Write a checkpoint of this step, once, and delete those that are not kept."""
        step = self.trainer.progress.step
        if step == self._saved_step:
            return
        tree = {**self.trainer.state_dict(), "clock": {"seconds": self.book.pace.seconds}}
        own = self.trainer.rank_state_dict()
        require_finite(tree, own, step)
        with self.book.pace.maintaining():
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
            with self.book.pace.maintaining():
                self._keeper.attempt(lambda: draw(self.generator, path, step))
                if path.exists():
                    self.hooks.on_sample(step, path)

    def _evaluate(self, step: int) -> None:
        """Score the first process's generator, by all of them together."""
        if not (self.hooks.evaluate and self.config.metrics):
            return
        scored = self._main and self.run.is_scored(step)
        if distributed.any_rank(scored) or distributed.largest(self._requests.stop):
            return
        hearing = self.generator.register_forward_pre_hook(lambda *_: self._requests.check())
        try:
            with (
                self.book.pace.maintaining(),
                distributed.state_of_first(self.generator),
                self._requests.at_once(),
            ):
                results = self.hooks.evaluate(self.generator)
        except Interrupted:  # the state is saved; the next call evaluates it
            return
        finally:
            hearing.remove()
            distributed.barrier()  # the first one has the figures to compute, which takes its time
        if self._main:
            self.book.log_scores(results)
            self._keeper.attempt(self._prune)


def trainer_for(
    config: RunConfig, data: PreparedData, next_reals: Callable[[], Batch], device: torch.device
) -> Trainer:
    """The trainer of a config that is resolved against the data."""
    rows = data.label_rows
    return Trainer(
        config,
        data.image_shape,
        config.num_classes or 0,
        next_reals,
        device,
        label_counts=data.class_counts.tolist(),
        label_rows=None if rows is None else torch.from_numpy(np.array(rows)),
    )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
