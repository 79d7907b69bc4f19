"""A run directory that a run has begun in: whether it is the same run, or where it is moved."""

import datetime
import itertools

from limner.checkpoints import RunDirectory
from limner.core.config import differences, encode
from limner.core.errors import ConfigError
from limner.data import PreparedData
from limner.engine.config import CHANGEABLE, RunConfig


def check_same_run(run: RunDirectory, config: RunConfig, data: PreparedData) -> list[str]:
    """Lines about what could not be checked, as its file was missing.

    Raises:
        ConfigError: the run began with another config, or with other pictures.
    """
    lost: list[str] = []
    for file, check in (
        (run.config, lambda: _check_same_config(run, config)),
        (run.data, lambda: _check_same_data(run, data)),
    ):
        if file.exists():
            check()
        else:
            lost.append(
                f"{file}: missing, and written anew from this command; whether the run began "
                "like this could not be checked"
            )
    return lost


def _check_same_config(run: RunDirectory, config: RunConfig) -> None:
    saved = run.config_as(RunConfig, import_modules=True)
    changed = [
        key
        for key in differences(encode(saved), encode(config))
        if key not in CHANGEABLE and key.partition(".")[0] not in CHANGEABLE
    ]
    if changed:
        raise ConfigError(
            f"{run.path}: this run began with another config; it differs in "
            f"{', '.join(changed[:5])}{' ...' if len(changed) > 5 else ''}; give another "
            "--run, --from to branch off, or --fresh to start over"
        )


def _check_same_data(run: RunDirectory, data: PreparedData) -> None:
    known = run.read_data("sha256", "name", "num_images")
    if known["sha256"] != data.sha256:
        raise ConfigError(
            f"{run.path}: this run began with other pictures ({known['name']}, "
            f"{known['num_images']} images); give the same --data, another --run, or --fresh"
        )


def set_aside(run: RunDirectory) -> None:
    """--fresh: what was there moves to RUN.replaced-<time>; nothing saved is ever deleted."""
    kept = [p for p in run.path.iterdir() if p.name not in (".lock", "lock.json")]
    if not kept:
        return
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    aside = run.path.with_name(f"{run.path.name}.replaced-{stamp}")
    for number in itertools.count(2):
        if not aside.exists():
            break
        aside = run.path.with_name(f"{run.path.name}.replaced-{stamp}-{number}")
    aside.mkdir()
    for path in kept:
        path.rename(aside / path.name)
