"""What every reader of zip files shares: opening, names, members, and what damage raises."""

import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from limner.core.errors import DataError, printable

# What zipfile and its decompressors raise on damaged files.
ZIP_ERRORS = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, OSError, EOFError,
    ValueError, IndexError, KeyError, OverflowError, RuntimeError, MemoryError,
)  # fmt: skip
# The others ask for as much memory as the file says (LZMA up to 4 GB), or need newer Pythons.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_DRIVE = re.compile(r"[A-Za-z]:")
_LOCAL_HEADER_BYTES = 30


@contextmanager
def problems_as(error_class: type[Exception], where: str, remedy: str = "") -> Iterator[None]:
    """What a damaged zip raises becomes one line: "WHERE: reason; REMEDY"."""
    try:
        yield
    except error_class:
        raise
    except ZIP_ERRORS as error:
        reason = printable(str(error)[:200]) or type(error).__name__
        remedy = f"; {remedy}" if remedy else ""
        raise error_class(f"{where}: {reason}{remedy}" if where else reason + remedy) from None


def opened(path: str, what: str = "a zip") -> zipfile.ZipFile:
    """Read the zip's list of entries; DataError where it cannot be read."""
    with problems_as(DataError, f"{path}: cannot be read as {what}", "copy it or write it again"):
        return zipfile.ZipFile(path)


def problem_of_name(member: zipfile.ZipInfo) -> str:
    """Why a name is one that no honest archive holds, "" where it is fine. Nothing is ever
    unpacked under these names; who put them there meant somebody who does."""
    name = member.filename
    if "\0" in member.orig_filename:
        return "a NUL in its name"
    if not name:
        return "an entry without a name"
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        return "its name is an absolute path"
    if ".." in PurePosixPath(name.replace("\\", "/")).parts:
        return "its name leads outside the zip"
    if "\\" in name:
        return "a backslash in its name; build the zip with / between folders"
    return ""


def problem_of_member(member: zipfile.ZipInfo) -> str:
    """Why a member cannot be read, by its entry alone; "" where it can."""
    if member.flag_bits & 1:
        return "encrypted in the zip"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a symbolic link in the zip; not followed"
    if kind not in (0, stat.S_IFREG):
        return "not a file but a device or the like in the zip"
    if member.compress_type not in METHODS:
        return "compressed by a method other than deflate; build the zip again"
    return ""


def overlapping(members: list[zipfile.ZipInfo]) -> set[int]:
    """Offsets of the entries whose content lies inside that of the entry before: the trick by
    which a small archive claims the same bytes many times."""
    found: set[int] = set()
    end = -1
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            found.add(member.header_offset)
        # The local header repeats the name; an extra field could only make it longer.
        length = _LOCAL_HEADER_BYTES + len(member.orig_filename) + member.compress_size
        end = max(end, member.header_offset + length)
    return found
