"""Named arrays of a foreign file, one read at a time: TensorFlow checkpoints and dumps of them.

A downloaded module (folder or .tar.gz), its `variables` folder, an HDF5 or .npz dump, or a file of
torch.save. Nothing is run, and nothing is written outside a temporary folder of our own.
"""

import contextlib
import gzip
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import CheckpointError, LimnerError, MissingExtra, RefusedFile
from limner.core.files import sha256_of
from limner.formats.file_kinds import CUT_ZIP, GZIP, HDF5, NPZ, kind_of
from limner.formats.npy import npz_member
from limner.formats.tensorflow_bundle import INDEX_SUFFIX, TensorflowBundle
from limner.formats.torch_files import read_torch
from limner.formats.weights import common_words, single, unwrapped
from limner.formats.zips import opened as opened_zip
from limner.formats.zips import overlapping

WANTED = "the module's folder or .tar.gz, an HDF5 or .npz dump of its variables, or a .pth"
AGAIN = "write the dump again"
PREFIX = "variables"  # of a module's checkpoint, and the folder that it lies in
# Weights hardly compress: what grows more than this is built to fill memory.
MAX_GROWTH, GROWTH_FROM_BYTES = 20, 2**24
MAX_VARIABLES, MAX_MEMBERS, MAX_DEPTH = 2**16, 10_000, 32
MAX_READ_BYTES = 2**20  # at once, by tarfile: its own headers, too, are of any size
HDF5_FILTERS = (1, 2, 3, 32000)  # deflate, shuffle, fletcher32, lzf; others are loaded as programs


class Variables(Mapping[str, Tensor]):
    """Name -> tensor, read each time it is asked for, in its own type, or single for half."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], read: Callable[[str], Tensor]):
        self.shapes, self.read = shapes, read

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.shapes:
            raise KeyError(name)
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


@contextlib.contextmanager
def open_variables(path: str | Path) -> Iterator[Variables]:
    """The variables of any of these forms, under the checkpoint's own names: dumps written by
    tensorflow_hub say "module/NAME:0", which is taken for NAME.

    Raises:
        CheckpointError: names the file, and what is missing, damaged or not known.
        RefusedFile: it holds what only a hostile file would.
        MissingExtra: a package of the extra `import` is needed.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        read = _reader_of(path)
        try:
            held = stack.enter_context(read(path))
            taken = common_words(held, path)
            shapes = {name[len(taken) :]: shape for name, shape in held.shapes.items()}
            yield Variables(shapes, lambda name: single(held.read(f"{taken}{name}")))
        except OSError as error:  # of the file while it is read, or of the disk below /tmp
            name = error.filename or path
            raise CheckpointError(f"{name}: cannot be read ({error.strerror or error})") from None


def hashes_of(path: str | Path) -> dict[str, str]:
    """File name -> sha256, of the file, or of a folder's checkpoint."""
    path = Path(path)
    prefix = checkpoint_prefix(path)
    if prefix is None:
        return {path.name: sha256_of(path)}
    return {file.name: sha256_of(file) for file in sorted(prefix.parent.glob(f"{prefix.name}.*"))}


def checkpoint_prefix(path: Path) -> Path | None:
    """The checkpoint that a folder or an .index file is; None where there is none."""
    if path.is_file():
        return path.with_suffix("") if path.suffix == INDEX_SUFFIX else None
    for folder in (path / PREFIX, path):
        if (folder / f"{PREFIX}{INDEX_SUFFIX}").is_file():
            return folder / PREFIX
    return None


def _reader_of(path: Path) -> Callable[[Path], contextlib.AbstractContextManager[Variables]]:
    if checkpoint_prefix(path) is not None:
        return _bundle
    if path.is_dir():
        held = any(path.glob(f"**/{PREFIX}.data-*"))
        raise CheckpointError(
            f"{path}: no {PREFIX}/{PREFIX}{INDEX_SUFFIX} in it"
            + ("; only its data files are there: download it again" if held else "")
        )
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    kind = kind_of(path)
    if kind == CUT_ZIP:
        raise CheckpointError(f"{path}: {CUT_ZIP}; fetch or write it again")
    return {HDF5: _hdf5, GZIP: _tar, NPZ: _npz}.get(kind or "", _torch)


# --- TensorFlow --------------------------------------------------------------


@contextlib.contextmanager
def _bundle(path: Path) -> Iterator[Variables]:
    prefix = checkpoint_prefix(path)
    assert prefix is not None
    bundle = TensorflowBundle(prefix)
    shapes = {name: entry.shape for name, entry in bundle.entries.items()}
    yield _named(shapes, lambda name: _tensor(bundle.read(name)), path)


@contextlib.contextmanager
def _tar(path: Path) -> Iterator[Variables]:
    """The files of the checkpoint alone, under names of our own, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="limner-import-") as folder:
        try:
            _unpack(path, Path(folder))
        except (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError) as error:
            if isinstance(error, LimnerError):
                raise
            raise CheckpointError(
                f"{path}: damaged or not a .tar.gz ({error}); download it again"
            ) from None
        if not (Path(folder) / f"{PREFIX}{INDEX_SUFFIX}").exists():
            raise CheckpointError(f"{path}: no {PREFIX}/{PREFIX}{INDEX_SUFFIX} in it")
        try:
            with _bundle(Path(folder)) as variables:
                yield variables
        except CheckpointError as error:
            line = str(error).replace(folder, str(path))
            raise type(error)(line) from None


_MEMBER = re.compile(rf"{PREFIX}\.(index|data-\d{{5}}-of-\d{{5}})")


def _unpack(path: Path, folder: Path) -> None:
    with gzip.open(path) as stream:
        limited: Any = _Limited(stream, path)
        with tarfile.open(fileobj=limited, mode="r:") as archive:
            home: PurePosixPath | None = None
            for number, member in enumerate(archive):
                if number >= MAX_MEMBERS:
                    raise RefusedFile(f"{path}: more than {MAX_MEMBERS} entries; not a module")
                name = PurePosixPath(member.name)
                if not _MEMBER.fullmatch(name.name):
                    continue
                shown = member.name[:200]
                if not member.isreg() or member.issparse():
                    raise RefusedFile(f"{path}: '{shown}' is a link or no plain file")
                target = folder / name.name
                if target.exists() or (home is not None and home != name.parent):
                    raise RefusedFile(f"{path}: '{shown}' is one of two checkpoints in it")
                home = name.parent
                held = archive.extractfile(member)
                assert held is not None
                with held, open(target, "xb") as file:
                    shutil.copyfileobj(held, file, MAX_READ_BYTES)


class _Limited:
    """An unpacked stream that may not be larger than weights of that file's size can be."""

    def __init__(self, stream: gzip.GzipFile, path: Path):
        self.stream, self.path = stream, path
        self.limit = _limit(path)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise RefusedFile(f"{self.path}: an entry's header is {size} bytes long; not a module")
        self._check(self.stream.tell() + size - MAX_READ_BYTES)
        return self.stream.read(size)

    def seek(self, offset: int) -> int:
        self._check(offset)
        return self.stream.seek(offset)

    def tell(self) -> int:
        return self.stream.tell()

    def _check(self, offset: int) -> None:
        if offset > self.limit:
            raise RefusedFile(
                f"{self.path}: unpacks to more than {MAX_GROWTH} times its size; not a module"
            )


def _limit(path: Path) -> int:
    return MAX_GROWTH * path.stat().st_size + GROWTH_FROM_BYTES


# --- dumps -------------------------------------------------------------------


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[Variables]:
    try:
        import h5py
    except ImportError:
        raise MissingExtra("h5py", "import", "reading an HDF5 file") from None
    with _as_damage(path, "HDF5 file"), h5py.File(path, "r") as file:
        shapes: dict[str, tuple[int, ...]] = {}
        budget = _Budget(path)
        pending: list[tuple[str, Any, int]] = [("", file, 0)]
        while pending:
            prefix, group, depth = pending.pop()
            for key in group:
                name = f"{prefix}{key}"
                link = group.get(key, getlink=True)
                if not isinstance(link, h5py.HardLink) or depth > MAX_DEPTH:
                    raise RefusedFile(f"{path}: '{name[:200]}' is a link, or nested too deep")
                node = group[key]
                budget.count(name, 0)
                if isinstance(node, h5py.Group):
                    pending.append((f"{name}/", node, depth + 1))
                elif isinstance(node, h5py.Dataset):
                    _check_dataset(node, f"{path}: '{name[:200]}'")
                    budget.count(name, node.size * node.dtype.itemsize)
                    shapes[name] = tuple(node.shape)
        yield _named(shapes, lambda name: _tensor(_dataset(file, name, path)), path)


def _check_dataset(node: Any, where: str) -> None:
    if node.dtype.kind not in "biuf" or node.shape is None:
        raise RefusedFile(f"{where} holds {node.dtype}, not numbers")
    if node.is_virtual or node.external:
        raise RefusedFile(f"{where} lies in other files; only one whole file is read")
    settings = node.id.get_create_plist()
    filters = [settings.get_filter(i)[0] for i in range(settings.get_nfilters())]
    if not set(filters) <= set(HDF5_FILTERS):
        raise RefusedFile(f"{where} is compressed by a plug-in; write it plain or with gzip")


def _dataset(file: Any, name: str, path: Path) -> np.ndarray:
    with _as_damage(path, "HDF5 file"):
        return np.asarray(file[name][()])


@contextlib.contextmanager
def _npz(path: Path) -> Iterator[Variables]:
    with opened_zip(str(path), "an .npz") as archive:
        members = archive.infolist()
        if overlapping(members):
            raise RefusedFile(f"{path}: entries of the zip overlap")
        budget = _Budget(path)
        found: dict[str, zipfile.ZipInfo] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in found:
                raise RefusedFile(f"{path}: '{name[:200]}': twice in the zip")
            budget.count(name, member.file_size)
            with npz_member(archive, member, f"{path}: '{name[:200]}'", AGAIN) as (_, header):
                shapes[name] = header.shape
            found[name] = member

        def read(name: str) -> Tensor:
            where = f"{path}: '{name[:200]}'"
            with npz_member(archive, found[name], where, AGAIN) as (file, header):
                return _tensor(header.values(file, where))

        yield _named(shapes, read, path)


@contextlib.contextmanager
def _torch(path: Path) -> Iterator[Variables]:
    tree = unwrapped(read_torch(path, WANTED), path)
    if not isinstance(tree, dict) or not all(isinstance(t, Tensor) for t in tree.values()):
        raise CheckpointError(f"{path}: holds other things than tensors by name")
    shapes = {str(name): tuple(tensor.shape) for name, tensor in tree.items()}
    yield Variables(shapes, lambda name: tree[name])


class _Budget:
    """How much a file may declare: a multiple of its own length."""

    def __init__(self, path: Path):
        self.path, self.left, self.num = path, _limit(path), 0

    def count(self, name: str, num_bytes: int) -> None:
        self.num += 1
        self.left -= num_bytes
        if self.left < 0 or self.num > MAX_VARIABLES:
            raise RefusedFile(
                f"{self.path}: with '{name[:200]}' it declares more than {MAX_GROWTH} times its "
                "size; not a dump of weights"
            )


@contextlib.contextmanager
def _as_damage(path: Path, what: str) -> Iterator[None]:
    """What h5py raises on a damaged file becomes one line."""
    try:
        yield
    except LimnerError:
        raise
    except (
        OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError,
        AttributeError, NotImplementedError,
    ) as error:  # fmt: skip
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(f"{path}: damaged or no {what} ({reason}); write it again") from None


# --- names and types -----------------------------------------------------------


def _named(
    shapes: dict[str, tuple[int, ...]], read: Callable[[str], Tensor], path: Path
) -> Variables:
    """Under plain names; "module/NAME:0" and NAME would be the same variable."""
    plain: dict[str, str] = {}
    for name in shapes:
        short = name.removeprefix("module/").removesuffix(":0")
        if short in plain:
            raise RefusedFile(f"{path}: '{short[:200]}' stands in it twice")
        plain[short] = name
    if not plain:
        raise CheckpointError(f"{path}: it holds no variables")
    return Variables(
        {short: shapes[name] for short, name in plain.items()}, lambda short: read(plain[short])
    )


def _tensor(array: np.ndarray) -> Tensor:
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return torch.from_numpy(np.array(native))
