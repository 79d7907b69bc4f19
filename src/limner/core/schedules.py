"""Numbers that change over training: frozen functions of nimg, the real images shown so far."""

import itertools
import math

from limner.core.config import Config, Part
from limner.core.errors import ConfigError
from limner.core.parts import table
from limner.core.ranges import NonNegativeInt, Positive


class Schedule(Part):
    """Marker of schedules: `schedule(nimg) -> float`. A field takes `float | Schedule`."""

    table = "limner.core.schedules:SCHEDULES"

    def __call__(self, nimg: int) -> float:
        raise NotImplementedError


def share_done(nimg: int, from_nimg: int, until_nimg: int) -> float:
    """How much of an interval has passed, from 0.0 to 1.0."""
    return min(max((nimg - from_nimg) / (until_nimg - from_nimg), 0.0), 1.0)


def check_interval(from_nimg: int, until_nimg: int) -> None:
    """Raises ConfigError unless the interval goes forward."""
    if until_nimg <= from_nimg:
        raise ConfigError(
            f"until_nimg: {until_nimg} is not after from_nimg; give more than {from_nimg}"
        )


def check_rising(name: str, pairs: tuple[tuple[int, float], ...]) -> None:
    """Raises ConfigError unless the first numbers of the pairs, all of `name`, rise."""
    for (before, _), (after, value) in itertools.pairwise(pairs):
        if after <= before:
            raise ConfigError(
                f"{name}: [{after}, {value}] follows {before}; give each pair once, in rising order"
            )


class Linear(Config, Schedule, frozen=True):
    """From `start` to `end` in a straight line between two moments, constant outside them."""

    start: float
    end: float
    until_nimg: int
    from_nimg: int = 0

    def __post_init__(self) -> None:
        check_interval(self.from_nimg, self.until_nimg)

    def __call__(self, nimg: int) -> float:
        share = share_done(nimg, self.from_nimg, self.until_nimg)
        return self.start + (self.end - self.start) * share


class Cosine(Config, Schedule, frozen=True):
    """From `start` to `end` along half a cosine between two moments, constant outside them."""

    start: float
    end: float
    until_nimg: int
    from_nimg: int = 0

    def __post_init__(self) -> None:
        check_interval(self.from_nimg, self.until_nimg)

    def __call__(self, nimg: int) -> float:
        share = share_done(nimg, self.from_nimg, self.until_nimg)
        return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * share))


class Exponential(Config, Schedule, frozen=True):
    """`start` halved every `half_life_nimg`, never below `floor`."""

    start: float
    half_life_nimg: Positive
    floor: float = 0.0

    def __call__(self, nimg: int) -> float:
        return max(self.start * 0.5 ** (nimg / self.half_life_nimg), self.floor)


class Steps(Config, Schedule, frozen=True):
    """`start`, then each value of `changes` = ((nimg, value), ...), whose moments rise, from its
    own on."""

    start: float
    changes: tuple[tuple[NonNegativeInt, float], ...] = ()

    def __post_init__(self) -> None:
        check_rising("changes", self.changes)

    def __call__(self, nimg: int) -> float:
        value = self.start
        for moment, changed in self.changes:
            if nimg >= moment:
                value = changed
        return value


SCHEDULES = table(Linear, Cosine, Exponential, Steps)


def value_at(value: float | Schedule, nimg: int) -> float:
    """A plain number as it is, a schedule at `nimg`."""
    return value(nimg) if isinstance(value, Schedule) else value
