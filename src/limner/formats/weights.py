"""Tables of a network's weights in other programs' files, and putting them into a network."""

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from limner.core.errors import LimnerError
from limner.formats.torch_files import read_torch

# What training scripts save weights under. A network's name counts where it is the only one.
WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema")
NETWORKS = (
    *("generator_ema", "generator", "discriminator", "netG", "netD"),
    *("G_ema", "G", "D", "g_ema", "g", "d"),
)
PREFIXES = ("module", "_orig_mod")  # what DataParallel and torch.compile put before each name
HALF = (torch.float16, torch.bfloat16)


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
    """A table of weights without what training scripts put around it, {"state_dict": ...}, and as
    `plain` makes it. Tables of networks that `keep` names become one, their names in front.

    Args:
        keep: as `plain`'s.
    """
    tree = unnested(tree, keep or ())
    if not isinstance(tree, dict):
        return tree
    inside = [name for name in keep or () if _holds_table(tree, name)]
    flat = {f"{name}.{key}": value for name in inside for key, value in tree[name].items()}
    tree = {key: value for key, value in tree.items() if key not in inside} | flat
    return plain(tree, path, keep)


def unnested(tree: Any, keep: Collection[str] = ()) -> Any:
    """What lies inside WRAPPERS, or inside one of NETWORKS alone that `keep` does not name."""
    held = [name for name in (*WRAPPERS, *NETWORKS) if _holds_table(tree, name)]
    if not held or held[0] in keep or (held[0] in NETWORKS and len(held) > 1):
        return tree
    return unnested(tree[held[0]], keep)


def _holds_table(tree: Any, name: str) -> bool:
    return isinstance(tree, dict) and isinstance(tree.get(name), dict)


def plain(
    table: Mapping[str, Any], where: str | Path, keep: Collection[str] | None = None
) -> dict[str, Any]:
    """Tensors or arrays by name without words that all names begin with, of which a warning tells,
    and those of half precision, whose numbers are the same, in single.

    Args:
        keep: words that belong to the names, also where all begin with one; None takes only
            PREFIXES off.
    """
    taken = len(common_words(table, where, keep))
    return {str(name)[taken:]: single(value) for name, value in table.items()}


def common_words(
    names: Collection[Any], where: str | Path, keep: Collection[str] | None = None
) -> str:
    """What `plain` takes off, its dots included."""
    taken = ""
    while names:
        parts = [str(name)[len(taken) :].partition(".") for name in names]
        words = {first for first, dot, rest in parts if dot and rest} or {""}
        if len(words) > 1 or not all(dot for _, dot, _ in parts) or words <= {"", *(keep or ())}:
            break
        (word,) = words
        if keep is None and word not in PREFIXES:
            break
        taken += f"{word}."
    if taken:
        warnings.warn(f"{where}: '{taken}' is taken off all names of its weights", stacklevel=2)
    return taken


def single(value: Any) -> Any:
    """Tensors and arrays of half precision in single; anything else as it is."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in HALF else value
    if isinstance(value, np.ndarray) and value.dtype == np.float16:
        return value.astype(np.float32)
    return value


def equal_but_for_precision(value: Tensor, expected: Tensor, tolerance: float = 0.0) -> bool:
    """Whether a tensor is the expected one, or that as half precision has it."""
    if value.shape != expected.shape:
        return False
    forms = [expected, *(expected.to(dtype).float() for dtype in HALF)]
    return any(torch.allclose(value, form, rtol=0.0, atol=tolerance) for form in forms)


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
