"""The hold on a run directory before torch is imported, so that a second start fails at once."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from limner import presets
from limner.checkpoints.lock import RunLock, run_lock
from limner.checkpoints.run_directory import RunDirectory


@contextlib.contextmanager
def early_lock(
    run: Path | None, preset: str, assignments: Sequence[str] = ()
) -> Iterator[RunLock | None]:
    """Hold the run directory if its name is known by now; else None, and `train` locks it.

    Under torchrun process 0 holds it.

    Args:
        run: the directory; by default `default_run`.

    Raises:
        LimnerError: another process holds it.
    """
    run = run or default_run(preset, assignments)
    if run is None or int(os.environ.get("RANK", "0")):
        yield None
        return
    with run_lock(run) as lock:
        yield lock


def own_data(spec: str) -> str | None:
    """The pictures that a run ("RUN", "RUN@best-fid", "RUN:raw") learns from: as prepared, where
    that is still there, else as the user named them. None for what is no run."""
    path = spec if Path(spec).is_dir() else spec.removesuffix(":raw").partition("@")[0]
    run = RunDirectory(path)
    if not run.data.exists():
        return None
    known = run.read_data("path", "name")
    is_there = (Path(known["path"]) / "dataset.json").is_file()
    return known["path"] if is_there else known["name"]


def default_run(preset: str, assignments: Sequence[str] = ()) -> Path | None:
    """runs/NAME of a preset or a CONFIG.json, where neither code nor --set decides the name.

    A preset's config has the preset's name.
    """
    if any(item.partition("=")[0].strip() == "name" for item in assignments):
        return None
    if preset in presets.PRESETS:
        return Path("runs") / preset
    if preset.endswith(".json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            name = json.loads(Path(preset).read_bytes())["name"]
            return Path("runs") / name
    return None
