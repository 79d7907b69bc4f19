"""JSON-lines files that may end in half a line, because a process died while writing it."""

import contextlib
import json
import math
import os
from collections.abc import Mapping
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
    text = json.dumps(_finite(record), allow_nan=False, ensure_ascii=False)
    line = text.encode() + b"\n"
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
    return record if isinstance(record, dict) else None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All records of a file, without a torn last one; an absent file holds none.

    Raises:
        CheckpointError: a line before the last is no JSON object; names file and line.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return []
    whole, tail = _split_tail(content)
    records = []
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        record = _parsed(line)
        if record is None:
            raise CheckpointError(f"{path}: line {number} is not a JSON object; remove that line")
        records.append(record)
    last = _parsed(tail)
    return records if last is None else [*records, last]


def truncate_lines(path: Path, step: int) -> None:
    """Drop the records beyond a step and a torn last line: the old file, or the new one, whole."""
    if not path.exists():
        return
    kept = [record for record in read_lines(path) if record.get("step", step) <= step]
    lines = [json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n" for record in kept]
    content = "".join(lines).encode()
    if content != path.read_bytes():
        write_atomically(path, content)
