"""RUN/: where everything of a training run lies, which checkpoints stay, and how one is named."""

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from limner.checkpoints.lock import RunLock, run_lock
from limner.checkpoints.logs import append_line, read_lines, truncate_lines
from limner.checkpoints.manifest import (
    MANIFEST_NAME,
    list_states,
    newest_verified,
    verify_state,
)
from limner.checkpoints.protocol import TEMPORARY, protocol_point, remove_leftovers, remove_tree
from limner.checkpoints.scored import Scored, is_scores, ranked
from limner.core.config import ConfigType, decode, nearest
from limner.core.errors import CheckpointError, ConfigError, DiskError
from limner.core.files import (
    make_directory,
    read_json,
    sync_directory,
    sync_file,
    write_atomically,
    write_problem,
)

if TYPE_CHECKING:
    from limner.data import PreparedData

LOG_NAMES = ("log", "spectra", "scores", "events")

_Positive = Annotated[int, msgspec.Meta(ge=1, le=2**62)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
# What readers that build no RunConfig of it ask of config.json, and what data.json holds.
CONFIG_KINDS: dict[str, Any] = {
    "name": str,
    "generator": dict[str, Any],
    "discriminator": dict[str, Any] | None,
    "data": dict[str, Any],
    "batch_size": _Positive,
    "steps": int | None,
    "kimg": float | None,
    "num_classes": int | None,
    "seed": int,
    "standing_passes": _Count,
}
DATA_KINDS: dict[str, Any] = {
    "path": str,
    "name": str,
    "sha256": str,
    "num_images": _Positive,
    "num_classes": _Count,
    "class_names": list[str],
    "image_shape": tuple[_Positive, _Positive, _Positive],
}

REMEDY = (
    "restore it from a copy, or remove it and start the run's own command again, which writes it "
    "anew"
)


class RunDirectory:
    """A run directory. Making the object touches no file; `create` makes the directories."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.data = self.path / "data.json"
        self.log = self.path / "log.jsonl"
        self.spectra = self.path / "spectra.jsonl"
        self.scores = self.path / "scores.jsonl"
        self.events = self.path / "events.jsonl"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.report = self.path / "report.html"
        self.tensorboard = self.path / "tensorboard"
        self._verified: set[tuple[int, int]] = set()
        self._scored = Scored(self.scores)

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.config.is_file()

    def create(self) -> None:
        """Make the directories that are missing."""
        for directory in (self.samples, self.checkpoints):
            make_directory(directory)

    def lock(self) -> contextlib.AbstractContextManager[RunLock]:
        """Hold the run against other processes; see `run_lock`."""
        return run_lock(self.path)

    def remove_leftovers(self) -> list[str]:
        """Clean up after a killed process; call it with the lock held. Returns the names."""
        places = (self.path, self.checkpoints, self.samples)
        return [name for place in places for name in remove_leftovers(place)]

    def read_config(self, *needs: str) -> dict[str, Any]:
        """config.json as plain values. Raises CheckpointError where it is missing or damaged, or
        lacks one of the keys `needs`."""
        return read_json(self.config, CONFIG_KINDS, needs, REMEDY)

    def config_as(self, cls: type[ConfigType], import_modules: bool = False) -> ConfigType:
        """config.json as a RunConfig, which this room does not know. Raises what `read_config` and
        `core.config.decode` do, with the file's name."""
        plain = self.read_config()
        try:
            return decode(cls, plain, import_modules)
        except ConfigError as error:
            raise ConfigError(f"{self.config}: {error}") from None

    def read_data(self, *needs: str) -> dict[str, Any]:
        """What `write_data` wrote; errors as `read_config`'s."""
        return read_json(self.data, DATA_KINDS, needs, REMEDY)

    def write_data(self, data: "PreparedData", name: str) -> None:
        """Write data.json: which pictures the run learns from, and the name that the user gave
        them."""
        facts = {
            "path": data.place,
            "name": name,
            "sha256": data.sha256,
            "num_images": len(data),
            "num_classes": data.num_classes,
            "class_names": list(data.class_names),
            "image_shape": list(data.image_shape),
        }
        write_atomically(self.data, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")

    # --- logs ---------------------------------------------------------------

    def append(self, name: str, record: Mapping[str, Any]) -> None:
        """Add a record to one of LOG_NAMES; see `append_line`. One process calls it."""
        append_line(self._log_path(name), record)

    def read_log(self, name: str) -> list[dict[str, Any]]:
        """The records of one of LOG_NAMES, without a torn last line."""
        return read_lines(self._log_path(name), _IS_RECORD[name])

    def truncate_logs(self, step: int) -> None:
        """On resume: drop what the logs say beyond the resumed step, and what a kill or a loss of
        power left of lines that were not flushed."""
        for name in LOG_NAMES:
            truncate_lines(self._log_path(name), step, strict=name != "events")

    def sync_logs(self) -> None:
        """Flush the logs to the disk; before a save, so that they are never behind a checkpoint."""
        for name in LOG_NAMES:
            if self._log_path(name).exists():
                sync_file(self._log_path(name))

    def _log_path(self, name: str) -> Path:
        assert name in LOG_NAMES, name
        return self.path / f"{name}.jsonl"

    # --- which checkpoints stay -----------------------------------------------

    def figures(self) -> dict[str, dict[int, float]]:
        """Every finite figure in scores.jsonl: name ("fd-classifier") -> step -> value."""
        return self._scored.now().figures

    def families(self) -> dict[str, str]:
        """Name of every figure in scores.jsonl -> the metric that was asked for ("fid")."""
        return self._scored.now().families

    def is_scored(self, step: int) -> bool:
        """Whether scores.jsonl has a line of that step."""
        return step in self._scored.now().steps

    def best_steps(self, name: str, count: int = 1) -> list[int]:
        """The best of the existing checkpoints by a figure, best first; of equals the newer."""
        existing = [step for step, _ in list_states(self.checkpoints)]
        return ranked(self._scored.now(), name, existing)[:count]

    def prune(
        self, keep_newest: int = 2, keep_best: int = 1, milestone_every: int | None = None
    ) -> list[int]:
        """Remove checkpoints, except the newest `keep_newest` that verify (and damaged ones newer
        than those), the best `keep_best` of each figure in scores.jsonl, and the milestones, whose
        step is a multiple of `milestone_every`; returns the removed steps, oldest first. One
        process calls it.

        Raises:
            DiskError: one could not be removed; those that are kept are untouched.
        """
        states = list_states(self.checkpoints)
        kept: set[int] = set()
        num_whole = 0
        for step, path in reversed(states):
            if num_whole >= max(1, keep_newest):
                break
            num_whole += self._is_whole(step, path)
            kept.add(step)
        scored, existing = self._scored.now(), [step for step, _ in states]
        for name in scored.figures:
            kept.update(ranked(scored, name, existing)[:keep_best])
        if milestone_every:
            kept.update(step for step, _ in states if step % milestone_every == 0)
        removed = []
        for step, path in states:
            if step not in kept:
                self._remove(path)
                removed.append(step)
        return removed

    def _is_whole(self, step: int, path: Path) -> bool:
        """`verify_state`, remembered for a checkpoint that has not been written again since."""
        try:
            mark = (step, (path / MANIFEST_NAME).stat().st_mtime_ns)
            if mark not in self._verified:
                verify_state(path)
                self._verified.add(mark)
        except (CheckpointError, OSError):
            return False
        return True

    def _remove(self, path: Path) -> None:
        """Remove a checkpoint: once its name is gone it is no candidate, however far we get."""
        doomed = path.with_name(f"{TEMPORARY}removed-{path.name}")
        try:
            remove_tree(doomed)
            os.replace(path, doomed)
            protocol_point(f"took the name of {path.name}")
            sync_directory(path.parent)
            remove_tree(doomed)
            protocol_point(f"removed {path.name}")
        except OSError as error:
            problem = write_problem(error, path, 0)
            raise DiskError(f"{problem}; {path.name} could not be removed") from None

    # --- selectors --------------------------------------------------------------

    def select(self, selector: str, warn: Callable[[str], None] | None = None) -> Path:
        """The verified checkpoint that a selector names.

        Args:
            selector: "" (the newest that is whole), "step-20000", or "best-METRIC", where
                METRIC is a figure's full name or a metric that has one figure.
            warn: is given a line where newer ones are damaged (default: a Python warning).

        Raises:
            CheckpointError: there is none such; lists what exists.
        """
        path = self.named(selector)
        if path is None:
            path = newest_verified(self.checkpoints, warn or _warn)
            assert path is not None
            return path
        verify_state(path)
        return path

    def named(self, selector: str) -> Path | None:
        """The checkpoint that a selector names, not verified; None for "", the newest that is
        whole. Errors as `select`."""
        states = dict(list_states(self.checkpoints))
        if not states:
            raise CheckpointError(
                f"{self.path}: no checkpoints here; train first, or check the path"
            )
        if selector == "":
            return None
        kind, _, name = selector.partition("-")
        if kind == "step" and name.isdecimal():
            if int(name) not in states:
                raise CheckpointError(
                    f"{self.path}: no checkpoint of step {int(name)}; there are {_listed(states)}"
                )
            return states[int(name)]
        if kind == "best" and name:
            return states[self._best_step(name, states)]
        raise CheckpointError(
            f"{self.path}: '{selector}' selects nothing; write step-N or best-METRIC"
        )

    def _best_step(self, metric: str, states: dict[int, Path]) -> int:
        families = self.families()
        names = [name for name in families if metric in (name, families[name])]
        if metric in names:
            names = [metric]
        if not names:
            known = {*families, *families.values()}
            hint = nearest(metric, known) if known else "; it holds no results yet"
            raise CheckpointError(f"{self.scores}: no result of the metric '{metric}'{hint}")
        if len(names) > 1:
            raise CheckpointError(
                f"{self.scores}: '{metric}' has several figures: {', '.join(sorted(names))}; "
                f"write best-{min(names)} or another of them"
            )
        best = self.best_steps(names[0])
        if not best:
            steps = sorted(self.figures().get(names[0], {}))
            measured = f"steps {', '.join(map(str, steps))}" if steps else "no step"
            raise CheckpointError(
                f"{self.path}: '{metric}' was measured at {measured}, of which no checkpoint is "
                f"left; there are {_listed(states)}"
            )
        return best[0]


_IS_RECORD: dict[str, Callable[[dict[str, Any]], bool]] = {
    "log": lambda record: "step" in record,
    "spectra": lambda record: "step" in record,
    "scores": is_scores,
    "events": lambda record: True,
}


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)


def _listed(states: dict[int, Path]) -> str:
    return ", ".join(f"step-{step}" for step in states)
