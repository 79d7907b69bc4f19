"""From any data argument to prepared data: as it is, or prepared once into the cache."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from limner.core.counting import Progress
from limner.core.errors import DataError
from limner.core.files import cache_directory
from limner.data.config import SHARD_WINDOW, DataConfig
from limner.data.prepare import prepare
from limner.data.prepared import PreparedData, is_prepared
from limner.data.shards.data import ShardedData, is_sharded
from limner.data.shards.place import Place
from limner.data.sources import LabelsAsked, Source, find_source

# Raise it when the same source and settings give other pixels or another dataset.json than before.
PREPARATION_VERSION = 4


def open_data(
    data: str | os.PathLike[str] | Source | PreparedData,
    config: DataConfig,
    progress: Progress | None = None,
) -> PreparedData:
    """The prepared form of whatever the user named.

    A source that is not prepared is prepared once into `cache_directory()/data/<key>`, where the
    key is a sha256 over the source's identity (see `Source.identity`) and the settings; a second
    call finds it there and decodes nothing. A lock keeps two processes from preparing it twice.

    Args:
        data: built-in name, prepared directory, path of a source, or a Source.
        config: what the training needs; a prepared directory must have been made with it.

    Raises:
        DataError: the data cannot be read, or was prepared with other settings.
    """
    prepared = _opened(data, config, progress)
    return prepared.loaded() if config.in_memory else prepared


def _opened(
    data: str | os.PathLike[str] | Source | PreparedData,
    config: DataConfig,
    progress: Progress | None,
) -> PreparedData:
    found = standing(data, config.shard_window)
    if found is not None:
        _check_settings(found, config)
        return found
    assert not isinstance(data, PreparedData)
    source = find_source(data, config.source)
    return _from_cache(source, config, progress)


def standing(
    data: str | os.PathLike[str] | Source | PreparedData, window: int = SHARD_WINDOW
) -> PreparedData | None:
    """Data that are in the prepared form, a directory or shards, as they are; None of a source.

    Args:
        window: `DataConfig.shard_window`.

    Raises:
        DataError: they are damaged, or no shards are at a URL.
    """
    if isinstance(data, PreparedData):
        return data
    if isinstance(data, Source):
        return None
    place = Place(data)
    if is_sharded(place):
        return ShardedData(place, window)
    path = Path(place.text)
    return PreparedData(path) if is_prepared(path) else None


def open_alike(
    image_shape: tuple[int | None, int, int],
    labels: LabelsAsked,
    data: str | os.PathLike[str],
    recipe: DataConfig | None = None,
    progress: Progress | None = None,
) -> PreparedData:
    """Pictures to compare images of a shape (C, H, W) with: a prepared directory as it is, else the
    source prepared at that size and otherwise as the recipe says. C None takes the data's.

    Raises:
        DataError: the data cannot be read, or the pictures have another shape.
    """
    channels, height, width = image_shape
    prepared = standing(data)
    if prepared is None:
        size = (height, width)
        recipe = recipe or DataConfig(resolution=size)
        if labels == "classes" and recipe.labels == "used":
            labels = "used"
        changes = {"resolution": size, "channels": channels, "labels": labels}
        prepared = open_data(data, recipe.replace(**changes), progress)
    wanted = (channels or prepared.image_shape[0], height, width)
    if prepared.image_shape != wanted:
        theirs, ours = ("x".join(map(str, shape)) for shape in (prepared.image_shape, wanted))
        raise DataError(
            f"{data}: the pictures are {theirs}, the images {ours}; scores need one shape, and "
            "resizing would change them: prepare the pictures at that size"
        )
    return prepared


def cache_key(source: Source, settings: dict[str, Any]) -> str:
    """The name under which a source prepared with these settings lies in the cache."""
    content = {
        "version": PREPARATION_VERSION,
        "source": source.identity(),
        "settings": settings,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _from_cache(source: Source, config: DataConfig, progress: Progress | None) -> PreparedData:
    root = cache_directory() / "data"
    settings = config.settings()
    place = root / cache_key(source, settings)
    if place.is_dir():
        return _cached(place)
    # A run's saved config holds the number of channels that None came to: it is the same data.
    undecided = root / cache_key(source, {**settings, "channels": None})
    if undecided.is_dir():
        prepared = _cached(undecided)
        if prepared.image_shape[0] == config.channels:
            return prepared
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{place.name}.lock"):
        if place.is_dir():
            return _cached(place)
        for remains in root.glob(f".tmp-{place.name}-*"):  # of a process killed while preparing
            shutil.rmtree(remains, ignore_errors=True)
        return prepare(source, place, config, progress)


def _cached(place: Path) -> PreparedData:
    try:
        return PreparedData(place)
    except DataError as error:
        raise DataError(f"{error} (it lies in the cache: delete {place})") from None


def _check_settings(prepared: PreparedData, config: DataConfig) -> None:
    wanted: dict[str, Any] = {"max_label_size": None, "value_range": None, **config.settings()}
    made = prepared.info["settings"]
    if wanted["channels"] is None:
        wanted["channels"] = made.get("channels")
    if made.get("fit") == "keep" and config.fit == "crop":
        wanted["fit"] = "keep"  # squares are taken out of it while training, as crop says
    different = [name for name, value in wanted.items() if made.get(name) != value]
    if different:
        listed = ", ".join(
            f"{name} is {made.get(name)} but {wanted[name]} is asked" for name in different
        )
        changes = " ".join(
            f"--set {change}" for name in different for change in changes_to(name, made.get(name))
        )
        raise DataError(
            f"{prepared.place}: prepared with other settings: {listed}; "
            f"prepare the source again, or use it as it is with {changes}"
        )


def changes_to(name: str, made: Any) -> list[str]:
    """What brings a config to a setting that the pictures were made with, as `--set` takes it."""
    if name == "fit":
        return ["data.fit=crop"] if made == "keep" else [f"data.fit={made}", "data.crop=center"]
    return [f"data.{name}={'null' if made is None else str(made).replace(' ', '')}"]
