"""Names of MMGeneration's residual networks (SN-GAN, SA-GAN, BigGAN, BigGAN-deep) as limner's.

Its list of blocks counts attention as an entry of its own; limner gives it to the block before.
Spectral norm comes in two dialects, each layer in its own: torch's (`weight_orig`, `weight_u`,
`weight_v`) and BigGAN-PyTorch's (`weight`, `u0`, `sv0`).
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]
ATTENTION = {"theta": "query", "phi": "key", "g": "value", "o": "output", "gamma": "gamma"}
# Outside of the blocks: theirs -> limner's.
ENDS = {
    "noise2feat": "linear",
    "shared_embedding": "shared",
    "to_rgb.conv": "output",
    "to_rgb.bn": "output_norm",
    "output_layer.conv": "output",
    "output_layer.bn": "output_norm",
    "decision": "linear",
    "proj_y": "embed",
    "input_conv.conv": "first",
    "from_rgb": "first",
}
# In a block, one after the other.
LAYERS = [
    (r"^conv_?(\d)\.conv\.", r"conv\1."),
    (r"^shortcut\.conv\.", "shortcut."),
    (r"^norm_(\d)\.norm\.", r"norm\1."),
    (r"^norm_(\d)\.weight_embedding\.", r"norm\1.gain."),
    (r"^norm_(\d)\.bias_embedding\.", r"norm\1.bias."),
    (r"^bn(\d)\.bn\.", r"norm\1."),
    (r"^bn(\d)\.", r"norm\1."),
]
COUNTER = ".num_batches_tracked"  # of torch's batch norm, which no momentum but its own reads


def to_limner(state: Mapping[str, Tensor]) -> State:
    """A network's tensors under limner's names, in the form of limner's spectral norm, whose v0
    layers of torch's dialect have; see `stored_layers`. Names that are none stay as they are."""
    begins_first = not any(key.startswith(("from_rgb.", "input_conv.")) for key in state)
    is_generator = any(key.startswith("noise2feat.") for key in state)
    numbers = _numbers(state, has_first=not is_generator, begins_first=begins_first)
    found: State = {}
    for key, value in state.items():
        if key.endswith(COUNTER):
            continue
        for name, tensor in _vectors(_renamed(key, numbers), value):
            found[name] = tensor
    return found


def _numbers(state: Mapping[str, Tensor], has_first: bool, begins_first: bool) -> dict[int, str]:
    """Entry of the list of blocks -> limner's module."""
    found = re.compile(r"conv_blocks\.(\d{1,4})\.(.*)")
    matches = [match for match in map(found.match, state) if match]
    entries = {int(match[1]) for match in matches}
    attentive = {int(match[1]) for match in matches if match[2] == "gamma"}
    names, number, before = {}, 0, "first"
    for entry in sorted(entries):
        if entry in attentive:
            names[entry] = f"{before}.attention"
        elif has_first and begins_first and entry == 0:
            names[entry] = "first"
        else:
            names[entry] = before = f"blocks.{number}"
            number += 1
    return names


def _renamed(key: str, numbers: Mapping[int, str]) -> str:
    match = re.fullmatch(r"conv_blocks\.(\d{1,4})\.(.+)", key)
    if match is not None:
        module, rest = numbers[int(match[1])], match[2]
        if module.endswith(".attention"):
            head, _, tail = rest.partition(".")
            tail = tail.removeprefix("conv.")
            return ".".join(filter(None, (module, ATTENTION.get(head, head), tail)))
        return f"{module}.{_in_block(rest)}"
    for theirs, ours in ENDS.items():
        if key.startswith(f"{theirs}."):
            return f"{ours}.{_in_block(key.removeprefix(f'{theirs}.'))}"
    return key


def _in_block(name: str) -> str:
    for pattern, ours in LAYERS:
        name = re.sub(pattern, ours, name)
    return name


def _vectors(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """In BigGAN-PyTorch's form: rows of vectors, and the log, which only that dialect has."""
    layer, _, leaf = name.rpartition(".")
    if leaf == "weight_orig":
        return [(f"{layer}.weight", value)]
    if leaf == "weight_u":
        return [(f"{layer}.u0", value.reshape(1, -1)), (f"{layer}.sv0", torch.ones(1))]
    if leaf == "weight_v":
        return [(f"{layer}.v0", value.reshape(1, -1))]
    return [(name, value)]


def stored_layers(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The field `stored_vectors` of a network, in limner's names: the outermost modules all of
    whose layers with spectral norm are in torch's dialect."""
    normalized = sorted(key.removesuffix(".u0") for key in state if key.endswith(".u0"))
    stored = {layer for layer in normalized if f"{layer}.v0" in state}
    if stored and len(stored) == len(normalized):
        return ("*",)
    found: list[str] = []
    for layer in (each for each in normalized if each in stored):
        parts = layer.split(".")
        modules = [".".join(parts[:i]) for i in range(1, len(parts) + 1)]
        outer = next(m for m in modules if _all_within(m, normalized, stored))
        found += [] if outer in found else [outer]
    return tuple(found)


def _all_within(module: str, normalized: list[str], stored: set[str]) -> bool:
    return all(each in stored for each in normalized if f"{each}.".startswith(f"{module}."))


def num_entries(modules: str, state: Mapping[str, Tensor]) -> int:
    """How many entries of a list of modules, such as `blocks`, a state has."""
    found = (re.match(rf"{re.escape(modules)}\.(\d{{1,4}})\.", key) for key in state)
    return 1 + max((int(match[1]) for match in found if match), default=-1)
