"""Files that are whole or absent: write aside, flush to the disk, rename, flush the directory."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from limner.core.errors import CheckpointError, LimnerError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def cache_directory() -> Path:
    """Where prepared data, classifiers, statistics live: $LIMNER_CACHE, else the user's cache."""
    given = os.environ.get("LIMNER_CACHE")
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "limner"


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors of an open file (writing, flushing, closing) name it; by themselves they do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:  # else it has its own words
            error.filename = str(path)
        raise


def sync_directory(directory: Path) -> None:
    """Flush a directory's entries (names, renames) to the disk."""
    sync_file(directory)


def sync_file(path: Path) -> None:
    """Flush a file's contents, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory with the missing ones above it, and flush the name of each new one."""
    if path.is_dir():
        return
    make_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


def write_problem(error: OSError, path: Path, num_bytes: int | None) -> str:
    """ "PATH: REASON" with the path that the error names, or else this one; for a full disk or a
    used-up quota with the bytes free and, where known, those that the whole write needs."""
    line = f"{error.filename or path}: {error.strerror or error}"
    if error.errno not in NO_SPACE:
        return line
    place = next((p for p in (path, *path.parents) if p.exists()), path)
    try:
        free = str(shutil.disk_usage(place).free)
    except OSError:
        free = "an unknown number"
    needed = "" if num_bytes is None else f"{num_bytes} bytes needed, "
    return f"{line}; {needed}{free} free on the disk"


def temporary_name(path: Path) -> Path:
    """A name beside `path` that no other writer uses; it begins with ".tmp-"."""
    return path.with_name(f".tmp-{path.name}-{os.getpid()}-{secrets.token_hex(4)}")


@contextlib.contextmanager
def whole_file(path: Path, num_bytes: int | None = None) -> Iterator[Path]:
    """A file that is there whole or not at all: gives the name of a temporary one to write, inside
    `named` where nothing but writing can fail.

    On leaving it is flushed, takes the name `path`, and that name is flushed. After an error, or a
    crash at any moment, `path` holds what it held before. The directories above it are made.
    `num_bytes` is the room that it takes, where that is known, for the error of a full disk.

    Raises:
        OSError: with `path` as its `filename`, and where the disk is full with the bytes free.
    """
    with _placed(Path(path), num_bytes) as temporary:
        yield temporary
        with named(temporary):
            sync_file(temporary)


@contextlib.contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """`whole_file` for a new directory with all it holds; an empty one may be there."""
    with _placed(Path(path), None) as temporary:
        with named(temporary):
            temporary.mkdir()
        yield temporary
        with named(temporary):
            for entry in (*temporary.rglob("*"), temporary):
                sync_file(entry)


@contextlib.contextmanager
def _placed(path: Path, num_bytes: int | None) -> Iterator[Path]:
    temporary = temporary_name(path)
    try:
        with named(temporary):
            make_directory(path.parent)
        yield temporary
        with named(temporary):
            os.replace(temporary, path)
            sync_directory(path.parent)
    except OSError as error:
        if _is_about(error, temporary):  # and not a source that is read meanwhile
            error.filename = error.filename2 = None
            error.strerror = write_problem(error, path, num_bytes).removeprefix(f"{path}: ")
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # a disk that refuses this too
            if temporary.is_dir():
                shutil.rmtree(temporary)
            temporary.unlink(missing_ok=True)


def _is_about(error: OSError, temporary: Path) -> bool:
    """Whether an error names a temporary entry, something in it or above it, or nothing where only
    writing can have caused it."""
    if error.filename is None:
        return error.errno in (*NO_SPACE, errno.EROFS, errno.EFBIG)
    place = Path(os.fsdecode(error.filename))
    return place == temporary or place in temporary.parents or temporary in place.parents


def write_atomically(path: Path, content: bytes | str) -> None:
    """A `whole_file` of a content that is in memory."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path, len(data)) as temporary, named(temporary):
        temporary.write_bytes(data)


def read_json(
    path: Path,
    kinds: Mapping[str, Any],
    needs: Collection[str] = (),
    remedy: str = "restore it from a copy",
    error: type[LimnerError] = CheckpointError,
) -> dict[str, Any]:
    """The object in a JSON file of limner's own, as it was read.

    Args:
        kinds: key -> type of its value, as msgspec takes it; other keys may hold anything.
        needs: keys that must be there.
        remedy: what to do about a damaged file.

    Raises:
        LimnerError: the file is missing or damaged; names it, the reason and the remedy.
    """
    plain = read_json_value(path, remedy, error)
    if not isinstance(plain, dict):
        raise error(f"{path}: not a JSON object; {remedy}")
    for key in needs:
        if key not in plain:
            raise error(f"{path}: it lacks the key '{key}'; {remedy}")
    for key, kind in kinds.items():
        try:
            if key in plain:
                msgspec.convert(plain[key], kind)
        except msgspec.ValidationError as problem:
            raise error(f"{path}: {key}: {problem}; {remedy}") from None
    return plain


def read_json_value(path: Path, remedy: str, error: type[LimnerError] = CheckpointError) -> Any:
    """`read_json` of a file that holds another JSON value than an object."""
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise error(f"{path}: the file is missing; {remedy}") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); {remedy}") from None
    except (ValueError, RecursionError) as problem:  # not UTF-8 and a number of 5000 digits too
        raise error(f"{path}: not valid JSON ({problem}); {remedy}") from None


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
