"""Models and runs by their names, as the studio offers them: found without torch, loaded when they
are asked for."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from limner.checkpoints.model_place import ModelPlace, model_place
from limner.checkpoints.run_directory import RunDirectory
from limner.core.errors import CheckpointError, LimnerError, nearest
from limner.core.understood import check_there

if TYPE_CHECKING:
    from limner.api import Model
    from limner.data import PreparedData

MOST_LOADED = 2


class Shelf:
    """What users named: models, runs, and folders of them, which are looked at again and again.

    Args:
        specs: each a model, see `load`, or a folder whose folders are runs or models.
        data: real pictures to compare with, any source of `limner train`; None takes each run's.

    Raises:
        CheckpointError: one of them is neither; DataError: no such source.
    """

    def __init__(self, specs: Sequence[str], device: str = "auto", data: str | Path | None = None):
        self._specs, self._device, self._data = tuple(specs), device, data
        self._loaded: dict[str, tuple[object, Model]] = {}
        self._lock = threading.Lock()
        for spec in self._specs:
            if not _places(spec) and not _runs(spec):
                model_place(spec)  # says what is wrong
        if data is not None:
            check_there(str(data))

    def _found(self) -> dict[str, ModelPlace]:
        return {name: place for spec in self._specs for name, place in _places(spec).items()}

    def models(self) -> list[str]:
        """Names of all models, those of the runs among them, in the order given."""
        return list(self._found())

    def runs(self) -> dict[str, RunDirectory]:
        """The runs by name, those that changed last first; also those without a checkpoint yet."""
        named = {str(run.path): run for spec in self._specs for run in _runs(spec)}
        return dict(sorted(named.items(), key=lambda item: -_changed(item[1])))

    def pictures(self, name: str) -> "PreparedData":
        """Real pictures of a model's shape: of the data given, else of its run.

        Raises:
            LimnerError: neither is there; what `pictures_for` raises.
        """
        from limner.api.exploring import data_of_run
        from limner.api.scoring import pictures_for, recipe_of

        if self._data is not None:
            shape = self.model(name).image_shape
            return pictures_for(shape, "none", self._data, recipe_of(name))
        run = self._found()[name].run
        if run is None:
            raise LimnerError(
                "a model folder does not say where its training pictures lie; start the studio "
                "with --data DIR, or with its run"
            )
        return data_of_run(run)

    def model(self, name: str | None) -> "Model":
        """The model of a name, loaded; a run's anew when it has a newer checkpoint.

        Raises:
            LimnerError: no such name; what `load` raises.
        """
        from limner.api import load

        found = self._found()
        if name is None or name not in found:
            raise LimnerError(f"no model '{name}' here{nearest(str(name), found)}")
        state = _state(found[name])
        with self._lock:
            kept = self._loaded.pop(name, None)
            if kept is None or kept[0] != state:
                kept = (state, load(name, self._device))
            self._loaded[name] = kept
            while len(self._loaded) > MOST_LOADED:
                del self._loaded[next(iter(self._loaded))]
        return kept[1]


def _places(spec: str) -> dict[str, ModelPlace]:
    """What one name leads to: itself, or what lies in the folder."""
    try:
        return {spec: model_place(spec)}
    except CheckpointError:
        if not Path(spec).is_dir():
            return {}
    found = {}
    for path in sorted(Path(spec).iterdir()):
        try:
            found[str(path)] = model_place(path)
        except CheckpointError:
            continue
    return found


def _runs(spec: str) -> list[RunDirectory]:
    """The run that one name is or is of, or those in the folder."""
    places = [place.run for place in _places(spec).values() if place.run is not None]
    if not Path(spec).is_dir():
        return places
    folders = [Path(spec), *sorted(path for path in Path(spec).iterdir() if path.is_dir())]
    begun = [run for run in map(RunDirectory, folders) if run.exists() and run.checkpoints.is_dir()]
    known = {run.path for run in places}
    return [*places, *(run for run in begun if run.path not in known)]


def _state(place: ModelPlace) -> object:
    """Another one when the model is to be loaded anew."""
    watched = place.path if place.run is None else place.run.checkpoints
    return watched.stat().st_mtime_ns


def _changed(run: RunDirectory) -> float:
    log = run.log if run.log.exists() else run.config
    return log.stat().st_mtime
