"""The clock, and the running means that the log prints."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from limner.core import distributed
from limner.core.devices import widest
from limner.core.streams import stream

RATE_FACTOR = 0.5  # of a rollback


@dataclass
class Progress:
    """Where training stands.

    Attributes:
        step: passes over the list of updates.
        nimg: real images shown: the clock.
        step_nimg: the clock as the newest step began; every schedule inside a step reads it.
        num_drawn: real images drawn, also by updates that do not count: the place in the data.
        rollbacks: how often the run has gone back to a checkpoint after a divergence.
        tick, tick_step: where a controller counts ticks, how many have passed and the step that
            ended the last one.
    """

    step: int = 0
    nimg: int = 0
    step_nimg: int = 0
    num_drawn: int = 0
    rollbacks: int = 0
    tick: int = 0
    tick_step: int = 0


def salted(seed: int, rollbacks: int) -> int:
    """The seed of order and noise after a number of rollbacks; without one, the run's own."""
    if rollbacks == 0:
        return seed
    return stream(seed, "rollback", rollbacks).initial_seed() % 2**62


def rate_factor(rollbacks: int) -> float:
    """What the learning rates of the config are multiplied by."""
    return RATE_FACTOR**rollbacks


class Meters:
    """Means of named scalars since the last `drain`; kept on the device, no synchronization."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Count one value (a 0-dim tensor; gradients are dropped)."""
        value = value.detach().to(widest(value.device))
        known = self._sums.get(name)
        self._sums[name] = value if known is None else known + value
        self._counts[name] = self._counts.get(name, 0) + 1

    def glance(self, names: Iterable[str]) -> dict[str, float]:
        """The means so far of those names that are known, of this process alone; they stay. The
        host waits for the device."""
        return {n: (self._sums[n] / self._counts[n]).item() for n in names if n in self._sums}

    def drain(self) -> dict[str, float]:
        """The means over all processes, and start anew; all of them call it. This is where the
        host waits for the device."""
        names = list(self._sums)
        if not names:
            return {}
        means = torch.stack([self._sums[n] / self._counts[n] for n in names])
        values = distributed.average(means).tolist()
        self._sums, self._counts = {}, {}
        return dict(zip(names, values, strict=True))

    def state_dict(self) -> dict:
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict, device: torch.device) -> None:
        self._sums = {k: v.to(device, widest(device)) for k, v in state["sums"].items()}
        self._counts = dict(state["counts"])
