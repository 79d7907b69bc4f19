"""Files and directories that are there whole or not at all, and errors that name them."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from faults import Call, watched
from limner.core.files import named, whole_directory, whole_file, write_atomically

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Refuse:
    """Refuses the call of that number, and tells all of them."""

    def __init__(self, at: int = 0, number: int = errno.EIO):
        self.at, self.number, self.calls = at, number, []

    def __call__(self, call: Call) -> None:
        self.calls.append((call.kind, os.path.basename(call.path), os.path.basename(call.target)))
        if len(self.calls) == self.at:
            raise OSError(self.number, os.strerror(self.number))


def one_file(path: Path) -> None:
    write_atomically(path, b"new")


def streamed_file(path: Path) -> None:
    with whole_file(path) as temporary, named(temporary), open(temporary, "wb") as file:
        file.write(b"new")


def directory(path: Path) -> None:
    with whole_directory(path) as temporary:
        with named(temporary):
            (temporary / "inner").mkdir()
        for name in ("a", "inner/b"):
            with named(temporary / name), open(temporary / name, "wb") as file:
                file.write(b"new")


WRITERS: list[Callable[[Path], None]] = [one_file, streamed_file, directory]


def content(path: Path) -> bytes | None:
    if path.is_dir():
        return b"".join(p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file())
    return path.read_bytes() if path.exists() else None


def test_the_order_of_a_file(tmp_path):
    """Written, flushed, renamed, the name flushed; the directory above it was new."""
    (tmp_path / "top").mkdir()
    for write in (one_file, streamed_file):
        hook, place = Refuse(), tmp_path / "top" / write.__name__
        with watched(tmp_path / "top", hook):
            write(place / "a.txt")
        temporary = hook.calls[2][1]
        assert temporary.startswith(".tmp-a.txt-")
        assert hook.calls[:-1] == [
            ("mkdir", place.name, ""),
            ("fsync", "top", ""),
            ("open", temporary, ""),
            ("write", temporary, ""),
            ("fsync", temporary, ""),
            ("rename", temporary, "a.txt"),
            ("fsync", place.name, ""),
        ]
        assert hook.calls[-1] == ("unlink", temporary, "")  # for there may be one: not this time
        assert os.listdir(place) == ["a.txt"]


def test_the_order_of_a_directory(tmp_path):
    hook = Refuse()
    with watched(tmp_path, hook):
        directory(tmp_path / "out")
    kinds = [(kind, name) for kind, name, _ in hook.calls if kind in ("fsync", "rename")]
    temporary = hook.calls[0][1]
    assert sorted(kinds[:3]) == [("fsync", "a"), ("fsync", "b"), ("fsync", "inner")]
    assert kinds[3:] == [
        ("fsync", temporary),
        ("rename", temporary),
        ("fsync", tmp_path.name),
    ]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("write", WRITERS)
def test_a_refused_call_leaves_what_was_there_and_names_it(tmp_path, write, number):
    (tmp_path / "count").mkdir()
    counter = Refuse()
    with watched(tmp_path / "count", counter):
        write(tmp_path / "count" / "out")
    num_calls = sum(kind != "unlink" for kind, *_ in counter.calls)
    assert num_calls >= 5
    for at in range(1, num_calls + 1):
        root = tmp_path / f"{at}"
        root.mkdir()
        if write is not directory:
            (root / "out").write_bytes(b"old")
        before = content(root / "out")
        with watched(root, Refuse(at, number)), pytest.raises(OSError) as caught:
            write(root / "out")
        kept = content(root / "out")
        last = at == num_calls  # a new name that may not last: it is there, and whole
        assert kept == before or (last and kept in (b"new", b"newnew")), at
        assert os.listdir(root) == (["out"] if kept is not None else []), at
        line = str(caught.value)
        assert (caught.value.errno, caught.value.filename) == (number, str(root / "out")), at
        assert os.strerror(number) in line
        assert ("free on the disk" in line) == (number == errno.ENOSPC)
        assert ("3 bytes needed" in line) == (number == errno.ENOSPC and write is one_file)


def test_an_error_of_a_source_keeps_its_own_name(tmp_path):
    def read_meanwhile(error: OSError) -> OSError:
        with pytest.raises(OSError) as caught, whole_file(tmp_path / "a"):
            raise error
        assert not list(tmp_path.iterdir())
        return caught.value

    source = str(tmp_path.parent / "elsewhere" / "picture.png")
    missing = read_meanwhile(FileNotFoundError(errno.ENOENT, "gone", source))
    assert (type(missing), missing.filename) == (FileNotFoundError, source)
    assert read_meanwhile(OSError(errno.EIO, "unreadable")).filename is None
    assert read_meanwhile(OSError(*FULL.args)).filename == str(tmp_path / "a")


def test_an_error_of_a_library_keeps_its_own_words(tmp_path):
    def write() -> None:
        with whole_file(tmp_path / "a") as temporary, named(temporary):
            raise OSError("write failed: 5")

    with pytest.raises(OSError, match=r"^write failed: 5$"):
        write()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_whatever_ends_the_writing_leaves_nothing(tmp_path, error):
    for whole in (whole_file, whole_directory):

        def write(whole=whole) -> None:
            with whole(tmp_path / "a") as temporary:
                if whole is whole_file:
                    temporary.write_bytes(b"part")
                raise error

        with pytest.raises(error):
            write()
        assert not list(tmp_path.iterdir())


def test_an_empty_directory_may_be_there_and_a_full_one_stays(tmp_path):
    (tmp_path / "out").mkdir()
    directory(tmp_path / "out")
    assert content(tmp_path / "out") == b"newnew"
    (tmp_path / "out" / "a").write_bytes(b"mine")
    with pytest.raises(OSError, match="not empty"):
        directory(tmp_path / "out")
    assert content(tmp_path / "out") == b"minenew"
    assert os.listdir(tmp_path) == ["out"]
