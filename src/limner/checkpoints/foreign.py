"""What an importer, an exporter and another program's training are."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limner.core.config import decode
from limner.core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

    from limner.checkpoints.model_folder import ModelRecord


@dataclasses.dataclass(frozen=True)
class Training:
    """What a training needs to go on beside its networks, in limner's words.

    Attributes:
        run: the run's config as config.json holds it; of a foreign training without its length.
        recipe: limner's preset that goes on where the files hold none; `run` then has the networks
            alone, and what must differ.
        step: steps done.
        nimg: real images shown; 0 where the steps tell.
        epochs: the length wanted, in passes over the data; 0 where it is not known.
        moments: player "g" or "d" -> parameter by its name in the network -> Adam's step, exp_avg
            and exp_avg_sq.
    """

    run: Mapping[str, Any]
    step: int
    moments: Mapping[str, Mapping[str, Mapping[str, "Tensor"]]]
    epochs: float = 0
    recipe: str = ""
    nimg: int = 0


class Importer:
    """Marker of the readers of other programs' checkpoints, frozen configs whose fields are the
    options of that format; `limner import FORMAT` shows them with their docstrings.

    Whoever calls it adds the importer's name to the origin of the record.
    """

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Importer":
        """One with the given options; ConfigError names one that there is not, or whose value
        cannot be."""
        config: Any = cls
        return decode(config, dict(settings))

    def read(self, source: Path) -> "ModelRecord":
        """The networks.

        Raises:
            CheckpointError: names the file, and what is missing, left over or does not fit.
            RefusedFile: a file holds what weights do not need; nothing in it was run.
        """
        raise NotImplementedError

    def read_training(self, source: Path) -> tuple["ModelRecord", Training]:
        """Everything that training needs to go on; errors as `read`'s, and of a format whose files
        hold none."""
        raise CheckpointError(f"{source}: such files hold no training; give --out instead")


class Exporter:
    """Marker of the writers of other programs' files, frozen configs whose fields are options."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Exporter":
        """One with the given options; errors as those of `Importer.of`."""
        config: Any = cls
        return decode(config, dict(settings))

    def write(self, record: "ModelRecord", folder: Path, training: Training | None) -> list[Path]:
        """Write a model, and of a run its training, as that program would have; returns the files.
        Raises CheckpointError where the networks do not go into them, DiskError where the disk
        refused a write."""
        raise NotImplementedError
