"""A run from its config: the directory, the state that it takes up, the hooks, the results."""

import contextlib
import dataclasses
import importlib.util
import json
import signal
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from limner.api.begun import check_same_run, set_aside
from limner.api.cards import write_card
from limner.api.carrying import Notice, TrainedRun, TrainOptions
from limner.api.configs import named_data
from limner.api.early import check_origin
from limner.api.labels import with_classes
from limner.api.notebooks import TrainingCell, in_notebook
from limner.api.scoring import evaluation_sampler
from limner.api.screen import tell
from limner.api.sheets import RunSheets
from limner.api.transfer import initialize
from limner.checkpoints import (
    RunDirectory,
    RunLock,
    find_model,
    list_states,
    rounding_notes,
    write_model,
)
from limner.core import distributed
from limner.core.config import decode, differences, encode, to_json
from limner.core.errors import ConfigError
from limner.core.files import read_json, write_atomically
from limner.data import DataConfig, PreparedData, open_data
from limner.engine.config import RunConfig
from limner.engine.naming import Names
from limner.running.fit import Fit
from limner.running.hooks import Hooks
from limner.running.rollback import newest_for_all
from limner.running.trackers import TensorBoard, Tracked, Tracker, open_tracker
from limner.sampling import StandingPlan

HURRIED = (signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM))
REPORT_SHARE = 0.02  # of the time, for writing the page anew while training goes on


def train(
    config: RunConfig,
    data: str | Path | None = None,
    run: str | Path | None = None,
    options: TrainOptions | None = None,
    *,
    on_log: Callable[[dict[str, Any]], None] | None = None,
    on_sample: Callable[[int, Image.Image], None] | None = None,
) -> TrainedRun:
    """Train, or resume what `run` already holds. In a notebook progress stands under the cell.

    Args:
        config: a preset's RunConfig, or one of your own.
        data: built-in name, prepared directory, or any source that `limner data prepare` takes;
            may be left out with a preset of the built-in digits.
        run: the run directory; runs/NAME by default.
        on_log, on_sample: those of the options, without writing options: called with each record
            of log.jsonl, and with (step, sheet of samples); the sheet's `filename` is its file.

    Raises:
        LimnerError: bad data or config, a run directory in use, or a run that diverged.

    Examples:
        >>> config = limner.presets.digits_tiny().replace(steps=2, metrics=())
        >>> def look(step, sheet):
        ...     print("step", step, sheet.format)
        >>> run = limner.train(config, data="digits", run="runs/two-steps", on_sample=look)
        step 0 PNG
        step 2 PNG
    """
    options = options or TrainOptions()
    given = {"on_log": on_log, "on_sample": on_sample}
    options = dataclasses.replace(options, **{name: hook for name, hook in given.items() if hook})
    data = named_data(config.name, data)
    if options.num_workers < 0:
        raise ConfigError(f"workers: {options.num_workers} is negative; give 0 or more")
    if options.worker_timeout <= 0:
        raise ConfigError(f"worker_timeout: {options.worker_timeout:g} s; give more than 0")
    if options.process_timeout <= 0:
        raise ConfigError(f"process_timeout: {options.process_timeout:g} s; give more than 0")
    device = distributed.local_device(options.device)
    distributed.start(device.type, options.process_timeout)
    try:
        directory = RunDirectory(run or Path("runs") / config.name)
        with _locked(directory, options.lock):
            if not in_notebook():
                return _Training(config, data, directory, device, options)()
            cell = TrainingCell(config)
            ended = _Training(config, data, directory, device, cell.listening(options))()
            cell.end(ended)
            return ended
    finally:
        distributed.stop()


@contextlib.contextmanager
def _locked(run: RunDirectory, held: RunLock | None) -> Iterator[None]:
    """The first process holds the run, or does so already; the others stop if it is refused."""
    assert held is None or held.run == run.path, f"the lock is that of {held.run}"
    with contextlib.ExitStack() as stack:
        distributed.first_process(lambda: held or stack.enter_context(run.lock()))
        yield


def resolved(config: RunConfig, data: PreparedData) -> RunConfig:
    """The config with what only the data can say: channels and number of classes."""
    if config.num_classes not in (None, data.num_classes):
        raise ConfigError(
            f"num_classes: the config says {config.num_classes}, the data has {data.num_classes}; "
            "leave it null to take the data's"
        )
    channels = data.image_shape[0]
    config = config.replace(
        data=config.data.replace(channels=channels), num_classes=data.num_classes
    )
    # What runs is what config.json says, number types included.
    return decode(RunConfig, encode(config), import_modules=True)


class _Training:
    """One call of `train`: set the directory up, take a state, go, and leave results."""

    def __init__(
        self,
        config: RunConfig,
        data: str | Path,
        run: RunDirectory,
        device: torch.device,
        options: TrainOptions,
    ):
        self.run, self.device, self.options = run, device, options
        self.main = distributed.rank() == 0
        self.name = str(data)
        # Lines about files of the run that were missing, and about scores.
        self._lost: list[str] = []
        if config.metrics:
            metrics = with_classes(config.metrics, data, config.data, None, self._lost.append)
            config = config.replace(metrics=tuple(metrics))
        self.data = self._open(data, config.data)
        self.config = resolved(config, self.data)
        self._sheets = RunSheets(self.config, self.data)
        self._features: Any = None
        self._note: Notice | None = None
        self._report_from = 0.0
        if config.metrics:  # now, not after hours of training
            from limner.metrics import check_metrics, make_extractor

            check_metrics(config.metrics, self.data, config.features, self._tell)
            if config.features is not None:
                self._features = make_extractor(config.features, self.data, device)

    def _open(self, data: str | Path, config: DataConfig) -> PreparedData:
        """Rank 0 prepares, the others find it in the cache."""
        opened: list[PreparedData] = []
        distributed.first_process(
            lambda: opened.append(open_data(data, config, self.options.on_prepare))
        )
        return opened[0] if opened else open_data(data, config)

    def __call__(self) -> TrainedRun:
        distributed.first_process(self._prepare_directory)
        fit = Fit(
            self.config,
            self.data,
            self.run,
            self.device,
            self._hooks(),
            self.options.num_workers,
            on_divergence=self.options.on_divergence,
            worker_timeout=self.options.worker_timeout,
        )
        began_at = self._take_state(fit)
        self._note = fit.note
        tell(fit, self.data, self.options.choices)
        with self._tracking(began_at):
            outcome = fit()
        # A queue or a shutdown waits only for the checkpoint.
        if self.main and outcome.signal not in HURRIED:
            self._leave_results()
        distributed.barrier()
        return TrainedRun(
            path=self.run.path,
            outcome=outcome,
            began_at=began_at,
            sheet=_newest(self.run.samples),
            report=self.run.report if self.run.report.exists() else None,
            model=self.run.model if self.run.model.exists() else None,
            verdict=self._verdict(),
        )

    # --- the directory -----------------------------------------------------

    def _prepare_directory(self) -> None:
        if self.options.fresh:
            set_aside(self.run)
        self.run.create()
        self.run.remove_leftovers()
        # A run that has saved nothing may still become another one: a refused --init, say.
        begun = bool(list_states(self.run.checkpoints))
        if begun:
            self._lost += check_same_run(self.run, self.config, self.data)
        self.run.write_data(self.data, self.name)
        write_atomically(self.run.config, to_json(self.config))
        if not begun or not (self.run.samples / "reals.png").exists():
            self._sheets.write_reals(self.run.samples / "reals.png")

    # --- the state ---------------------------------------------------------

    def _take_state(self, fit: Fit) -> int:
        with fit.book.noting_at_end() as note:
            for line in self._lost:
                note("warning", line)
            checkpoint = newest_for_all(self.run.checkpoints, lambda line: note("warning", line))
            if checkpoint is not None:
                self._check_origin()
                fit.resume(checkpoint)
            if self.main:
                self.run.truncate_logs(fit.trainer.progress.step)
        if checkpoint is not None:
            for line in rounding_notes(checkpoint):
                fit.note("warning", line)
            fit.note("resumed", f"at step {fit.trainer.progress.step}")
        elif self.options.origin:
            self._branch(fit, self.options.origin)
        elif self.options.init:
            initialize(fit.trainer, self.data.image_shape, self.options.init, fit.note)
        distributed.barrier()
        return fit.trainer.progress.step

    def _branch(self, fit: Fit, spec: str) -> None:
        check_origin(spec)
        path, _, selector = spec.partition("@")
        source = RunDirectory(path)
        checkpoint = source.select(selector, fit.book.warn)
        before = source.config_as(RunConfig, import_modules=True)
        same = (before.optim, before.controllers) == (self.config.optim, self.config.controllers)
        left = fit.resume(checkpoint, saved_by=before, rollbacks=None if same else 0)
        fit.forget_save()
        if not self.main:
            return
        for line in rounding_notes(checkpoint):
            fit.note("warning", line)
        origin = {
            "run": str(path),
            "checkpoint": checkpoint.name,
            "step": fit.trainer.progress.step,
            "nimg": fit.trainer.progress.nimg,
            "differs_in": differences(encode(before), encode(self.config)),
        }
        text = json.dumps(origin, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self.run.path / "origin.json", text)
        fit.note("branched", f"from {path}, {checkpoint.name}")
        known = Names.of(before).parts
        begun = [name for name in fit.trainer.names.parts if name not in known]
        for event, names in (("starts anew", begun), ("left behind", left)):
            if names:
                fit.note(event, ", ".join(names))

    def _check_origin(self) -> None:
        """A run that has begun resumes from itself: --from must be the one that it began with."""
        if self.options.origin is None:
            return
        file, path = self.run.path / "origin.json", self.options.origin.partition("@")[0]
        remedy = "restore it from a copy, or leave --from out to resume the run"
        known = read_json(file, {"run": str}, ["run"], remedy)["run"] if file.exists() else None
        if known is None or Path(known).resolve() != Path(path).resolve():
            raise ConfigError(
                f"{self.run.path}: this run began {f'from {known}' if known else 'by itself'}, not "
                f"from {path}; leave --from out to resume it, or give another --run"
            )

    # --- hooks -------------------------------------------------------------

    def _hooks(self) -> Hooks:
        self._trackers: list[Tracker] = []

        def on_log(record: dict[str, Any]) -> None:
            self.options.on_log(record)
            for tracker in self._trackers:
                tracker.on_log(record)

        def on_scores(line: dict[str, Any]) -> None:
            self.options.on_scores(line)
            for tracker in self._trackers:
                tracker.on_scores(line)

        def on_sample(step: int, path: Path) -> None:
            self.options.on_sample(step, _opened(path))
            for tracker in self._trackers:
                tracker.on_sample(step, path)

        return Hooks(
            draw_samples=self._draw,
            evaluate=self._evaluate,
            on_step=self.options.on_step,
            on_log=on_log,
            on_glance=self.options.on_glance,
            on_scores=on_scores,
            on_event=self.options.on_event,
            on_sample=on_sample,
        )

    def _draw(self, generator: nn.Module, path: Path, step: int) -> None:
        self._sheets(generator, path, step)
        if step and time.monotonic() >= self._report_from:  # before step 1 nothing is to report
            self._write_report()

    @contextlib.contextmanager
    def _tracking(self, began_at: int) -> Iterator[None]:
        """Tell the trackers of the run meanwhile."""
        with contextlib.ExitStack() as stack:
            for make in self._makers(began_at) if self.main else ():
                tracker = make()
                stack.callback(tracker.close)
                self._trackers.append(tracker)
            yield

    def _makers(self, began_at: int) -> Iterator[Callable[[], Tracker]]:
        if importlib.util.find_spec("tensorboard") is not None:
            yield lambda: TensorBoard(self.run.tensorboard, began_at)
        tracked = Tracked(self.run.path, encode(self.config), began_at)
        for name in self.options.trackers:
            yield partial(open_tracker, name, tracked)

    @cached_property
    def _evaluator(self) -> Callable[[Callable], list]:
        from limner.metrics import make_evaluator

        names, num = list(self.config.metrics), self.config.num_evaluate
        return make_evaluator(
            self.data, names, num, self._features, device=self.device, tell=self._tell
        )

    def _tell(self, metrics: str, line: str) -> None:
        """What is said of scores, once."""
        if line in self._lost:
            return
        self._lost.append(line)
        if self._note is not None:
            self._note("warning", line)

    def _evaluate(self, generator: nn.Module) -> list[dict[str, Any]]:
        passes, batch_size = self.config.standing_passes, max(self.config.batch_size, 2)
        standing = StandingPlan(passes, batch_size) if passes else None
        data = self.data
        sample = evaluation_sampler(generator, data.num_classes, standing, data.label_rows)
        from limner.metrics import NoScores

        try:
            return [encode(result) for result in self._evaluator(sample)]
        except NoScores as error:  # training goes on without
            self._tell("", str(error))
            return []

    # --- the end -----------------------------------------------------------

    def _leave_results(self) -> None:
        if list_states(self.run.checkpoints):
            write_model(self.run.model, find_model(self.run.path))
            write_card(self.run.model, self.run, _newest(self.run.samples))
        if not self._write_report():
            self.options.on_event("note", "no report.html: pip install 'limner[report]'")

    def _write_report(self) -> bool:
        """Write the page, where what that needs is installed."""
        if importlib.util.find_spec("matplotlib") is None:
            return False
        from limner.reports import write_report

        began = time.monotonic()
        write_report(self.run.path)
        self._report_from = began + (time.monotonic() - began) / REPORT_SHARE
        return True

    def _verdict(self) -> str | None:
        from limner.reports import verdict

        scores = self.run.read_log("scores")
        return verdict(scores[-1]) if scores else None


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def _newest(samples: Path) -> Path | None:
    sheets = sorted(samples.glob("step-*.png"))
    return sheets[-1] if sheets else None
