"""How a run is carried out, and how it ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from limner.checkpoints import RunLock
from limner.core.counting import Progress
from limner.core.distributed import TIMEOUT as PROCESS_TIMEOUT
from limner.data import WORKER_TIMEOUT
from limner.presets.fitted import Choice
from limner.running.fit import Outcome
from limner.running.rollback import OnDivergence

Notice = Callable[[str, str], None]


@dataclass(frozen=True)
class TrainOptions:
    """How a run is carried out; none of it changes what is learned (up to rounding, the device).

    Attributes:
        device: "auto", "cpu", "cuda", "mps".
        on_divergence: "stop" at a number that is not finite, or "rollback" to the newest
            checkpoint, at most twice, with another seed and half the learning rates.
        worker_timeout: seconds without a batch after which one of them counts as hung, and is
            replaced.
        process_timeout: of several processes: seconds after which one that does not come to the sum
            of a step counts as stopped, and the others end.
        fresh: start over; what the run directory holds is moved aside, not deleted.
        origin: "RUN@best-fid" to continue with that run's whole state.
        init: a model whose weights the new run starts from.
        lock: of the run directory, where the caller holds it already (through the whole call).
        trackers: "wandb", "mlflow", "trackio", or "MODULE:CLASS" of your own (a
            `running.trackers.Tracker`) that are told of the run; TensorBoard is where it is
            installed.
        choices: what the config's preset picked by itself, for the lines before the first step.
        on_glance: called every few seconds with what a display shows, see `Hooks`.
        on_prepare: called with (pictures prepared, their number or None).
        on_step, on_log, on_scores, on_event, on_sample: called with (step, images shown), a record
            of log.jsonl, one of scores.jsonl, (event, message), and (step, sheet of samples).

    Examples:
        >>> options = limner.TrainOptions(device="cpu", fresh=True)
        >>> options.on_divergence
        'stop'
    """

    device: str = "auto"
    num_workers: int = 0
    on_divergence: OnDivergence = "stop"
    worker_timeout: float = WORKER_TIMEOUT
    process_timeout: float = PROCESS_TIMEOUT
    fresh: bool = False
    origin: str | None = None
    init: str | None = None
    lock: RunLock | None = None
    trackers: Sequence[str] = ()
    choices: Sequence[Choice] = ()
    on_step: Callable[[int, int], None] = field(default=lambda step, nimg: None)
    on_log: Callable[[dict[str, Any]], None] = field(default=lambda record: None)
    on_glance: Callable[[dict[str, Any]], None] = field(default=lambda record: None)
    on_scores: Callable[[dict[str, Any]], None] = field(default=lambda record: None)
    on_event: Notice = field(default=lambda event, message: None)
    on_sample: Callable[[int, Image.Image], None] = field(default=lambda step, sheet: None)
    on_prepare: Progress | None = None


@dataclass(frozen=True)
class TrainedRun:
    """Where a run is and how the call ended.

    Attributes:
        began_at: the step at which this call began.
        sheet, report, model: the newest sample sheet, the page, the model folder; None where
            there is none yet.
        verdict: what the newest scores say, in one sentence; None without any.

    Examples:
        >>> config = limner.presets.digits_tiny().replace(steps=1, metrics=())
        >>> run = limner.train(config, data="digits", run="runs/one-step")
        >>> run.outcome.step, run.was_finished
        (1, False)
        >>> limner.load(run.path).num_classes
        10
    """

    path: Path
    outcome: Outcome
    began_at: int
    sheet: Path | None
    report: Path | None
    model: Path | None
    verdict: str | None

    @property
    def was_finished(self) -> bool:
        """Whether there was nothing left to train."""
        return not self.outcome.signal and self.began_at == self.outcome.step
