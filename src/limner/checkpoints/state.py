"""Training states: directories of safetensors and JSON that are whole, verified, or not there.

A save writes `.tmp-step-00000400`, flushes every file, writes manifest.json with the sha256 of all
of them, flushes it, renames the directory to `step-00000400` and flushes the parent. No pickle is
written or read.
"""

import contextlib
import datetime
import json
import platform
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from limner.checkpoints.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    read_manifest,
    read_verified,
    render_manifest,
    state_name,
    verify_state,
)
from limner.checkpoints.protocol import (
    TEMPORARY,
    protocol_point,
    remove_tree,
    require_space,
    swap_in,
    write_file,
)
from limner.checkpoints.tree import Tree, decode_tree, encode_tree, num_bytes_of
from limner.core import distributed
from limner.core.config import encode
from limner.core.errors import CheckpointError, DiskError, LimnerError
from limner.core.files import make_directory, sha256_of, sync_directory, write_problem

STRUCTURE_NAME = "state.json"
_PART_NAME = re.compile(r"[A-Za-z0-9_]+")


def save_state(
    checkpoints_dir: Path,
    step: int,
    tree: dict[str, Tree],
    rank_tree: dict[str, Tree] | None = None,
    facts: dict[str, Any] | None = None,
    first: Callable[[], None] | None = None,
) -> Path:
    """Save a training state; afterwards it is on the disk and verified by its manifest. Returns the
    checkpoint's directory.

    With several processes all of them call it, on one shared file system; rank 0's `tree` is the
    one that is written, and every rank's `rank_tree`.

    Args:
        checkpoints_dir: made if missing.
        tree: top-level keys are plain names (letters, digits, _); see `encode_tree` for the values.
        facts: plain JSON values for the manifest.
        first: what has to be on the disk before, for example logs; rank 0 calls it, and what it
            raises is this save's failure.

    Raises:
        DiskError: the disk refused a write. What was saved before is untouched, nothing is left.
        CheckpointError: the state holds something that cannot be saved. All processes raise it.
    """
    directory = Path(checkpoints_dir)
    temporary = directory / f"{TEMPORARY}{state_name(step)}"
    final = directory / state_name(step)
    rank = distributed.rank()
    needed = num_bytes_of(tree) + num_bytes_of(rank_tree) * distributed.world_size() + 4096

    def begin() -> None:
        make_directory(directory)
        remove_tree(temporary)
        if first is not None:
            first()
        sync_directory(directory.parent)  # the names of the logs
        require_space(directory, needed)
        temporary.mkdir()
        protocol_point("temporary directory made")
        _write_tree(temporary, STRUCTURE_NAME, tree)

    def write_rank() -> None:
        if rank_tree is not None:
            _write_tree(temporary, f"rank-{rank}.json", rank_tree)

    def finish() -> None:
        _write_manifest(temporary, step, encode(facts or {}, "facts"))
        if _same_content(temporary, final):
            remove_tree(temporary)
        else:
            swap_in(temporary, final)

    for work in (begin if rank == 0 else None, write_rank, finish if rank == 0 else None):
        _together(work, temporary, needed)
    return final


def _together(work: Callable[[], None] | None, temporary: Path, needed: int) -> None:
    """Do one phase of a save and wait for all processes; a failure on one ends it on all."""
    problem: LimnerError | OSError | None = None
    try:
        if work is not None:
            work()
    except (LimnerError, OSError) as error:
        problem = error
    if not distributed.any_rank(problem is not None):
        return
    by_disk = not distributed.any_rank(
        problem is not None and not isinstance(problem, (OSError, DiskError))
    )
    if distributed.rank() == 0:
        with contextlib.suppress(OSError):  # a disk that refuses this too: the next start cleans
            remove_tree(temporary)
    distributed.barrier()
    if isinstance(problem, OSError):
        line = write_problem(problem, temporary, needed)
        problem = DiskError(f"{line}; the save failed, earlier checkpoints are untouched")
    kind = DiskError if by_disk else CheckpointError
    raise problem or kind(f"{temporary}: the save failed in another process")


def _write_tree(directory: Path, structure_name: str, tree: dict[str, Tree]) -> None:
    """Write NAME.json and the tensors: one file a top-level key, or one for a rank."""
    prefix = structure_name.removesuffix(".json")
    structure: dict[str, Any] = {}
    files: dict[str, str] = {}
    for key, value in tree.items():
        if not isinstance(key, str) or not _PART_NAME.fullmatch(key):
            raise CheckpointError(
                f"{key!r} cannot name a part of a state; use letters, digits and _"
            )
        tensors: dict[str, Tensor] = {}
        structure[key] = encode_tree(value, key, tensors)
        if tensors:
            files[key] = f"{key if prefix == 'state' else f'{prefix}.{key}'}.safetensors"
            write_file(directory / files[key], safetensors.torch.save(tensors))
    text = json.dumps({"tree": structure, "files": files}, allow_nan=False)
    write_file(directory / structure_name, text.encode())


def _write_manifest(temporary: Path, step: int, facts: dict[str, Any]) -> None:
    """List and seal everything in the temporary directory."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(temporary.iterdir())
    }
    body = {
        "format_version": FORMAT_VERSION,
        "step": step,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "world_size": distributed.world_size(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "facts": facts,
        "files": files,
    }
    write_file(temporary / MANIFEST_NAME, render_manifest(body))
    sync_directory(temporary)
    protocol_point("temporary directory flushed")


def rounding_notes(checkpoint: Path) -> list[str]:
    """Why going on from a checkpoint may differ in the last bits, as one line or none.

    Sums run in another order with other threads, processes or releases of torch (measured; see
    the reproducibility notes of PyTorch), so equality bit for bit is promised only without.
    """
    manifest = read_manifest(checkpoint)
    now = {
        "world_size": ("processes", distributed.world_size()),
        "threads": ("threads", torch.get_num_threads()),
        "torch": ("torch", torch.__version__),
    }
    changes = [
        f"{name} {manifest[key]} -> {value}"
        for key, (name, value) in now.items()
        if key in manifest and manifest[key] != value
    ]
    if not changes:
        return []
    return [f"equal up to rounding only: {checkpoint.name} was saved with {', '.join(changes)}"]


def _same_content(temporary: Path, final: Path) -> bool:
    """Whether a whole checkpoint with the same content stands there already."""
    if not final.exists():
        return False
    try:
        verify_state(final)
        old = read_manifest(final)
    except CheckpointError:
        return False
    new = json.loads((temporary / MANIFEST_NAME).read_bytes())
    return old["files"] == new["files"] and old["facts"] == new["facts"]


def load_state(path: Path, keys: Collection[str] | None = None) -> dict[str, Tree]:
    """The tree that `save_state` wrote, or of it the top-level `keys` that exist, on the CPU, every
    byte compared with the manifest. Raises CheckpointError with the file and the reason."""
    return _read_tree(Path(path), read_manifest(path), STRUCTURE_NAME, keys)


def load_rank_state(path: Path, rank: int) -> dict[str, Tree] | None:
    """What process number `rank` saved of its own, None if it saved nothing or was not there."""
    manifest = read_manifest(path)
    name = f"rank-{rank}.json"
    if name not in manifest["files"]:
        return None
    return _read_tree(Path(path), manifest, name, None)


def _read_tree(
    path: Path, manifest: dict[str, Any], structure_name: str, keys: Collection[str] | None
) -> dict[str, Tree]:
    where = path / structure_name
    content = read_verified(path, manifest, structure_name)
    try:
        structure = json.loads(content)
        parts = dict(structure["tree"])
        files = {key: str(name) for key, name in structure["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{where}: not the structure of a training state") from None
    tree = {}
    for key, plain in parts.items():
        if keys is None or key in keys:
            tensors, name = {}, files.get(key)
            if name is not None:
                tensors = unpack_tensors(read_verified(path, manifest, name), path / name)
            try:
                tree[key] = decode_tree(plain, tensors, f"{where}: {key}")
            except RecursionError:
                raise CheckpointError(f"{where}: {key}: nested too deeply") from None
    return tree


def unpack_tensors(content: bytes, where: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises CheckpointError where it is none, or holds types or
    sizes that torch has not."""
    try:
        return safetensors.torch.load(content)
    except (
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        RuntimeError,
        AssertionError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{where}: not a safetensors file ({reason})") from None
