"""A collapsing run, said in plain words.

The rules look at the health figures of log.jsonl and at nothing else: the same log gives the same
alarms, so a resumed run neither forgets nor repeats one.

An alarm changes nothing: whether to stop, lower a rate or go back to the best checkpoint is a
person's choice. Thresholds and why: docs/running.md.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PATIENCE = 3  # figures in a row
FIRST_FIGURES = 6  # before them an untrained generator may still draw everything alike
ALIKE = 0.1  # of the reals' diversity: hardly one picture
FALLEN = 0.25  # the same, for a generator that has reached VARIED before
VARIED = 0.5
CERTAIN = 0.995  # of the discriminator's answers bear the right sign
IDLE = 0.1  # of the discriminator's largest gradient
DEAD = 1e-6  # of both players' largest gradients
EXPLODED = 100.0  # times the median of the ten figures before
WORSE = 2.0  # times the best score, twice in a row

Record = Mapping[str, Any]


class Alarms:
    """Hears every log record in its order and answers with the alarms that begin there."""

    def __init__(self) -> None:
        self._heard: list[dict[str, float]] = []  # the newest figures
        self._count = 0
        self._most: dict[str, float] = {}
        self._sounding: set[str] = set()

    def hear(self, record: Record) -> list[str]:
        """The messages of alarms that this record sets off; none for one without figures."""
        if "diversity" not in record:
            return []
        figures = {k: float(v) for k, v in record.items() if isinstance(v, (int, float))}
        self._heard = [*self._heard[-12:], figures]
        self._count += 1
        new = []
        for name, rule in RULES.items():
            message = rule(self) if self._count >= PATIENCE else None
            if message and name not in self._sounding:
                new.append(message)
            (self._sounding.add if message else self._sounding.discard)(name)
        for name, value in figures.items():
            self._most[name] = max(value, self._most.get(name, value))
        return new

    def _lately(self, name: str) -> list[float]:
        """The newest figures of a name, as many as an alarm needs; none if one is missing."""
        found = [figures[name] for figures in self._heard[-PATIENCE:] if name in figures]
        return found if len(found) == PATIENCE else []

    def alike(self, name: str, what: str) -> str | None:
        """Pictures have become one, or never were more."""
        lately, most = self._lately(name), self._most.get(name, 0.0)
        if not lately:
            return None
        always = self._count >= FIRST_FIGURES and max(lately) < ALIKE
        if always or (most >= VARIED and max(lately) < FALLEN):
            return (
                f"{what} look alike: they differ by {lately[-1]:.1%} of what real pictures differ "
                f"by (the most so far was {most:.0%}); the generator has collapsed, or is about "
                "to: go back to an earlier checkpoint with a lower learning rate"
            )
        return None

    def discriminator_wins(self) -> str | None:
        """It knows every picture and has nothing left to learn: no direction for the generator."""
        signs = [*self._lately("signs_real"), *self._lately("signs_fake")]
        gradients = self._lately("grad_norm_d")
        if len(signs) < 2 * PATIENCE or not gradients or min(signs) < CERTAIN:
            return None
        if max(gradients) > IDLE * self._most.get("grad_norm_d", 0.0):
            return None
        return (
            f"the discriminator wins: {min(signs):.1%} of its answers are right and its gradient "
            "has nearly vanished, so the generator learns little from it: lower its learning rate, "
            "regularize it more, or give the generator a higher rate"
        )

    def gradients_vanish(self) -> str | None:
        """Both players stand still."""
        for name in ("grad_norm_d", "grad_norm_g"):
            lately, most = self._lately(name), self._most.get(name, 0.0)
            if not lately or not most or max(lately) > DEAD * most:
                return None
        return (
            "neither player learns any more: both gradients are zero; a learning rate was "
            "probably too high: start again with a lower one, or go back to an earlier checkpoint"
        )

    def gradients_explode(self) -> str | None:
        """A player's gradient is of another order than it was."""
        for name, player in (("grad_norm_d", "discriminator"), ("grad_norm_g", "generator")):
            lately = self._lately(name)
            before = [f[name] for f in self._heard[:-PATIENCE] if name in f][-10:]
            if len(before) < PATIENCE or not lately:
                continue
            usual = statistics.median(before)
            if usual > 0 and min(lately) > EXPLODED * usual:
                return (
                    f"the {player}'s gradient explodes: {lately[-1]:.3g}, where {usual:.3g} was "
                    "usual: go back to an earlier checkpoint with a lower learning rate"
                )
        return None


RULES: dict[str, Callable[[Alarms], str | None]] = {
    "alike": lambda alarms: alarms.alike("diversity", "the generated pictures"),
    "alike_within": lambda alarms: alarms.alike(
        "diversity_within", "the generated pictures of one class"
    ),
    "discriminator_wins": Alarms.discriminator_wins,
    "gradients_vanish": Alarms.gradients_vanish,
    "gradients_explode": Alarms.gradients_explode,
}


def worse_scores(figures: Mapping[str, Mapping[int, float]], names: Sequence[str]) -> list[str]:
    """Warnings about those of the figures (as `RunDirectory.figures` gives them) that are in
    `names`, better when smaller, and were twice the best, twice in a row."""
    found = []
    for name in names:
        values = [value for _, value in sorted(figures.get(name, {}).items())]
        best = min(values[:-2], default=0.0)
        # Said once: not again while the score stays there.
        known = len(values) > 3 and values[-3] > WORSE * min(values[:-3])
        if best > 0 and min(values[-2:]) > WORSE * best and not known:
            found.append(
                f"{name} is {values[-1]:.4g}, more than twice its best ({best:.4g}), for the "
                f"second time: what was best is kept, as @best-{name}"
            )
    return found
