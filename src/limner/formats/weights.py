"""Tables of a network's weights in other programs' files, and putting them into a network."""

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file
from torch import Tensor, nn

from limner.core.errors import LimnerError
from limner.formats.torch_files import read_torch

WRAPPERS = ("state_dict", "model", "state_dict_ema")  # what training scripts save weights under
PREFIXES = ("module", "_orig_mod")  # what DataParallel and torch.compile put before each name


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
    tree = unwrapped(tree, path)
    tensors = tree if isinstance(tree, dict) else {}
    found = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not found:
        raise LimnerError(f"{path}: no table of weights (a state_dict) in it")
    return found


def unwrapped(tree: Any, path: Path, keep: Collection[str] | None = None) -> Any:
    """A table of weights without what training scripts put around it: {"state_dict": ...}, and the
    words that all names begin with, of which a warning tells.

    Args:
        keep: words that belong to the names, also where all begin with one; None takes only
            PREFIXES off.
    """
    for wrapper in WRAPPERS:
        if isinstance(tree, dict) and isinstance(tree.get(wrapper), dict):
            tree = tree[wrapper]
    taken = ""
    while isinstance(tree, dict):
        parts = [str(name).partition(".") for name in tree]
        words = {first for first, dot, rest in parts if dot and rest} or {""}
        if len(words) > 1 or not all(dot for _, dot, _ in parts) or words <= {"", *(keep or ())}:
            break
        (word,) = words
        if keep is None and word not in PREFIXES:
            break
        tree = {name.partition(".")[2]: value for name, value in tree.items()}
        taken += f"{word}."
    if taken:
        warnings.warn(f"{path}: '{taken}' is taken off all names of its weights", stacklevel=2)
    return tree


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
