"""T8: hostile archives through `limner data prepare` and `limner data report`.

Nothing is ever written outside the target, what is written stays below the size of what was asked
for, and every bad entry is refused with a reason. The control unpacks the same archives as a
careless program would and writes outside.
"""

import contextlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fuzzing import Progress, in_child
from limner.cli.main import main
from pictures import PNG
from sizes import sized, tallied

pytestmark = pytest.mark.reliability

ELSEWHERE = tempfile.gettempdir()  # where an absolute name would lead
SECONDS, MEMORY_BYTES = 20.0, 700 * 2**20
RISE_BYTES = 300 * 2**20
OUT_BYTES = 100_000  # a handful of 8x8 pictures with everything beside them
NUM_REAL_ENTRIES = sized(5_000, 100_000)


def packed(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED, **fields: int) -> bytes:
    """A zip with a good picture and these entries; `fields` are set on each of their ZipInfos."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that occur twice
        archive.writestr("good.png", PNG)
        for name, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = method
            for field, value in fields.items():
                setattr(info, field, value)
            archive.writestr(info, content)
    return file.getvalue()


def renamed(content: bytes, old: bytes, new: bytes) -> bytes:
    """Other bytes in a name, of the same length, which zipfile would not write."""
    assert len(old) == len(new)
    assert old in content
    return content.replace(old, new)


def with_flag(content: bytes, at: int, mask: int) -> bytes:
    """A bit set in the last entry of the directory."""
    data = bytearray(content)
    data[data.rindex(b"PK\x01\x02") + at] |= mask
    return bytes(data)


def lying_count(content: bytes, count: int) -> bytes:
    """An end record that declares so many entries."""
    data = bytearray(content)
    end = data.rindex(b"PK\x05\x06")
    struct.pack_into("<HH", data, end + 8, count & 0xFFFF, count & 0xFFFF)
    return bytes(data)


def lying_count_64(content: bytes) -> bytes:
    """The same in the 64-bit form, with 10^6 entries and a directory of 46 MB."""
    end = content.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", content, end + 16)[0]
    record = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**6, 10**6, 46 * 10**6, start
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    last = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    return content[:end] + record + locator + last


def overlapping() -> bytes:
    """Two entries of the directory that claim the bytes of one."""
    data = packed(("a.png", PNG), ("b.png", PNG))
    archive = zipfile.ZipFile(io.BytesIO(data))
    first = archive.getinfo("a.png").header_offset
    changed = bytearray(data)
    struct.pack_into("<I", changed, changed.rindex(b"PK\x01\x02") + 42, first)
    return bytes(changed)


def many_entries() -> bytes:
    """A directory of real entries that all name the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("00000.png", PNG)
    data = file.getvalue()
    start, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    names = (b"%05d.png" % number for number in range(NUM_REAL_ENTRIES))
    records = b"".join(data[start:end].replace(b"00000.png", name) for name in names)
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(records), start, 0)
    return data[:start] + records + tail


def bomb_in_a_bomb() -> bytes:
    """42.zip in small: a zip of zeros in a zip."""
    inner = packed(("zeros.png", bytes(30 * 2**20)), method=zipfile.ZIP_DEFLATED)
    return packed(("inner.png", inner), ("inner.zip", inner), method=zipfile.ZIP_DEFLATED)


def tar_of_devices() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind in (("dev.png", tarfile.CHRTYPE), ("../hard.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return file.getvalue()


SLIP = "its name leads outside the zip"
ABSOLUTE = "its name is an absolute path"
# name: (archive, part of the reason for the bad entry; "" where all is good; None: refused whole)
ARCHIVES: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "a path that climbs": (lambda: packed(("../../climbed.png", PNG)), SLIP),
    "a path that climbs inside": (lambda: packed(("a/../../climbed.png", PNG)), SLIP),
    "a path that climbs, other file": (lambda: packed(("../climbed.sh", b"true")), SLIP),
    "an absolute path": (lambda: packed((f"{ELSEWHERE}/limner-absolute.png", PNG)), ABSOLUTE),
    "a drive letter": (lambda: packed(("C:\\limner.png", PNG)), ABSOLUTE),
    "a share": (lambda: packed(("\\\\host\\share.png", PNG)), ABSOLUTE),
    "backslashes that climb": (lambda: packed(("..\\..\\climbed.png", PNG)), SLIP),
    "a backslash": (lambda: packed(("a\\b.png", PNG)), "backslash"),
    "a symbolic link": (
        lambda: packed(("link.png", b"/etc/passwd"), external_attr=0o120777 << 16),
        "symbolic link",
    ),
    "a link to a folder and a file in it": (
        lambda: packed(("dir.png", ELSEWHERE.encode()), external_attr=0o120777 << 16),
        "symbolic link",
    ),
    "a device": (lambda: packed(("dev.png", b""), external_attr=0o020666 << 16), "device"),
    "a pipe": (lambda: packed(("pipe.png", b""), external_attr=0o010666 << 16), "device"),
    "a NUL in a name": (
        lambda: renamed(packed(("a.png_.sh", PNG)), b"a.png_.sh", b"a.png\0.sh"),
        "NUL",
    ),
    "a name twice": (lambda: packed(("good.png", PNG)), "occurs twice"),
    "a count of 65,000": (lambda: lying_count(packed(), 65_000), ""),
    "a count of none": (lambda: lying_count(packed(), 0), ""),
    "a count of 10^6 in 64 bits": (lambda: lying_count_64(packed()), None),
    "entries that name the same bytes": (many_entries, None),
    "a ratio above 100": (
        lambda: packed(("bomb.png", bytes(30 * 2**20)), method=zipfile.ZIP_DEFLATED),
        "100-fold",
    ),
    "a ratio above 100, bzip2": (
        lambda: packed(("bomb.png", bytes(30 * 2**20)), method=zipfile.ZIP_BZIP2),
        "100-fold",
    ),
    "a bomb in a bomb": (bomb_in_a_bomb, "known format"),
    "overlapping entries": (overlapping, "overlaps"),
    "an encrypted entry": (lambda: with_flag(packed(("secret.png", PNG)), 8, 1), "encrypted"),
    "a method that nobody has": (lambda: with_flag(packed(("odd.png", PNG)), 10, 99), "method"),
    "a tar of devices and links": (tar_of_devices, None),
    "a directory that is cut": (lambda: packed(("a.png", PNG))[:-40], None),
}  # fmt: skip


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Every entry below a folder with its size and time of change."""
    found = {}
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            status = os.lstat(Path(folder) / name)
            found[str((Path(folder) / name).relative_to(root))] = (
                status.st_size,
                status.st_mtime_ns,
            )
    return {name: fact for name, fact in found.items() if not (root / name).is_dir()}


def command(arguments: list[str]) -> tuple[int, str, str]:
    """The public command in this process: exit code, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


def prepared(archive: Path, out: Path) -> dict[str, Any]:
    """What the command makes of an archive, and its report on it."""
    options = ["--resolution", "8", "--labels", "none", "--json"]
    code, _, err = command(["data", "prepare", str(archive), "--out", str(out), *options])
    report_code, _, report_err = command(["data", "report", str(archive), "--json"])
    info = json.loads((out / "dataset.json").read_bytes()) if code == 0 else {"refused": []}
    reasons = [f"{entry['name']}: {entry['reason']}" for entry in info["refused"]]
    return {
        "code": code, "err": err.splitlines(), "reasons": reasons,
        "num": info.get("num_images", 0), "report": [report_code, report_err.splitlines()],
    }  # fmt: skip


def test_hostile_archives(tmp_path: Path):
    """Each in a folder of its own; the child works three folders below what is compared."""
    work = tmp_path / "a" / "b" / "work"
    work.mkdir(parents=True)
    rise, written = 0, 0
    with tallied("T8 archives") as tally:
        for kind, (make, reason) in ARCHIVES.items():
            archive = work / ("evil.zip" if reason is not None or "tar" not in kind else "evil.tar")
            archive.write_bytes(make())
            before, beside = listing(tmp_path), set(os.listdir(ELSEWHERE))

            def judge(_: Progress, archive: Path = archive) -> dict[str, Any]:
                os.chdir(work)
                return prepared(archive, work / "out")

            answer = in_child(judge, SECONDS, MEMORY_BYTES)
            assert "result" in answer, f"{kind}: {answer}"
            after = {
                n: fact
                for n, fact in listing(tmp_path).items()
                if not n.startswith("a/b/work/out/")
            }
            result = answer["result"]
            tally.count(after == before and _as_expected(result, reason))
            assert after == before, kind
            assert not any(
                name.startswith(("limner-absolute", "climbed"))
                for name in beside ^ set(os.listdir(ELSEWHERE))
            )
            assert _as_expected(result, reason), (kind, result)
            made = sum(size for size, _ in listing(work / "out").values())
            assert made <= OUT_BYTES, kind
            rise, written = max(rise, answer["rise"]), max(written, made)
            shutil.rmtree(work / "out", ignore_errors=True)
            archive.unlink()
        tally.more = {"rise_mb": rise >> 20, "most_bytes_written": written}
    assert rise < RISE_BYTES


def _as_expected(result: dict[str, Any], reason: str | None) -> bool:
    if result["report"][0] not in (0, 1) or len(result["report"][1]) > 1:
        return False
    if reason is None:
        return result["code"] == 1 and len(result["err"]) == 1
    told = any(reason in line for line in result["reasons"])
    return result["code"] == 0 and (told if reason else not result["reasons"])


@pytest.mark.parametrize("kind", ["a path that climbs", "a count of 10^6 in 64 bits"])
def test_the_command_itself(tmp_path: Path, kind: str):
    make, reason = ARCHIVES[kind]
    (tmp_path / "evil.zip").write_bytes(make())
    arguments = ["data", "prepare", "evil.zip", "--out", "out", "--resolution", "8"]
    done = subprocess.run(
        [sys.executable, "-m", "limner", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == (1 if reason is None else 0)
    assert "Traceback" not in done.stderr
    expected = {"evil.zip"} if reason is None else {"evil.zip", "out"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert not list(tmp_path.parent.glob("climbed*"))


def careless(archive: Path, target: Path) -> None:
    """What a program of a few lines does: each entry to the path that its name says."""
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            path = target / entry.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(opened.read(entry))


def test_control_a_careless_program_writes_outside(tmp_path: Path):
    outside = 0
    for kind in (
        "a path that climbs",
        "a path that climbs inside",
        "a path that climbs, other file",
    ):
        root = tmp_path / kind
        target = root / "a" / "b" / "out"
        target.mkdir(parents=True)
        (root / "a" / "b" / "evil.zip").write_bytes(ARCHIVES[kind][0]())
        before = listing(root)
        careless(root / "a" / "b" / "evil.zip", target)
        new = listing(root).keys() - before.keys()
        outside += any(not name.startswith("a/b/out/") for name in new)
    assert outside == 3
