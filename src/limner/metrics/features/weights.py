"""Files of weights that others published: where they lie, and reading them as data.

Nothing is downloaded: a file that is missing is named in one line, with its address and place.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from limner.core.errors import LimnerError
from limner.core.files import cache_directory
from limner.formats.torch_files import read_torch

WRAPPERS = ("state_dict", "model", "state_dict_ema")  # what training scripts save weights under


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


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of torch.save, by name; read without running anything.

    Raises:
        CheckpointError, RefusedFile: see `read_torch`.
        LimnerError: it holds no table of tensors.
    """
    tree: Any
    if path.suffix == ".safetensors":
        try:
            tree = load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise LimnerError(f"{path}: not readable as safetensors ({error})") from None
    else:
        tree = read_torch(path)
    for wrapper in WRAPPERS:
        if isinstance(tree, dict) and isinstance(tree.get(wrapper), dict):
            tree = tree[wrapper]
    tensors = tree if isinstance(tree, dict) else {}
    found = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not found:
        raise LimnerError(f"{path}: no table of weights (a state_dict) in it")
    return found


def load_weights(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put all weights into a network, which may still be on the device "meta".

    Raises:
        LimnerError: a name is missing or too many, or a shape differs; names the first.
    """
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in tensors]
    foreign = [name for name in tensors if name not in wanted]
    if missing or foreign:
        first = f"'{missing[0]}' is missing" if missing else f"'{foreign[0]}' is unknown"
        raise LimnerError(f"{path}: not the weights of this network: {first}")
    for name, value in tensors.items():
        if value.shape != wanted[name].shape:
            raise LimnerError(
                f"{path}: '{name}' has the shape {tuple(value.shape)}; "
                f"the network needs {tuple(wanted[name].shape)}"
            )
    # float16 files hold the same numbers; the network computes in float32
    kept = {name: value.to(wanted[name].dtype) for name, value in tensors.items()}
    network.load_state_dict(kept, assign=True)
