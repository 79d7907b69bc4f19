"""Writing that survives a crash at any moment, in numbered steps that a test can cut between."""

import os
import shutil
from pathlib import Path

from limner.core.errors import DiskError
from limner.core.files import named, sync_directory

CRASH_VARIABLE = "LIMNER_CRASH_AT"
TEMPORARY = ".tmp-"
REPLACED = ".replaced-"

_points_passed: list[str] = []


def protocol_point(name: str) -> None:
    """Mark one point of a protocol. $LIMNER_CRASH_AT=k ends the process at its k-th, as a kill
    would: nothing is cleaned up, no handler runs. Without the variable this only counts."""
    at = os.environ.get(CRASH_VARIABLE)
    if at is None:
        return
    _points_passed.append(name)
    if len(_points_passed) == int(at):
        os._exit(137)


def write_file(path: Path, content: bytes) -> None:
    """Write a new file and flush it to the disk."""
    with named(path), open(path, "wb") as file:
        file.write(content)
        file.flush()
        protocol_point(f"written {path.name}")
        os.fsync(file.fileno())
    protocol_point(f"flushed {path.name}")


def remove_tree(path: Path) -> None:
    """Remove a file or a directory with all it holds; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require_space(directory: Path, num_bytes: int) -> None:
    """Raises DiskError, with the needed and the free bytes, unless there is room for `num_bytes`
    and a tenth more."""
    needed = num_bytes + num_bytes // 10
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise DiskError(
            f"{directory}: no room to save: {needed} bytes needed, {free} free on the disk; "
            "free some space or keep fewer checkpoints"
        )


def replaced_name(path: Path) -> Path:
    """Where the old directory waits while a new one takes its place."""
    return path.with_name(REPLACED + path.name)


def swap_in(temporary: Path, final: Path) -> None:
    """Give a finished temporary directory its final name, replacing what stands there.

    No file system call exchanges two directories everywhere, so an existing one first steps aside
    to `replaced_name`; readers look there when the final name is missing (see `settled`), and so
    there is no moment without a whole one.
    """
    aside = replaced_name(final)
    if final.exists():
        remove_tree(aside)
        os.replace(final, aside)
        protocol_point(f"stepped aside {final.name}")
    os.replace(temporary, final)
    protocol_point(f"renamed {final.name}")
    sync_directory(final.parent)
    protocol_point(f"flushed the name {final.name}")
    if aside.exists():
        remove_tree(aside)
        protocol_point(f"removed the old {final.name}")


def settled(path: Path) -> Path:
    """The place of a directory that `swap_in` writes: its name, or where a cut swap left it."""
    aside = replaced_name(path)
    return aside if not path.exists() and aside.exists() else path


def remove_leftovers(directory: Path) -> list[str]:
    """Clean a directory of what a killed process left, and return the names: temporary entries go,
    a directory that stepped aside returns if its place is empty. Call it only where no other
    process writes."""
    if not directory.is_dir():
        return []
    found = []
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith(TEMPORARY):
            remove_tree(entry)
            found.append(entry.name)
        elif entry.name.startswith(REPLACED):
            final = entry.with_name(entry.name.removeprefix(REPLACED))
            if final.exists():
                remove_tree(entry)
            else:
                os.replace(entry, final)
            found.append(entry.name)
    return found
