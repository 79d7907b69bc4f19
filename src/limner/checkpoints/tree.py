"""Trees of plain values and tensors as JSON plus named tensors, and back, exactly.

In JSON None, bool, int, float, str and list stand for themselves; an object has one key that says
what it is: {"dict": {...}}, {"items": [[key, value], ...]} for a dict with integer keys,
{"tuple": [...]}, {"tensor": name}.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from limner.core.errors import CheckpointError

Tree = Any  # nested dict, list, tuple of Tensor, None, bool, int, float, str


def encode_tree(value: Tree, where: str, tensors: dict[str, Tensor]) -> Any:
    """JSON for a tree; its tensors are added to `tensors`, on the CPU, each with its own memory.

    Args:
        value: the tree. Dict keys are str or int; subclasses of dict come back as dict, a
            Parameter as the Tensor that it holds.
        where: what messages call the place, for example "optimizer_g.state".
        tensors: gathers name -> contiguous tensor. Names are dotted paths below `where`.

    Raises:
        CheckpointError: names the place of a value that cannot be saved.
    """
    return _Encoder(where, tensors).encode(value, ())


class _Encoder:
    def __init__(self, where: str, tensors: dict[str, Tensor]):
        self.where, self.tensors = where, tensors
        self.storages: set[int] = set()

    def encode(self, value: Tree, path: tuple[str, ...]) -> Any:
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            if not math.isfinite(value):
                raise self._refused(path, f"the number {value}")
            return value
        if isinstance(value, Tensor):
            return {"tensor": self._add(value, path)}
        if kind is list:
            return [self.encode(item, (*path, str(i))) for i, item in enumerate(value)]
        if kind is tuple:
            return {"tuple": [self.encode(item, (*path, str(i))) for i, item in enumerate(value)]}
        if isinstance(value, dict):
            return self._encode_dict(value, path)
        raise self._refused(path, f"a {kind.__module__}.{kind.__qualname__}")

    def _encode_dict(self, value: Mapping, path: tuple[str, ...]) -> dict[str, Any]:
        for key in value:
            if type(key) not in (str, int):
                raise self._refused(path, f"the key {key!r}")
        items = [(key, self.encode(item, (*path, str(key)))) for key, item in value.items()]
        if all(type(key) is str for key in value):
            return {"dict": dict(items)}
        return {"items": [list(item) for item in items]}

    def _add(self, tensor: Tensor, path: tuple[str, ...]) -> str:
        if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
            raise self._refused(path, "a tensor without plain strided memory")
        if tensor.dtype == torch.complex128:
            raise self._refused(path, f"a tensor of {tensor.dtype}")
        plain = tensor.detach().to("cpu").resolve_conj().resolve_neg().contiguous()
        storage = plain.untyped_storage()
        if storage.nbytes() != plain.nbytes or storage.data_ptr() in self.storages:
            plain = plain.clone()  # safetensors refuses tensors that share memory
        self.storages.add(plain.untyped_storage().data_ptr())
        name = ".".join(path)
        if not name.isprintable() or name in self.tensors or name in ("", "__metadata__"):
            name = self._free_name()
        self.tensors[name] = plain
        return name

    def _free_name(self) -> str:
        number = len(self.tensors)
        while f"#{number}" in self.tensors:
            number += 1
        return f"#{number}"

    def _refused(self, path: tuple[str, ...], what: str) -> CheckpointError:
        place = ".".join((self.where, *path))
        return CheckpointError(
            f"{place}: {what} cannot be saved; a state holds dicts with str or int keys, lists, "
            "tuples, tensors, None, bool, int, finite float and str"
        )


def decode_tree(plain: Any, tensors: Mapping[str, Tensor], where: str) -> Tree:
    """The tree that `encode_tree` turned into `plain` and `tensors`; CheckpointError, which names
    the file (`where`), if the structure is none of ours."""
    if isinstance(plain, list):
        return [decode_tree(item, tensors, where) for item in plain]
    if not isinstance(plain, dict):
        return plain
    match plain:
        case {"tensor": str(name)} if name in tensors and len(plain) == 1:
            return tensors[name]
        case {"tuple": list(items)} if len(plain) == 1:
            return tuple(decode_tree(item, tensors, where) for item in items)
        case {"dict": dict(items)} if len(plain) == 1:
            return {key: decode_tree(item, tensors, where) for key, item in items.items()}
        case {"items": list(items)} if len(plain) == 1 and all(map(_is_pair, items)):
            return {key: decode_tree(item, tensors, where) for key, item in items}
    raise CheckpointError(f"{where}: a part of its structure is unknown or names no tensor")


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (int, str)


def num_bytes_of(tree: Tree) -> int:
    """Bytes of all tensors of a tree, and a rough share for everything else."""
    if isinstance(tree, Tensor):
        return tree.numel() * tree.element_size() + 200
    if isinstance(tree, dict):
        return sum(num_bytes_of(item) + 50 for item in tree.values())
    if isinstance(tree, (list, tuple)):
        return sum(num_bytes_of(item) for item in tree)
    return len(tree) * 6 if isinstance(tree, str) else 30
