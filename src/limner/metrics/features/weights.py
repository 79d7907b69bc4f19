"""Files of weights that others published: where they lie.

Nothing is downloaded: a file that is missing is named in one line, with its address and place.
"""

import os
from pathlib import Path
from typing import NamedTuple

import torch

from limner.core.errors import LimnerError
from limner.core.files import cache_directory


class Published(NamedTuple):
    """A file of weights with its address.

    `digits` are the first of its sha256, which the publisher put into its name; files under
    `aliases` have the same bytes. `variable` is the environment variable that may name it. `others`
    are places of one program's own, under whatever names.
    """

    name: str
    url: str
    digits: str
    aliases: tuple[str, ...] = ()
    variable: str | None = None
    others: tuple[Path, ...] = ()

    def places(self) -> list[Path]:
        """Where it may lie: limner's cache, then that of torch.hub, which other programs fill."""
        folders = [cache_directory() / "weights", Path(torch.hub.get_dir()) / "checkpoints"]
        named = [folder / name for folder in folders for name in (self.name, *self.aliases)]
        return [*named, *self.others]

    def find(self) -> Path | None:
        """The file, if it is here; the environment's goes before the others, and must exist.

        Raises:
            LimnerError: the environment variable names no file.
        """
        given = os.environ.get(self.variable) if self.variable else None
        if given:
            path = Path(given).expanduser()
            if not path.is_file():
                raise LimnerError(f"{self.variable}={given}: there is no such file")
            return path
        return next((path for path in self.places() if path.is_file()), None)

    def need(self, features: str) -> Path:
        """The file.

        Raises:
            LimnerError: it is nowhere; says which to get and where to put it.
        """
        path = self.find()
        if path is None:
            named = f", or name it in {self.variable}" if self.variable else ""
            raise LimnerError(
                f"features '{features}' need the file {self.name}: get it from {self.url} and "
                f"put it under this name into {self.places()[0].parent}{named}, "
                "or give --features FILE"
            )
        return path
