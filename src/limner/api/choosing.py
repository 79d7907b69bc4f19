"""Which preset: all of them with what each costs here, one for given pictures, two compared."""

import contextlib
import itertools
import json
import os
import platform
import re
import shlex
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from limner import presets
from limner.api.configs import load_config
from limner.core.config import Config, encode, tag_of
from limner.core.errors import ConfigError
from limner.core.facts import Pictures
from limner.core.files import cache_directory, write_atomically
from limner.data.facts import facts_of, settings_of
from limner.data.sources import BUILT_IN, LabelsAsked, Source
from limner.presets.costs import COSTS, Cost
from limner.presets.fitted import SMALL_CLASS, Choice, has_classes

LAST = "ablations"  # the group that is listed only when all is asked for
FEW = 1000  # pictures; with fewer a model of others' is the better beginning


class Listed(NamedTuple):
    """A preset in the list; `seconds` is the rough time of its whole training on this machine."""

    name: str
    group: str
    summary: str
    cost: Cost | None
    seconds: float | None


def listed(everything: bool = False) -> tuple[list[Listed], str]:
    """The presets by groups, and the kind of device that `seconds` are of."""
    kind, speed = speed_here()
    groups = {
        group: names for group, names in presets.GROUPS.items() if everything or group != LAST
    }
    rows = [_row(name, group, kind, speed) for group, names in groups.items() for name in names]
    return rows, kind


def listed_one(name: str) -> tuple[Listed, str]:
    """The same of one preset."""
    kind, speed = speed_here()
    group = next(group for group, names in presets.GROUPS.items() if name in names)
    return _row(name, group, kind, speed), kind


def _row(name: str, group: str, kind: str, speed: float) -> Listed:
    cost = COSTS.get(f"{name} on {kind}") or COSTS.get(name)
    seconds = None if cost is None else cost.petaflops * 1e15 / speed
    return Listed(name, group, presets.summary(name), cost, seconds)


def speed_here() -> tuple[str, float]:
    """This machine's kind of device, and its operations a second in a training like `photos`;
    measured once while it is not busy, and then found in `cache_directory()/speed.json`."""
    machine = (platform.node(), os.cpu_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    key = f"{' '.join(map(str, machine))} torch {version('torch')}"
    path = cache_directory() / "speed.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kind, speed = json.loads(path.read_bytes())[key]
        return str(kind), float(speed)
    from limner.api.costs import measured_speed

    found = measured_speed()
    with contextlib.suppress(OSError):  # it is measured again, then
        if is_busy():
            return found
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps({key: found}))
    return found


def is_busy() -> bool:
    """Whether others want the processors as well: beside them threads wait for one another, and
    what was measured was thirty times too long (docs/log.md)."""
    return getattr(os, "getloadavg", lambda: (0.0,))()[0] > (os.cpu_count() or 1) / 2


# --- for given pictures ------------------------------------------------------


class Advice(NamedTuple):
    """A command line for pictures, why it is that one, what it would pick here where that was
    asked, and other commands to think of."""

    command: str
    reasons: list[str]
    picks: list[str]
    others: list[str]

    def lines(self) -> list[str]:
        """All of it, to print."""
        lines = ["to train on them:", f"  {self.command}"]
        return [*lines, *(f"  {reason}" for reason in self.reasons), *self.picks, *self.others]


def advise(data: str | Source, labels: LabelsAsked = "classes", here: bool = False) -> Advice:
    """How to train on pictures, by their listing and the headers of a few.

    Args:
        labels: "none" reads them as one set.
        here: find out, too, what is picked on this machine and how long it takes; torch is needed.

    Raises:
        DataError: they cannot be read.
    """
    name = data if isinstance(data, str) else data.path
    facts = facts_of(data)
    place = f"--data {shlex.quote(name)} --run {shlex.quote(_free_run(name))}"
    changes = _changes(data, labels)
    place += "".join(f" --set {shlex.quote(change)}" for change in changes)
    if name in BUILT_IN:
        why = "digits: the recipe that was made for these built-in scans, minutes on a CPU"
        return Advice(f"limner train digits {place}", [why], [], [])
    others = []
    if facts.num < FEW:
        others = [
            f"few: {facts.num:,} pictures get further from a model of anything alike:",
            f"  limner train --init MODEL {place}",
        ]
    picks = _picks(name, facts, changes) if here else []
    return Advice(f"limner train photos {place}", _reasons(facts, labels), picks, others)


def _picks(data: str, facts: Pictures, changes: list[str]) -> list[str]:
    """What `photos` picks here, how to change it, and how long it takes."""
    from limner.api.costs import cost_of
    from limner.api.fitting import machine_of

    machine = machine_of("auto")
    config, choices = presets.fit("photos", facts, machine, [*settings_of(data), *changes])
    kind, speed = speed_here()
    hours = cost_of(config).petaflops * 1e15 / speed / 3600
    words = f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} days"
    rows = [
        *choices,
        Choice("time here", f"about {words}", f"{config.kimg:g} kimg on a {kind}", "--kimg N"),
    ]
    return [f"  {line}" for line in lines_of(rows)]


def lines_of(choices: Sequence[Choice]) -> list[str]:
    """Choices as a table: what, its value and why, the option that changes it."""
    rows = [(c.what, f"{c.value}{f' ({c.why})' if c.why else ''}", c.change) for c in choices]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [
        f"  {what:<{widths[0]}}  {value:<{widths[1]}}  {to}".rstrip() for what, value, to in rows
    ]


def _reasons(facts: Pictures, labels: str) -> list[str]:
    side = f"all have {facts.side}" if facts.is_final else f"nine in ten have {facts.side} or more"
    lines = [
        "photos: it fits itself to the pictures and to the machine, and needs no others' weights",
        f"size: {side} pixels on the short side; it takes what they and the machine can bear",
    ]
    counts = [count for count in facts.class_counts if count]
    if labels == "none" or not counts:
        lines.append("labels: none, so it learns one set; a folder for each class gives it classes")
    elif has_classes(facts):
        lines.append(f"labels: {len(counts)} classes of {min(counts):,} pictures or more each")
    else:
        lines.append(
            f"labels: left out, the smallest of {len(counts)} classes has {min(counts):,}, and "
            f"{SMALL_CLASS} are needed; --set data.labels=classes takes them"
        )
    if facts.mirrors:
        lines.append("mirrored: half of the pictures; for text and digits --set data.flip=false")
    else:
        lines.append("mirrored: none, for digits have a left and a right")
    return lines


def _changes(data: str | Source, labels: str) -> list[str]:
    changes = [] if labels == "classes" else [f"data.labels={labels}"]
    if isinstance(data, Source):
        plain = {**encode(data), "path": ""}
        source = {"type": tag_of(type(data)), **plain}
        changes.append(f"data.source={json.dumps(source)}")
    return changes


def _free_run(data: str) -> str:
    """A run directory after the data's name that is not there yet."""
    stem = re.sub(r"\W+", "-", Path(data).expanduser().resolve().stem).strip("-") or "pictures"
    numbers = (f"runs/{stem}{f'-{number}' if number > 1 else ''}" for number in range(1, 10_000))
    return next(place for place in numbers if not Path(place).exists())


# --- two of them -------------------------------------------------------------


def compared(first: str, second: str) -> list[tuple[str, Any, Any]]:
    """(dotted key, value in the first, in the second) where two configs differ; of lists of parts
    place by place.

    Args:
        first, second: presets, CONFIG.json, FILE.py:FUNCTION or runs; None stands for no such part.

    Raises:
        ConfigError: there is no such thing.
    """
    return list(_differences(_config(first), _config(second), ""))


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(old, Config) and type(old) is type(new):
        names = [field.name for field in msgspec.structs.fields(old)]
        pairs = [(name, getattr(old, name), getattr(new, name)) for name in names]
    elif _is_parts(old) or _is_parts(new):
        first, second = (each if isinstance(each, tuple) else () for each in (old, new))
        both = itertools.zip_longest(first, second)
        pairs = [(str(place), *pair) for place, pair in enumerate(both)]
    if not pairs and old != new:
        yield path, old, new
    for name, one, other in pairs:
        yield from _differences(one, other, f"{path}.{name}" if path else name)


def _is_parts(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(each, Config) for each in value)


def value_text(value: Any) -> str:
    """A value of a config in few words: a part by its class and what is not its default."""
    if not isinstance(value, Config):
        return json.dumps(encode(value))
    fields = msgspec.structs.fields(value)
    told = [(f.name, getattr(value, f.name)) for f in fields if getattr(value, f.name) != f.default]
    return f"{type(value).__name__}({', '.join(f'{k}={_listed(v)}' for k, v in told)})"


def _listed(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(value_text, value))}]"
    return value_text(value)


def _config(name: str) -> Any:
    if not Path(name).is_dir() or name in presets.PRESETS:
        return load_config(name)
    from limner.checkpoints import RunDirectory
    from limner.engine import RunConfig

    run = RunDirectory(name)
    if not run.exists():
        raise ConfigError(f"{name}: no run here; give a run directory, a preset or a CONFIG.json")
    return run.config_as(RunConfig, import_modules=True)
