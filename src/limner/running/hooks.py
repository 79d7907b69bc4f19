"""What a run calls but does not know."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

Record = dict[str, Any]


@dataclass(frozen=True)
class Hooks:
    """A run imports neither sampling nor metrics: what it needs of them is handed in here.

    Attributes:
        draw_samples: (generator, path, step) writes a sheet of fixed latents.
        evaluate: generator -> results, one dict a figure as scores.jsonl holds them; all processes
            call it, and the first one has the results.
        on_step: gets (step, nimg) after each step.
        on_log: gets every log record (a tracker).
        on_glance: gets, after the first step and at most every two seconds, what a display shows:
            the newest log record, or between two of them their first figures, with `seconds_left`.
        on_scores: gets every line of scores.
        on_event: gets (event, message): resumed, saved, warnings.
        on_sample: gets (step, path) of each new sheet of fixed latents.
    """

    draw_samples: Callable[[nn.Module, Path, int], None] | None = None
    evaluate: Callable[[nn.Module], list[Record]] | None = None
    on_step: Callable[[int, int], None] = field(default=lambda step, nimg: None)
    on_log: Callable[[Record], None] = field(default=lambda record: None)
    on_glance: Callable[[Record], None] = field(default=lambda record: None)
    on_scores: Callable[[Record], None] = field(default=lambda record: None)
    on_event: Callable[[str, str], None] = field(default=lambda event, message: None)
    on_sample: Callable[[int, Path], None] = field(default=lambda step, path: None)
