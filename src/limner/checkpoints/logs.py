"""JSON-lines files that may end in half a line, because a process died while writing it."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from limner.core.errors import CheckpointError, DiskError
from limner.core.files import write_atomically, write_problem


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Add one record as a line and hand it to the operating system at once.

    A half line that a dead process left at the end is cut off first. Numbers that are not finite
    become null, since JSON has none.

    Raises:
        DiskError: the line could not be written, and no part of it is left.
    """
    line = _line_of(record)
    try:
        with open(path, "a+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            if end and not _ends_in_newline(file):
                end, line = _without_half_line(file, line)
            _write_whole(file, line, end)
    except OSError as error:
        problem = write_problem(error, path, len(line))
        raise DiskError(f"{problem}; the line was not written, what was there stays") from None


def _without_half_line(file: Any, line: bytes) -> tuple[int, bytes]:
    """Cut a file behind its last newline: the new length, and what to write. A last line that only
    lacks its newline is written again, before `line`."""
    file.seek(0)
    whole, tail = _split_tail(file.readall())
    file.truncate(len(whole))
    return len(whole), line if _parsed(tail) is None else tail + b"\n" + line


def _write_whole(file: Any, content: bytes, end: int) -> None:
    """Write at the end all of it, or nothing: the system may take a part and then refuse."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        with contextlib.suppress(OSError):  # then the next start cuts it off
            file.truncate(end)
        raise


def _ends_in_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _line_of(record: Mapping[str, Any]) -> bytes:
    """JSON and a newline; halves of characters, as odd file names have them, become escapes."""
    text = json.dumps(_finite(record), allow_nan=False, ensure_ascii=False)
    return text.encode(errors="backslashreplace") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _split_tail(content: bytes) -> tuple[bytes, bytes]:
    """Everything up to the last newline, and what follows it."""
    end = content.rfind(b"\n") + 1
    return content[:end], content[end:]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("step", 0)) is not int:
        return None
    return record


def read_lines(
    path: Path, is_record: Callable[[dict[str, Any]], bool] = lambda record: True
) -> list[dict[str, Any]]:
    """All records of a file, without a torn last one; an absent file holds none. Raises
    CheckpointError with file and line where one before the last is no object with what its readers
    need (`is_record`)."""
    return GrowingLog(Path(path), is_record).more()[1]


class GrowingLog:
    """A log that is read again and again, each line of it once. A file that was replaced or cut, or
    has another line where the last known one was, is read anew."""

    def __init__(self, path: Path, is_record: Callable[[dict[str, Any]], bool]):
        self._path, self._is_record = path, is_record
        self._begin()

    def _begin(self) -> None:
        self._inode, self._count, self._end, self._last = -1, 0, 0, b""

    def more(self) -> tuple[bool, list[dict[str, Any]]]:
        """Whether the file was read anew, and the records that no call has given yet; a last line
        without its newline is given again by the next one. Errors as `read_lines`'s."""
        inode, content = self._unread()
        anew = inode != self._inode
        whole, tail = _split_tail(content)
        lines = whole.split(b"\n")[:-1]
        found = self._checked(_records(lines, tail))
        self._inode, self._count = inode, self._count + len(lines)
        self._end += len(whole)
        self._last = lines[-1] + b"\n" if lines else self._last
        return anew, found

    def _unread(self) -> tuple[int, bytes]:
        """The file's inode, and its bytes after the last known line; all of them where it begins
        anew."""
        try:
            with open(self._path, "rb") as file:
                inode = os.fstat(file.fileno()).st_ino
                file.seek(self._end - len(self._last))
                content = file.read()
                if inode != self._inode or not content.startswith(self._last):
                    self._begin()
                    file.seek(0)
                    content = file.read()
        except FileNotFoundError:
            self._begin()
            return 0, b""
        return inode, content[len(self._last) :]

    def _checked(self, records: list[dict[str, Any] | None]) -> list[dict[str, Any]]:
        for number, record in enumerate(records, start=self._count + 1):
            if record is None or not self._is_record(record):
                raise _damaged(self._path, number)
        return [record for record in records if record is not None]


def _records(lines: list[bytes], tail: bytes) -> list[dict[str, Any] | None]:
    """The record of each line, None for one that is damaged, without a torn last one."""
    records, last = [_parsed(line) for line in lines], _parsed(tail)
    return records if last is None else [*records, last]


def _damaged(path: Path, number: int) -> CheckpointError:
    return CheckpointError(f"{path}: line {number} is not a JSON object; remove that line")


def truncate_lines(path: Path, step: int, strict: bool = True) -> None:
    """Drop the records beyond a step and a torn last line: the old file, or the new one, whole.

    A checkpoint is written after the lines up to its step were flushed. Lines behind them may be
    damaged by a loss of power (a disk may write the second of two lines and not the first), and
    are beyond the step or of no consequence; they are dropped too. Before one of that step or
    earlier, if `strict`, a damaged line means that results are gone: CheckpointError with file and
    line.
    """
    if not path.exists():
        return
    before = path.read_bytes()
    whole, tail = _split_tail(before)
    records = _records(whole.split(b"\n")[:-1], tail)
    last = max((k for k, r in enumerate(records) if r and r.get("step", step) <= step), default=-1)
    if strict and None in records[: last + 1]:
        raise _damaged(path, records.index(None) + 1)
    kept = [record for record in records if record and record.get("step", step) <= step]
    content = b"".join(map(_line_of, kept))
    if content != before:
        write_atomically(path, content)
