"""Between a process and its disk: watch, slow down, refuse or record every call that changes it.

Python's own openers and the functions of `os` are replaced while `watched` is entered, so writes of
any library that goes through them are seen, in pieces of at most PIECE bytes.
"""

import builtins
import contextlib
import errno
import io
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PIECE = 16384
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)


@dataclass
class Call:
    """One call that is about to change the disk below the watched root.

    Attributes:
        kind: open, write, truncate, fsync, rename, mkdir, unlink or rmdir.
        path: what it is about (a rename's source).
        target: of a rename.
        content: of a write.
        place: where a write begins, or the length after a truncate.
    """

    kind: str
    path: str
    target: str = ""
    content: bytes = b""
    place: int = 0


Hook = Callable[[Call], None]


class _Raw(io.FileIO):
    """A file whose writes are told to the hook before they happen, and are short."""

    hook: Hook
    told_path: str

    def write(self, content: Any) -> int:
        piece = bytes(memoryview(content).cast("B")[:PIECE])
        place = os.fstat(self.fileno()).st_size if "a" in self.mode else self.tell()
        self.hook(Call("write", self.told_path, content=piece, place=place))
        return super().write(piece) or 0

    def truncate(self, size: int | None = None) -> int:
        place = self.tell() if size is None else size
        self.hook(Call("truncate", self.told_path, place=place))
        return super().truncate(place)


class _Watch:
    def __init__(self, root: Path, hook: Hook):
        self.root, self.hook = os.path.realpath(root), hook
        self.descriptors: dict[int, str] = {}
        self.kept = {
            name: getattr(os, name)
            for name in ("open", "close", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")
        }
        self.kept_open = builtins.open

    def path_of(self, path: Any, directory: int | None = None) -> str | None:
        """The absolute path if it lies below the root."""
        if isinstance(path, int):
            return self.descriptors.get(path)
        text = os.fspath(path)
        text = text.decode() if isinstance(text, bytes) else text
        if directory is not None:
            base = self.descriptors.get(directory) or os.readlink(f"/proc/self/fd/{directory}")
            text = os.path.join(base, text)
        text = os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))
        return text if (text + os.sep).startswith(self.root + os.sep) else None

    # --- what replaces the originals --------------------------------------------

    def opened(self, file: Any, mode: str = "r", buffering: int = -1, *more: Any, **named: Any):
        path = None if isinstance(file, int) else self.path_of(file)
        if path is None or not set(mode) & set("wax+"):
            return self.kept_open(file, mode, buffering, *more, **named)
        self.hook(Call("open", path))
        if "w" in mode and os.path.exists(path) and os.path.getsize(path):
            self.hook(Call("truncate", path, place=0))
        raw = _Raw(path, mode.replace("b", "").replace("t", ""))
        raw.hook, raw.told_path = self.hook, path
        self.descriptors[raw.fileno()] = path
        if buffering == 0:
            return raw
        kind = io.BufferedRandom if "+" in mode else io.BufferedWriter
        buffered = kind(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *more, **named)

    def os_open(
        self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        told = self.path_of(path, dir_fd)
        if told is not None and flags & os.O_CREAT:
            self.hook(Call("open", told))
        descriptor = self.kept["open"](path, flags, mode, dir_fd=dir_fd)
        if told is not None:
            self.descriptors[descriptor] = told
        return descriptor

    def close(self, descriptor: int) -> None:
        self.descriptors.pop(descriptor, None)
        self.kept["close"](descriptor)

    def fsync(self, descriptor: int) -> None:
        path = self.descriptors.get(descriptor)
        if path is not None:
            self.hook(Call("fsync", path))
        self.kept["fsync"](descriptor)

    def renamed(self, source: Any, target: Any, **named: Any) -> None:
        path, to = self.path_of(source), self.path_of(target)
        if path is not None and to is not None:
            self.hook(Call("rename", path, to))
        self.kept["replace"](source, target, **named)

    def changing(self, kind: str) -> Callable[..., None]:
        def changed(path: Any, *more: Any, dir_fd: int | None = None) -> None:
            told = self.path_of(path, dir_fd)
            if told is not None:
                self.hook(Call(kind, told))
            self.kept[kind](path, *more, dir_fd=dir_fd)

        return changed


@contextlib.contextmanager
def watched(root: Path, hook: Hook) -> Iterator[None]:
    """Call `hook` before each change of the disk below `root`; what it raises is the call's result.

    Descriptors are followed by number: files that were opened before are not seen.
    """
    watch = _Watch(root, hook)
    replacements = {
        "open": watch.os_open,
        "close": watch.close,
        "fsync": watch.fsync,
        "replace": watch.renamed,
        "rename": watch.renamed,
        **{kind: watch.changing(kind) for kind in ("mkdir", "unlink", "rmdir")},
    }
    try:
        for name, function in replacements.items():
            setattr(os, name, function)
        builtins.open = io.open = watch.opened  # type: ignore[assignment]
        yield
    finally:
        builtins.open = io.open = watch.kept_open
        for name, function in watch.kept.items():
            setattr(os, name, function)


def refusal(number: int, path: str, target: str = "") -> OSError:
    """What the system raises; for a write to an open file it names no path."""
    return OSError(number, os.strerror(number), *([path, None, target] if target else [path]))


class Refuse:
    """A hook that refuses call number `at` (from 1) of those in `kinds`, or all from there on.

    Attributes:
        calls: how many calls came by.
        refused: the calls that were refused.
    """

    KINDS = ("open", "write", "truncate", "fsync", "rename", "mkdir")

    def __init__(self, at: int, number: int, lasting: bool = False, kinds: tuple = KINDS):
        self.at, self.number, self.lasting, self.kinds = at, number, lasting, kinds
        self.calls, self.refused = 0, []

    def __call__(self, call: Call) -> None:
        if call.kind not in self.kinds:
            return
        self.calls += 1
        if self.calls == self.at or (self.lasting and self.calls > self.at):
            self.refused.append(call)
            if call.kind in ("write", "truncate", "fsync"):
                raise OSError(self.number, os.strerror(self.number))
            raise refusal(self.number, call.path, call.target)


# --- processes and places ------------------------------------------------------


def forked(work: Callable[[], None]) -> int:
    """The id of a forked process that does the work and exits: 0, or 70 with a traceback."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    """How a process ended: its exit code, or minus the signal's number."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@contextlib.contextmanager
def fast_directory() -> Iterator[Path]:
    """A directory in memory where there is one: what these tests ask does not depend on the disk,
    and thousands of flushes to a real one take minutes."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="limner-test-", dir=place))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def leftovers(run: Path) -> list[str]:
    """What a killed writer left below a run directory."""
    return sorted(str(path.relative_to(run)) for path in run.rglob(".tmp-*"))
