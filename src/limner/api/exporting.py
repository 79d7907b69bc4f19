"""Models and runs in other programs' files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.api.importing import format_named
from limner.checkpoints.exporters import EXPORTERS
from limner.checkpoints.foreign import Exporter, Training

if TYPE_CHECKING:
    from limner.checkpoints import ModelRecord
    from limner.core.protocols import NetworkConfig

__all__ = ["EXPORTERS", "export"]


def export(
    model: str | Path, name: str, out: str | Path, settings: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write a model or run in another program's files, and name them.

    Args:
        model: a run ("RUN", "RUN@step-400") or a model folder.
        name: of the format: one of `EXPORTERS`, or the "module:Class" of one outside of it.
        out: the folder to write; files of the same names in it are replaced.
        settings: options of the format.

    Raises:
        LimnerError: there is no such format, or the model does not go into it.

    Examples:
        >>> old = "weights/EXPERIMENT"
        >>> record = limner.import_model("biggan-pytorch", old, "models/old", {"suffix": "best0"})
        >>> files = limner.export("models/old", "biggan-pytorch", "weights/back")
        >>> "G.pth" in [file.name for file in files]
        True
    """
    from limner.checkpoints import find_model

    exporter = format_named(Exporter, EXPORTERS, name)[1].of(settings or {})
    record = find_model(model)
    return exporter.write(record, Path(out), _training_of(str(model), record))


def _training_of(spec: str, record: "ModelRecord") -> Training | None:
    """A run's training; nothing for a model folder or weights alone."""
    from limner.checkpoints import RunDirectory, load_state
    from limner.core.config import encode
    from limner.engine import RunConfig

    if record.config.origin.get("kind") != "run" or spec.endswith(":raw"):
        return None
    path, _, selector = (spec, "", "") if Path(spec).is_dir() else spec.partition("@")
    directory = RunDirectory(path)
    if not directory.exists():
        return None
    config = directory.config_as(RunConfig)
    saved = load_state(directory.select(selector), keys=("optimizer_g", "optimizer_d", "progress"))
    run, moments = encode(config), {}
    for player, network in (("g", config.generator), ("d", config.discriminator)):
        optimizer = saved[f"optimizer_{player}"]
        names = _parameter_names(network, record)
        moments[player] = {names[number]: state for number, state in optimizer["state"].items()}
        run["optim"][player]["lr"] = optimizer["param_groups"][0]["lr"]  # as it stands by now
    return Training(run=run, step=int(saved["progress"]["step"]), moments=moments)


def _parameter_names(network: "NetworkConfig", record: "ModelRecord") -> list[str]:
    from limner.core.protocols import without_frozen
    from limner.core.undrawn import without_memory

    with without_memory():
        module = network.build(record.config.image_shape, record.config.num_classes)
    return list(without_frozen(module, module.named_parameters()))
