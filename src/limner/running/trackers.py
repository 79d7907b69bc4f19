"""Trackers: other programs that show a run. log.jsonl is always written.

TensorBoard writes where its package is installed; wandb, mlflow and trackio where they are named.
Their own variables ($WANDB_MODE, $MLFLOW_TRACKING_URI, $TRACKIO_DIR ...) say where to. A resumed
run goes on in the run that it has there. What a run takes back stays there, and is logged again.
"""

import contextlib
import importlib
import json
import os
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from limner.core.errors import LimnerError, MissingExtra, nearest
from limner.core.files import read_json, write_atomically

PROJECT = "limner"
IDENTITIES = "trackers.json"  # in the run: what it is called in each tracker


@dataclass(frozen=True)
class Tracked:
    """A run, as a tracker is told of it.

    Attributes:
        path: the run directory.
        config: config.json as plain values.
        resumed_at: the step at which this call begins.
    """

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    resumed_at: int = 0

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def identity(self, tracker: str, new: Callable[[], str]) -> tuple[str, bool]:
        """What the run is called in a tracker, and whether it was made just now."""
        path = self.path / IDENTITIES
        known = read_json(path, {}) if path.exists() else {}
        if tracker in known:
            return str(known[tracker]), False
        known[tracker] = new()
        write_atomically(path, json.dumps(known, indent=2) + "\n")
        return known[tracker], True


class Tracker(Protocol):
    """A program that shows runs; made from a `Tracked` on the first process alone."""

    def on_log(self, record: dict[str, Any]) -> None:
        """One record of log.jsonl: step, nimg and figures."""
        ...

    def on_scores(self, line: dict[str, Any]) -> None:
        """One line of scores.jsonl: step and results."""
        ...

    def on_sample(self, step: int, path: Path) -> None:
        """A new sheet of samples."""
        ...

    def close(self) -> None:
        """The run has ended, or was stopped."""
        ...


def figures_of(record: dict[str, Any]) -> dict[str, Any]:
    """The figures of a log record by the names that trackers group them by."""
    return {
        name.replace("term.", "terms/"): value
        for name, value in record.items()
        if name not in ("step", "nimg")
    }


def scores_of(line: dict[str, Any]) -> dict[str, float]:
    """The figures of a line of scores."""
    return {f"scores/{result['name']}": result["value"] for result in line["results"]}


class TensorBoard:
    """Writes log records and scores as scalars. A run that was resumed (at a step, or 0), or goes
    back, overwrites what came after."""

    def __init__(self, directory: Path, resumed_at: int):
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            raise MissingExtra("tensorboard", "track", "writing TensorBoard files") from None
        self._begun = lambda step: SummaryWriter(str(directory), purge_step=step)
        self._writer, self._newest = self._begun(resumed_at + 1), resumed_at

    def on_log(self, record: dict[str, Any]) -> None:
        """One record of log.jsonl."""
        self._reach(record["step"], self._newest + 1)
        for name, value in figures_of(record).items():
            self._writer.add_scalar(name, value, record["step"])

    def on_scores(self, line: dict[str, Any]) -> None:
        """One line of scores.jsonl."""
        self._reach(line["step"], self._newest)
        for name, value in scores_of(line).items():
            self._writer.add_scalar(name, value, line["step"])

    def on_sample(self, step: int, path: Path) -> None:
        """Sheets stay in the run: an event file would hold each as a whole."""

    def _reach(self, step: int, expected: int) -> None:
        if step < expected:
            self.close()
            self._writer = self._begun(step)
        self._newest = step

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases, in the project limner or $WANDB_PROJECT."""

    def __init__(self, run: Tracked):
        import wandb

        name, _ = run.identity("wandb", lambda: secrets.token_hex(4))
        with _one_line("wandb", wandb.Error):
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=name,
                name=run.name,
                dir=str(run.path),
                config=run.config,
                resume="allow",
                allow_val_change=True,  # a longer --steps
                settings=wandb.Settings(console="off", silent=True),
            )
        self._run.define_metric("*", step_metric="step")  # its own count cannot go back
        self._image = wandb.Image

    def on_log(self, record: dict[str, Any]) -> None:
        self._run.log({**figures_of(record), "step": record["step"], "nimg": record["nimg"]})

    def on_scores(self, line: dict[str, Any]) -> None:
        self._run.log({**scores_of(line), "step": line["step"]})

    def on_sample(self, step: int, path: Path) -> None:
        self._run.log({"samples": self._image(str(path)), "step": step})

    def close(self) -> None:
        self._run.finish()


class Mlflow:
    """A run of MLflow, in the experiment limner or $MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, run: Tracked):
        import mlflow
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException

        self._metric, self._error = Metric, MlflowException
        with _one_line("mlflow", MlflowException):
            self._client = client = mlflow.MlflowClient()
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            found = client.get_experiment_by_name(experiment)
            place = found.experiment_id if found else client.create_experiment(experiment)
            self._id, is_new = run.identity(
                "mlflow", lambda: client.create_run(place, run_name=run.name).info.run_id
            )
            if is_new:
                params = [Param(key, value) for key, value in _flat(run.config)]
                client.log_batch(self._id, params=params[:MOST_PARAMS])
            else:
                client.update_run(self._id, status="RUNNING")

    def on_log(self, record: dict[str, Any]) -> None:
        self._log(figures_of(record), record["step"])

    def on_scores(self, line: dict[str, Any]) -> None:
        self._log(scores_of(line), line["step"])

    def _log(self, figures: dict[str, Any], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(name, float(value), now, step) for name, value in figures.items()]
        with self._passing():
            self._client.log_batch(self._id, metrics=metrics)

    def on_sample(self, step: int, path: Path) -> None:
        with self._passing():
            self._client.log_artifact(self._id, str(path), "samples")

    @contextlib.contextmanager
    def _passing(self) -> Iterator[None]:
        """A server that does not answer costs what it was told, not the run."""
        try:
            yield
        except self._error as error:
            warnings.warn(f"mlflow: {' '.join(str(error).split())}", stacklevel=2)

    def close(self) -> None:
        with self._passing():
            self._client.set_terminated(self._id)


class Trackio:
    """A run of trackio, in the project limner."""

    def __init__(self, run: Tracked):
        import trackio

        name, _ = run.identity("trackio", lambda: f"{run.name}-{secrets.token_hex(4)}")
        options: dict[str, Any] = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        with _said_on_stderr():
            self._run = trackio.init(PROJECT, name, config=run.config, resume="allow", **options)
        self._image = trackio.Image

    def on_log(self, record: dict[str, Any]) -> None:
        self._run.log({**figures_of(record), "nimg": record["nimg"]}, step=record["step"])

    def on_scores(self, line: dict[str, Any]) -> None:
        self._run.log(scores_of(line), step=line["step"])

    def on_sample(self, step: int, path: Path) -> None:
        self._run.log({"samples": self._image(str(path))}, step=step)

    def close(self) -> None:
        with _said_on_stderr():
            self._run.finish()


MOST_PARAMS = 100  # of one call to MLflow
# name -> (class, its package, the extra that has it)
TRACKERS: dict[str, tuple[Callable[[Tracked], Tracker], str, str]] = {
    "wandb": (Wandb, "wandb", "wandb"),
    "mlflow": (Mlflow, "mlflow", "mlflow"),
    "trackio": (Trackio, "trackio", "trackio"),
}


def check_tracker(name: str) -> None:
    """LimnerError for a name that is neither in the table nor "MODULE:CLASS"; MissingExtra where
    its package is not installed."""
    if ":" in name:
        return
    if name not in TRACKERS:
        raise LimnerError(f"--track {name}: no such tracker{nearest(name, TRACKERS)}")
    _, package, extra = TRACKERS[name]
    if find_spec(package) is None:
        raise MissingExtra(package, extra, f"--track {name}")


def open_tracker(name: str, run: Tracked) -> Tracker:
    """A tracker of the table, or one of the user's own, "MODULE:CLASS".

    Raises:
        LimnerError: as `check_tracker`, or the tracker refuses.
    """
    check_tracker(name)
    if ":" not in name:
        return TRACKERS[name][0](run)
    module, _, cls = name.rpartition(":")
    try:
        return getattr(importlib.import_module(module), cls)(run)
    except (ImportError, AttributeError) as error:
        raise LimnerError(f"--track {name}: {error}") from None


def _flat(config: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", json.dumps(value)


@contextlib.contextmanager
def _one_line(name: str, kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise LimnerError(f"--track {name}: {' '.join(str(error).split())}") from None


@contextlib.contextmanager
def _said_on_stderr() -> Iterator[None]:
    """stdout belongs to the result."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
