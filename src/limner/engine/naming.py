"""The names of a run's parts: a part keeps its memory and its figures under its own name."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limner.objectives.base import Memory

if TYPE_CHECKING:
    from limner.engine.config import RunConfig

BY_PLACE = re.compile(r"(term|direct|controller)((?:\.\d+)+)")  # how limner 0.1.0 named memories


def numbered(names: Iterable[str]) -> list[str]:
    """The names in their order, each once: the second "d" is "d.2"."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return found


@dataclass(frozen=True)
class Names:
    """What the parts of a run are called, in the order of its config.

    Attributes:
        updates: "d", "g"; a player's second update is "d.2". The first one is its main update.
        terms, directs: of each update, "term.PLAYER.CLASS"; another one "term.PLAYER.CLASS.2".
        controllers, augments: "controller.CLASS", "augment.CLASS".
    """

    updates: list[str]
    terms: list[list[str]]
    directs: list[list[str]]
    controllers: list[str]
    augments: list[str]

    @classmethod
    def of(cls, config: "RunConfig") -> "Names":
        """The names of a config's parts."""
        updates = config.updates
        return cls(
            numbered(update.player for update in updates),
            _nested([(f"term.{u.player}", u.terms) for u in updates]),
            _nested([(f"direct.{u.player}", u.direct) for u in updates]),
            _nested([("controller", config.controllers)])[0],
            _nested([("augment", config.augments)])[0],
        )

    @property
    def parts(self) -> list[str]:
        """The names under which memories may stand."""
        nested = [name for names in (*self.terms, *self.directs) for name in names]
        return [*nested, *self.controllers, *self.augments]

    def named(self, memories: Mapping[str, Memory]) -> dict[str, Memory]:
        """Memories under the names of their parts, also where a state has them by place."""
        return {self._name(key): memory for key, memory in memories.items()}

    def _name(self, key: str) -> str:
        found = BY_PLACE.fullmatch(key)
        if found is None:
            return key
        node: list = {
            "term": self.terms,
            "direct": self.directs,
            "controller": self.controllers,
        }[found[1]]
        for place in map(int, found[2].split(".")[1:]):
            if place >= len(node):
                return key
            node = node[place]
        return key if isinstance(node, list) else node


def _nested(groups: list[tuple[str, tuple]]) -> list[list[str]]:
    """The names of the parts of each group, numbered through all groups."""
    classes = [f"{kind}.{type(part).__name__}" for kind, parts in groups for part in parts]
    flat = iter(numbered(classes))
    return [[next(flat) for _ in parts] for _, parts in groups]
