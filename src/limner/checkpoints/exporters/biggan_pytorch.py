"""BigGAN-PyTorch's weight folders: {G,G_ema,D}.pth, and of a run its optimizers and state_dict.pth.

That program reads with torch.load, so its files are pickles. They hold tensors, dicts, lists, text
and numbers only, so that torch.load(weights_only=True) reads them all. The older format is written,
which every release of torch reads.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limner.checkpoints.exporters.biggan_configs import (
    check_flags,
    dataset_of,
    flags_of_configs,
    plain,
)
from limner.checkpoints.foreign import Exporter, Training
from limner.checkpoints.importers.biggan_flags import DEFAULTS, flags_of_run
from limner.checkpoints.importers.biggan_names import Role, to_reference
from limner.checkpoints.importers.biggan_pytorch import COUNTERS, ROLES, parameter_names
from limner.checkpoints.model_folder import ModelRecord
from limner.core.config import Config
from limner.core.errors import DiskError
from limner.core.files import whole_file

State = dict[str, Tensor]


class BigGanPytorch(Config, Exporter, frozen=True):
    """The folder weights/EXPERIMENT of a network of the BigGAN family."""

    def write(self, record: ModelRecord, folder: Path, training: Training | None) -> list[Path]:
        """See `Exporter.write`; without a training no optimizers are written, and the flags are
        those of the training that the model was imported from, if it was."""
        all_flags = {
            **DEFAULTS,
            "dataset": dataset_of(record.config),
            **saved_flags(record),
            **(flags_of_run(training.run) if training else {}),
            **flags_of_configs(record.config),
        }
        check_flags(record.config, all_flags)
        raw = record.generator_raw or record.generator
        states = {"G": _renamed("generator", record, raw)}
        if record.generator_raw is not None:
            states["G_ema"] = _renamed("generator", record, record.generator)
            all_flags |= {"ema": True, "use_ema": True}
        if record.discriminator is not None:
            states["D"] = _renamed("discriminator", record, record.discriminator)
        contents: dict[str, Any] = dict(states)
        if training is not None:
            for role, name in ROLES.items():
                contents[f"{name}_optim"] = _adam(role, record, training, name.lower())
        contents["state_dict"] = _counters(record, training) | {"config": all_flags}
        return _written(folder, contents)


def saved_flags(record: ModelRecord) -> dict[str, Any]:
    """The flags of a model that was imported from that program."""
    held = record.config.statistics.get("biggan_pytorch")
    flags = held.get("flags") if isinstance(held, dict) else None
    return {key: flags[key] for key in DEFAULTS if key in flags} if isinstance(flags, dict) else {}


def _renamed(role: Role, record: ModelRecord, state: State) -> State:
    renamed = to_reference(role, plain(role, record.config), state)
    return {key: _own(value) for key, value in renamed.items()}


def _own(value: Tensor) -> Tensor:
    """With memory of its own, for torch.save writes the whole of what a tensor is a part of."""
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _adam(role: Role, record: ModelRecord, training: Training, player: str) -> dict[str, Any]:
    """Adam's state with the parameters in that program's order."""
    network = plain(role, record.config)
    moments = to_reference(role, network, training.moments[player])
    names = parameter_names(role, network, record.config)
    state = {
        number: {key: _own(value) for key, value in moments[name].items()}
        for number, name in enumerate(names)
        if name in moments
    }
    adam = training.run["optim"][player]
    settings = {
        "lr": float(adam["lr"]),
        "betas": tuple(adam["betas"]),
        "eps": float(adam["eps"]),
        "weight_decay": 0,
        "amsgrad": False,
    }
    return {"state": state, "param_groups": [{**settings, "params": list(range(len(names)))}]}


def _counters(record: ModelRecord, training: Training | None) -> dict[str, Any]:
    """What that program calls its state; scores that nobody measured are its own first values."""
    held = record.config.statistics.get("biggan_pytorch")
    held = held if isinstance(held, dict) else {}
    itr = held.get("itr", 0) if training is None else training.step
    kept = {name: held.get(name, 0) for name in COUNTERS}
    return {**kept, "itr": int(itr), "best_IS": 0, "best_FID": 999999}


def _written(folder: Path, contents: Mapping[str, Any]) -> list[Path]:
    """Each file whole or not there."""
    paths = []
    try:
        for name, content in contents.items():
            path = folder / f"{name}.pth"
            with whole_file(path) as temporary, open(temporary, "wb") as file:
                torch.save(content, file, _use_new_zipfile_serialization=False)
            paths.append(path)
    except OSError as error:
        raise DiskError(f"{error.filename}: {error.strerror}") from None
    return paths
