"""The manifest that makes a directory a checkpoint: what must be in it, byte for byte.

A checkpoint is a directory `step-00000400` whose manifest.json lists every file with its size and
sha256, and carries a sha256 of itself. A directory without one, or with one that does not fit, is
no checkpoint. Nothing here needs torch.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from limner.checkpoints.protocol import REPLACED, TEMPORARY, settled
from limner.core.errors import CheckpointError

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
_STATE_NAME = re.compile(r"step-([0-9]{8,18})")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}")


def state_name(step: int) -> str:
    """The directory name of a step: "step-00000400"."""
    return f"step-{step:08d}"


def state_step(name: str) -> int | None:
    """The step that a directory name says, None for any other name."""
    match = _STATE_NAME.fullmatch(name)
    return int(match.group(1)) if match else None


def sha256_of_bytes(content: bytes) -> str:
    """sha256 as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def render_manifest(body: Mapping[str, Any]) -> bytes:
    """The one spelling of a manifest: indented JSON with the sha256 of the rest at its end."""
    plain = json.dumps(body, indent=2, allow_nan=False)
    sealed = {**body, "manifest_sha256": sha256_of_bytes(plain.encode())}
    return (json.dumps(sealed, indent=2, allow_nan=False) + "\n").encode()


def _is_sealed(body: dict[str, Any], content: bytes) -> bool:
    """Whether the content is what `render_manifest` writes; removes the seal from the body."""
    body.pop("manifest_sha256", None)
    try:
        return render_manifest(body) == content
    except (ValueError, RecursionError):  # ValueError: NaN, which Python's reader accepts
        return False


def _require_plain_files(body: Mapping[str, Any], path: Path) -> None:
    """Names that stay inside the directory, each with a size and a sha256."""
    files = body.get("files")
    for name, entry in files.items() if isinstance(files, dict) else [("", None)]:
        if not _FILE_NAME.fullmatch(name) or not isinstance(entry, dict):
            raise CheckpointError(f"{path}: it lists no file of a checkpoint ({name!a:.100})")
        if not {"size", "sha256"} <= entry.keys():
            raise CheckpointError(f"{path}: it does not say the size and sha256 of '{name}'")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise CheckpointError(f"{path}: the file is missing; the checkpoint is damaged") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None


def read_manifest(state: Path) -> dict[str, Any]:
    """The manifest of a checkpoint, itself checked; the files it lists are not read. Raises
    CheckpointError where it is missing, changed, of a newer format, or belongs to another step."""
    path = settled(Path(state)) / MANIFEST_NAME
    with _opened(path) as file:
        content = file.read()
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: not valid JSON; the checkpoint is damaged") from None
    version = body.get("format_version") if isinstance(body, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format {version} was written by a newer limner (this one reads "
            f"{FORMAT_VERSION}); update limner"
        )
    if not isinstance(body, dict) or not _is_sealed(body, content):
        raise CheckpointError(f"{path}: its sha256 does not fit; the checkpoint is damaged")
    _require_plain_files(body, path)
    named = state_step(Path(state).name)
    if version != FORMAT_VERSION or (named is not None and named != body.get("step")):
        raise CheckpointError(
            f"{path}: it is of step {body.get('step')}, format {version}; the directory was "
            "renamed or mixed with another"
        )
    return body


def read_verified(state: Path, manifest: Mapping[str, Any], name: str) -> bytes:
    """The bytes of one file of a checkpoint, compared with the manifest. Raises CheckpointError
    where it is not listed, missing, cut short or changed."""
    path = settled(Path(state)) / name
    entry = manifest["files"].get(name)
    if entry is None:
        raise CheckpointError(f"{path}: the manifest does not list this file")
    with _opened(path) as file:
        content = file.read()
    _compare(path, entry, len(content), sha256_of_bytes(content))
    return content


def _compare(path: Path, entry: Mapping[str, Any], size: int, digest: str) -> None:
    if size != entry["size"]:
        raise CheckpointError(
            f"{path}: {size} bytes instead of {entry['size']}; the checkpoint is damaged"
        )
    if digest != entry["sha256"]:
        raise CheckpointError(f"{path}: its sha256 does not fit; the checkpoint is damaged")


def verify_state(path: Path) -> None:
    """Compare every file of a checkpoint with its manifest; reads all bytes, keeps none. Raises
    CheckpointError with the file and the reason."""
    manifest = read_manifest(path)
    for name, entry in manifest["files"].items():
        file_path = settled(Path(path)) / name
        with _opened(file_path) as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        _compare(file_path, entry, size, digest)


def list_states(directory: Path) -> list[tuple[int, Path]]:
    """(step, path) of every checkpoint directory, oldest first. Reads names only.

    A state that was stepping aside for its replacement when the process was killed is listed under
    its proper name; the functions that read it find it.
    """
    directory = Path(directory)
    if not directory.is_dir():
        return []
    found = {}
    for name in os.listdir(directory):
        step = None if name.startswith(TEMPORARY) else state_step(name.removeprefix(REPLACED))
        if step is not None:
            found[step] = directory / state_name(step)
    return sorted(found.items())


def newest_verified(directory: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest checkpoint whose files all fit, None where there is no checkpoint at all; `warn`
    is given one line if newer ones were passed over.

    Raises:
        CheckpointError: there are checkpoints and none is whole; training must not silently start
            from nothing.
    """
    damaged = []
    for _, path in reversed(list_states(directory)):
        try:
            verify_state(path)
        except CheckpointError as error:
            damaged.append(str(error))
            continue
        if damaged:
            warn(f"using {path.name}, because what is newer cannot be used: " + "; ".join(damaged))
        return path
    if damaged:
        raise CheckpointError(
            f"{directory}: no checkpoint is whole: {'; '.join(damaged)}; restore one from a copy, "
            "or start over with --fresh"
        )
    return None
