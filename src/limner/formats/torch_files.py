"""Reads files of torch.save, new (zip) and old, without torch.load: tensors, else inert records.

`torch.load(weights_only=True)` reads plain tensors of both formats and refuses the rest: a saved
config too. And a hostile file can hold it up, or make it fill the memory. See pickles.py.
"""

import io
import math
import mmap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import RefusedFile
from limner.formats.file_kinds import CUT_ZIP, OLD_TORCH, TORCH
from limner.formats.pickles import BUILDERS as PLAIN
from limner.formats.pickles import (
    Machine,
    Name,
    Record,
    mapped,
    read_pickle,
    reading,
    shown,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_PROGRAM_BYTES = 2**28  # of the pickle in a zip file
MAX_DIMS = 16
OWN_KINDS = (TORCH, OLD_TORCH, CUT_ZIP)
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


def read_torch(path: str | Path, wanted: str = "a .pth that torch.save wrote") -> Any:
    """The tree that torch.save wrote; its tensors lie on the CPU, whatever device they came from.
    `wanted` is what to give instead of a file that is plainly none of torch.save.

    Returns:
        as `read_pickle`, and tensors. A Parameter comes back as a tensor, an OrderedDict as a dict;
        two tensors that shared memory still do.

    Raises:
        RefusedFile: it holds something that weights do not need, or of a kind that is not read.
        CheckpointError: there is no such file, or it is damaged or not of torch.save.
    """
    with reading(path, "file of torch.save", wanted, OWN_KINDS):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_zip(archive, Path(path).stat().st_size)
        with mapped(path) as content:
            if content[:2] == b"PK":
                raise ValueError("a zip file without its end")
            return _read_legacy(content)


class _Storages:
    """The memory that tensors of one file lie in: key -> bytes, each filled by `fill`."""

    def __init__(self, num_bytes: int, fill: Callable[[str, np.ndarray], None]):
        self.free, self.tensor_bytes = num_bytes, 4 * num_bytes + 2**20
        self.fill = fill
        self.held: dict[str, Tensor] = {}
        self.dtypes: dict[str, torch.dtype] = {}

    def find(self, pid: Any) -> Any:
        """What a file calls a persistent id: ("storage", type, key, device, numel[, view])."""
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]  # a class with its source text, which nobody reads
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise RefusedFile("it refers to something outside the file")
        parts: tuple[Any, ...] = pid
        kind, key, numel, view = parts[1], parts[2], parts[4], parts[5:]
        if not isinstance(kind, Name) or kind.name not in DTYPES or not isinstance(key, str):
            raise RefusedFile(f"it holds a storage of the kind {shown(str(kind))}")
        dtype = DTYPES[kind.name]
        if key not in self.held:
            self.held[key], self.dtypes[key] = self._new(key, numel, dtype), dtype
        if self.dtypes[key] != dtype:
            raise RefusedFile(f"it gives the storage '{shown(key)}' two types")
        return _Storage(_part(self.held[key].view(dtype), view[0] if view else None), self)

    def _new(self, key: str, numel: Any, dtype: torch.dtype) -> Tensor:
        if type(numel) is not int or numel < 0:
            raise ValueError("the size of a storage is no number")
        self.free -= numel * dtype.itemsize
        if self.free < 0:
            raise RefusedFile("its tensors are larger than the file")
        raw = torch.empty(numel * dtype.itemsize, dtype=torch.uint8)
        self.fill(key, raw.numpy())
        return raw


def _part(whole: Tensor, view: Any) -> Tensor:
    """Old files name a part of a storage: (key, offset, size)."""
    if view is None:
        return whole
    _, offset, size = view
    if not 0 <= offset <= offset + size <= len(whole):
        raise ValueError("a part of a storage lies outside of it")
    return whole[offset : offset + size]


class _Storage:
    def __init__(self, values: Tensor, home: _Storages):
        self.values, self.home = values, home


def _tensor(args: tuple) -> Tensor:
    """storage, offset, shape, strides and more that does not matter here."""
    storage, offset, shape, strides = args[:4]
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("a tensor's shape and strides do not fit each other")
    if len(shape) > MAX_DIMS:
        raise RefusedFile(f"it holds a tensor of {len(shape)} dimensions")
    values = storage.values
    numel = math.prod(shape)
    last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if numel and offset + last >= len(values):
        raise ValueError("a tensor reaches beyond its storage")
    # A tensor may repeat its numbers by a stride of 0, and many may share a storage.
    storage.home.tensor_bytes -= numel * values.element_size()
    if numel > len(values) or storage.home.tensor_bytes < 0:
        raise RefusedFile("its tensors unfold to more than the file holds")
    if not numel:
        return values.new_empty(shape)
    return values.as_strided(shape, strides, values.storage_offset() + offset)


def _parameter(args: tuple) -> Tensor:
    if not isinstance(args[0], Tensor):
        raise ValueError("a parameter without a tensor")
    return args[0]


BUILDERS = {
    **PLAIN,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch", "Size"): lambda args: tuple(args[0]),
}


def _read_zip(archive: zipfile.ZipFile, num_bytes: int) -> Any:
    programs = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(programs) != 1:
        raise ValueError(f"{len(programs)} files data.pkl in it instead of one")
    root = programs[0].removesuffix("data.pkl")
    if root + "constants.pkl" in archive.namelist():
        raise RefusedFile("it is a TorchScript program; save the state_dict of its model instead")
    order = root + "byteorder"
    if order in archive.namelist() and _entry(archive, order, 16).strip() != b"little":
        raise RefusedFile("its numbers are big-endian")

    def fill(key: str, memory: np.ndarray) -> None:
        content = _entry(archive, f"{root}data/{key}", len(memory))
        if len(content) != len(memory):
            raise ValueError(f"the storage '{shown(key)}' has {len(content)} bytes")
        memory[:] = np.frombuffer(content, np.uint8)

    program = _entry(archive, programs[0], MAX_PROGRAM_BYTES)
    storages = _Storages(num_bytes, fill)
    return _checked(Machine(len(program), BUILDERS, storages.find).run(io.BytesIO(program)))


def _entry(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """An entry as torch writes it: not compressed, so never larger than the file."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise RefusedFile(f"its entry '{shown(name)}' is compressed or encrypted")
    if entry.file_size > max_bytes:
        raise RefusedFile(f"its entry '{shown(name)}' has {entry.file_size} bytes")
    return archive.read(entry)


def read_pickled_tensors(path: str | Path, wanted: str) -> Any:
    """The tree that pickle wrote of objects with tensors; each storage in it is a text of bytes in
    torch's older format. Returns and raises as `read_torch` does, `wanted` too."""
    embedded = _Embedded(path)
    builders = {**BUILDERS, ("torch.storage", "_load_from_bytes"): embedded.load}
    tree = read_pickle(path, builders, wanted)
    with reading(path, "pickle", wanted, ()):
        return _checked(tree)


class _Embedded:
    """Storages that are pickled as bytes. Together they are no larger than the file, also where it
    reads the same bytes over and over."""

    def __init__(self, path: str | Path):
        self.path, self.num = path, 0
        self.waiting: dict[str, np.ndarray] = {}
        self.storages: _Storages | None = None

    def load(self, args: tuple) -> Any:
        if self.storages is None:
            size = Path(self.path).stat().st_size
            self.storages = _Storages(size, self.waiting.__setitem__)
        (content,) = args
        if not isinstance(content, bytes):
            raise RefusedFile("it loads tensors from something that is not bytes")
        self.num += 1
        tree = _legacy_tree(
            io.BytesIO(content), len(content), self.storages, self.waiting, f"{self.num}:"
        )
        if not isinstance(tree, _Storage):
            raise ValueError("a storage in it is something else")
        return tree


def _read_legacy(content: mmap.mmap) -> Any:
    waiting: dict[str, np.ndarray] = {}
    storages = _Storages(len(content), waiting.__setitem__)
    return _checked(_legacy_tree(content, len(content), storages, waiting))


def _legacy_tree(
    content: Any,
    num_bytes: int,
    storages: "_Storages",
    waiting: dict[str, np.ndarray],
    prefix: str = "",
) -> Any:
    """magic, protocol, system, tree, keys of the storages; then of each its length and bytes.
    `prefix`: before the keys, where one of several such texts has its own."""

    def find(pid: Any) -> Any:
        if prefix and isinstance(pid, tuple) and len(pid) > 2 and isinstance(pid[2], str):
            pid = (*pid[:2], prefix + pid[2], *pid[3:])
        return storages.find(pid)

    before = set(waiting)
    plain = Machine(num_bytes, {})
    if plain.run(content) != LEGACY_MAGIC or plain.run(content) != LEGACY_PROTOCOL:
        raise ValueError("neither a zip file nor of the older format")
    system = plain.run(content)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise RefusedFile("its numbers are big-endian")
    tree = Machine(num_bytes, BUILDERS, find).run(content)
    keys = [f"{prefix}{key}" for key in plain.run(content)]
    if sorted(keys) != sorted(waiting.keys() - before):
        raise ValueError("its list of storages does not fit its tensors")
    for key in keys:
        memory = waiting[key]
        length = int.from_bytes(content.read(8), "little") * storages.dtypes[key].itemsize
        if length != len(memory) or content.tell() + length > num_bytes:
            raise ValueError(f"the storage '{shown(key)}' is not whole")
        memory[:] = np.frombuffer(content.read(length), np.uint8)
    return tree


def _checked(tree: Any) -> Any:
    """Refuse what only a torch file can hold and nobody can use: a storage without a tensor, or a
    truth value that is neither 0 nor 1."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Storage):
            raise RefusedFile("it holds a storage without a tensor")
        if isinstance(value, Tensor) and value.dtype == torch.bool:
            if int(value.view(torch.uint8).max() if value.numel() else 0) > 1:
                raise ValueError("a truth value is neither 0 nor 1")
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, Record):
            waiting.extend((value.args, value.state, value.items, value.entries))
    return tree
