"""T7: every kind of bad picture through folder and zip, and bad arrays through npz, against a table.

The table, data/pictures.json, says of each kind what has to come of it: the sha256 of the prepared
pixels, or a part of the reason. It is compared with what `limner data prepare` makes, in a child
that may not hang, crash or grow. The control opens the same files as a loader of one line would.
`python tests/reliability/test_bad_pictures.py` (with tests/ on the path) writes the table anew.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fuzzing import Progress, in_child
from limner.cli.main import main
from pictures import ACCEPTED, COLOR, PNG, REFUSED, bomb, in_folder, in_zip, saved
from sizes import sized, tallied

pytestmark = pytest.mark.reliability

TABLE = Path(__file__).parent / "data" / "pictures.json"
RISE_BYTES = 300 * 2**20
MEMORY_BYTES = 600 * 2**20
NUM_FILES = sized(1_000, 10_000)
SCAN_SECONDS = 60.0

# --- kinds of array files -------------------------------------------------------

ROWS = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npz_of(header: str, body: bytes = b"", **more: bytes) -> bytes:
    """An .npz whose images.npy has this header, true or not."""
    file = io.BytesIO()
    text = header.encode() + b"\n"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
        archive.writestr("images.npy", start + text + body)
        for name, content in more.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def header(shape: str, descr: str = "|u1", fortran: bool = False) -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"


def flipped(content: bytes) -> bytes:
    at = len(content) // 3
    return content[:at] + bytes((content[at] ^ 255,)) + content[at + 1 :]


ARRAYS: dict[str, bytes] = {
    "good": npz(images=ROWS, labels=np.arange(2)),
    "channels first": npz(x=np.ascontiguousarray(ROWS.transpose(0, 3, 1, 2)), y=np.eye(2)),
    "gray": npz(images=ROWS[..., 0]),
    "labels [N, 1]": npz(images=ROWS, labels=np.arange(2)[:, None]),
    "empty file": b"",
    "text": b"hello, I am no array",
    "a zip without arrays": npz(),
    "arrays of other names": npz(pictures=ROWS),
    "no pictures": npz(images=ROWS[:0]),
    "pictures without pixels": npz(images=ROWS[:, :0]),
    "floats": npz(images=ROWS / 255),
    "16 bits": npz(images=ROWS.astype(np.uint16)),
    "truth values": npz(images=ROWS > 99),
    "texts": npz(images=np.array(["a", "b"])),
    "objects": npz(images=np.array([ROWS, None], object)),
    "two axes": npz(images=ROWS[0, :, :, 0]),
    "five axes": npz(images=ROWS[None]),
    "Fortran order": npz(images=np.asfortranarray(ROWS)),
    "nine channels": npz(images=np.zeros((2, 8, 8, 9), np.uint8)),
    "structured": npz(images=np.zeros(2, [("a", "u1"), ("b", "f4")])),
    "one label too few": npz(images=ROWS, labels=np.arange(1)),
    "labels that are floats": npz(images=ROWS, labels=np.array([0.5, 1])),
    "labels below zero": npz(images=ROWS, labels=np.array([-1, 0])),
    "labels of 2^40": npz(images=ROWS, labels=np.array([0, 2**40])),
    "labels of 2^64 - 1": npz(images=ROWS, labels=np.array([0, 2**64 - 1], np.uint64)),
    "labels with a nan": npz(images=ROWS, labels=np.array([[0, np.nan], [1, 0]])),
    "labels that are objects": npz(images=ROWS, labels=np.array([0, None], object)),
    "labels that are texts": npz(images=ROWS, labels=np.array(["cat", "dog"])),
    "a terabyte declared": npz_of(header("(1048576, 1024, 1024)")),
    "a terabyte declared and zeros": npz_of(header("(1048576, 1024, 1024)"), bytes(2**22)),
    "one picture of 200 MB": npz_of(header("(1, 14143, 14143)"), bytes(14143**2)),
    "sides below zero": npz_of(header("(-2, -8, 8, 3)"), bytes(384)),
    "sides that wrap": npz_of(header("(4294967296, 4294967296, 3)"), b""),
    "a header that is code": npz_of(header("(__import__('os').system('true'),)")),
    "a header of ten levels": npz_of(header("(" * 4000 + ")" * 4000)),
    "a header without an end": npz_of("{'descr': '|u1', 'shape': (2, 8"),
    "a type that numpy has not": npz_of(header("(2, 8, 8)", "|u99"), bytes(128)),
    "cut": npz(images=ROWS)[:-60],
    "flipped byte": flipped(npz(images=ROWS)),
    "labels of a terabyte": npz_of(
        header("(2, 8, 8)"), bytes(128),
        labels=b"\x93NUMPY\x01\x00\x46\x00" + header("(137438953472,)", "<i8").encode().ljust(69) + b"\n",
    ),
}  # fmt: skip

# --- kinds of things in a folder ---------------------------------------------------


def _pipe(root: Path) -> None:
    os.mkfifo(root / "bad.png")


def _socket(root: Path) -> None:
    here = os.getcwd()
    os.chdir(root)  # the path of a socket has at most 108 characters
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("bad.png")
    finally:
        os.chdir(here)


def _deep(root: Path) -> None:
    """1,500 folders in each other, made from inside because the path would be too long."""
    here = os.getcwd()
    os.chdir(root)
    try:
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)


def _links_that_double(root: Path) -> None:
    """40 folders, each with two links to the next: 2^40 ways to the last."""
    (root / "f0").mkdir()
    for number in range(40):
        (root / f"f{number + 1}").mkdir()
        for way in "ab":
            (root / f"f{number}" / way).symlink_to(root / f"f{number + 1}")


def _not_utf8(root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9.png")).write_bytes(PNG)


def _class_not_utf8(root: Path) -> None:
    (root / "good.png").unlink()
    for name in (b"a", b"caf\xe9"):
        (root / os.fsdecode(name)).mkdir()
        (root / os.fsdecode(name) / "1.png").write_bytes(PNG)


# name: (what it adds beside good.png, number of accepted, part of the reason or "")
FILES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "pipe": (_pipe, 1, "a pipe"),
    "socket": (_socket, 1, "a socket"),
    "device": (lambda root: (root / "bad.png").symlink_to("/dev/zero"), 1, "a device"),
    "link to nothing": (lambda root: (root / "bad.png").symlink_to("gone"), 1, "broken"),
    "link to itself": (lambda root: (root / "bad.png").symlink_to("bad.png"), 1, "broken"),
    "link to the folder around": (lambda root: (root / "l").symlink_to(root), 1, "contains it"),
    "links that double": (_links_that_double, 1, "read already"),
    "folders in each other": (_deep, 1, ""),
    "folder with a picture's name": (lambda root: (root / "bad.png").mkdir(), 1, ""),
    "name that is no UTF-8": (_not_utf8, 2, ""),
    "refused name that is no UTF-8": (
        lambda root: (root / os.fsdecode(b"caf\xe9.png")).write_bytes(b"x"), 1, "known format",
    ),
    "class that is no UTF-8": (_class_not_utf8, 2, ""),
    "name of two lines": (lambda root: (root / "a\nb\x1b[31m.png").write_bytes(b"x"), 1, "known format"),
    "name of 255 bytes": (lambda root: (root / ("n" * 251 + ".png")).write_bytes(PNG), 2, ""),
    "sparse file of 1 GB": (lambda root: _sparse(root / "bad.png", 2**30), 1, "larger than"),
    "sparse file of 200 MB": (lambda root: _sparse(root / "bad.png", 200 * 2**20), 1, "known format"),
}  # fmt: skip


def _sparse(path: Path, num_bytes: int) -> None:
    path.touch()
    os.truncate(path, num_bytes)


# --- the command ------------------------------------------------------------------


def command(source: Path, out: Path) -> dict[str, Any]:
    """`limner data prepare` in this process: exit code, lines of stderr, and what it made."""
    stdout, stderr = io.StringIO(), io.StringIO()
    arguments = ["data", "prepare", str(source), "--out", str(out), "--resolution", "8"]
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main(arguments)
    lines = stderr.getvalue().splitlines()
    answer: dict[str, Any] = {"code": code, "lines": lines, "sha256": "", "num": 0, "refused": []}
    if code == 0:
        info = json.loads((out / "dataset.json").read_bytes())
        pixels = np.load(out / "images.npy")
        answer["sha256"] = sha256_of(pixels)
        answer["num"], answer["refused"] = info["num_images"], info["refused"]
        shutil.rmtree(out)
    return answer


def sha256_of(pixels: np.ndarray) -> str:
    """Of shape and values of uint8 [N, 8, 8, C]."""
    content = str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()
    return hashlib.sha256(content).hexdigest()


def all_kinds() -> dict[str, dict[str, tuple[str, bytes]]]:
    """Section -> kind -> (file name, content)."""
    files = {**ACCEPTED, **REFUSED}
    pictures = {kind: (name, content) for kind, (name, content, _) in files.items()}
    return {
        "pictures": {**pictures, **large_pictures()},
        "npz": {kind: ("source.npz", content) for kind, content in ARRAYS.items()},
    }


def large_pictures() -> dict[str, tuple[str, bytes]]:
    """As cameras make them, and what only claims to be large."""
    photo = Image.new("RGBA", (6000, 4000), (200, 100, 50, 128))
    photo.paste((0, 0, 0, 255), (0, 0, 3000, 4000))
    deep = Image.fromarray(np.full((4000, 6000), 257 * 99, np.uint16))
    return {
        "photo of 24 megapixels, transparent": ("a.png", saved(photo, "PNG", compress_level=1)),
        "photo of 24 megapixels, 16 bits": ("a.png", saved(deep, "PNG", compress_level=1)),
        "bomb just below the limit": ("a.png", bomb(7000, 7000)),
    }


def outcome(section: str, kind: str, put: Callable[..., Path], root: Path) -> dict[str, Any]:
    """What the command says to one kind."""
    name, content = all_kinds_once()[section][kind]
    root.mkdir()
    if section == "npz":
        source = root / name
        source.write_bytes(content)
    else:
        source = put(root, name, content)
    answer = command(source, root / "out")
    shutil.rmtree(root)
    return answer


_kinds: dict[str, dict[str, tuple[str, bytes]]] = {}


def all_kinds_once() -> dict[str, dict[str, tuple[str, bytes]]]:
    if not _kinds:
        _kinds.update(all_kinds())
    return _kinds


def agrees(answer: dict[str, Any], expected: dict[str, str]) -> bool:
    """One line for a refusal, with the reason; the exact pixels for what is accepted."""
    if "accepted" in expected:
        return answer["code"] == 0 and answer["sha256"] == expected["accepted"]
    lines = answer["lines"]
    one_line = len(lines) == 1 and lines[0].startswith("limner data: ")
    return answer["code"] == 1 and one_line and expected["refused"] in lines[0]


WAYS: dict[str, list[tuple[str, Callable[..., Path]]]] = {
    "pictures": [("folder", in_folder), ("zip", in_zip)],
    "npz": [("npz", in_folder)],
}


@pytest.mark.parametrize("section", WAYS)
def test_every_kind_meets_the_table(section: str, tmp_path: Path):
    table = json.loads(TABLE.read_text())[section]
    kinds = all_kinds_once()[section]
    assert table.keys() == kinds.keys()
    assert len(kinds) >= 40

    def judge(progress: Progress) -> list[tuple[str, Any]]:
        wrong = []
        for number, kind in enumerate(kinds):
            for way, put in WAYS[section]:
                progress.set(number)
                signal.alarm(20)
                answer = outcome(section, kind, put, tmp_path / "work")
                signal.alarm(0)
                if not agrees(answer, table[kind]):
                    wrong.append((f"{kind} by {way}", answer))
        return wrong

    with tallied(f"T7 {section}") as tally:
        answer = in_child(judge, 240, MEMORY_BYTES)
        assert "result" in answer, f"{list(kinds)[answer['progress']]}: {answer}"
        tally.n = len(kinds) * len(WAYS[section])
        tally.failures = len(answer["result"])
        tally.more = {"kinds": len(kinds), "rise_mb": answer["rise"] >> 20}
    assert answer["result"] == []
    assert answer["rise"] < RISE_BYTES


def test_the_table_is_that_of_the_generator():
    """The pixels in the table are those that the test pictures were made from, and the reasons
    those that their list names: the table is no mere record of what the command did."""
    table = json.loads(TABLE.read_text())["pictures"]
    for kind, (_, _, pixels) in ACCEPTED.items():
        expected = pixels[None, :, :, None] if pixels.ndim == 2 else pixels[None]
        assert table[kind] == {"accepted": sha256_of(expected)}, kind
    for kind, (_, _, reason) in REFUSED.items():
        assert table[kind]["refused"], kind
        assert any(part in table[kind]["refused"] for part in reason.split("|")) or not reason


def test_what_lies_in_folders(tmp_path: Path):
    """Pipes, sockets, devices, links, names: nothing waits, everything is told in one line each."""
    with tallied("T7 files") as tally:
        rise = 0
        for kind, (add, num, reason) in FILES.items():
            source = in_folder(tmp_path, "good.png", PNG)
            try:
                add(source)
            except OSError:  # not every file system takes every name
                tally.more[f"not made: {kind}"] = True
                shutil.rmtree(source)
                continue

            def judge(_: Progress, source: Path = source) -> dict[str, Any]:
                signal.alarm(20)
                return command(source, tmp_path / "out")

            try:
                answer = in_child(judge, 30, MEMORY_BYTES)
            finally:  # Python's own removal recurses, and so would pytest's
                subprocess.run(["rm", "-rf", source], check=True)
            assert "result" in answer, f"{kind}: {answer}"
            result = answer["result"]
            told = [entry for entry in result["refused"] if reason and reason in entry["reason"]]
            good = result["code"] == 0 and result["num"] == num and bool(told) == bool(reason)
            whole = all("\n" not in f"{e['name']}{e['reason']}" for e in result["refused"])
            tally.count(good and whole)
            assert good, (kind, result)
            assert whole, kind
            rise = max(rise, answer["rise"])
        tally.more["rise_mb"] = rise >> 20
        assert tally.n >= len(FILES) - 3
    assert rise < RISE_BYTES


def test_a_large_folder_is_scanned(tmp_path: Path):
    """One file in ten is bad in some way; the hard limit is that of the plan."""
    bad = [content for name, content, _ in REFUSED.values() if len(content) < 10_000]
    for number in range(NUM_FILES):
        is_bad = number % 10 == 9
        content = bad[number // 10 % len(bad)] if is_bad else PNG
        (tmp_path / "source" / f"{number % 100:02}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / f"{number % 100:02}" / f"{number}.png").write_bytes(content)
    with tallied("T7 scan") as tally:
        answer = in_child(
            lambda _: command(tmp_path / "source", tmp_path / "out"), SCAN_SECONDS, MEMORY_BYTES
        )
        assert "result" in answer, answer
        result = answer["result"]
        tally.n, tally.failures = NUM_FILES, abs(result["num"] - NUM_FILES * 9 // 10)
        tally.more = {"refused": len(result["refused"]), "rise_mb": answer["rise"] >> 20}
    assert result["num"] == NUM_FILES * 9 // 10
    assert len({entry["name"] for entry in result["refused"]}) == NUM_FILES // 10
    assert len([line for line in result["lines"] if "refused" in line]) == NUM_FILES // 10
    assert answer["rise"] < RISE_BYTES


@pytest.mark.parametrize("kind", ["pipe", "name that is no UTF-8", "name of two lines"])
def test_the_command_itself(kind: str, tmp_path: Path):
    FILES[kind][0](in_folder(tmp_path, "good.png", PNG))
    done = subprocess.run(
        [sys.executable, "-m", "limner", "data", "prepare", "source", "--out", "out", "--resolution", "8"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if "refused" in line]
    assert len(lines) == (1 if FILES[kind][2] else 0)
    assert "\x1b" not in done.stderr + done.stdout


# --- the control ---------------------------------------------------------------------


def careless(content: bytes) -> np.ndarray:
    """The loader of one line that most training code has."""
    image = Image.open(io.BytesIO(content)).convert("RGB").resize((8, 8))
    return np.asarray(image)


def test_control_a_careless_loader_is_wrong_often():
    """Wrong pixels for at least 8 kinds, errors of a library's own for at least 10."""
    wrong, foreign = [], []
    for kind, (_, content, expected) in ACCEPTED.items():
        wanted = np.repeat(expected[:, :, None], 3, 2) if expected.ndim == 2 else expected
        with contextlib.suppress(Exception):
            if (careless(content) != wanted).any():
                wrong.append(kind)
    for kind, (_, content, _) in REFUSED.items():
        if "bomb" in kind:
            continue
        try:
            careless(content)
        except Exception:
            foreign.append(kind)
    assert {"16-bit tiff", "turned by 90 degrees", "floats 0..1"} <= set(wrong)
    assert len(wrong) >= 8
    assert len(foreign) >= 10


def test_control_a_careless_loader_waits_at_a_pipe(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.png")
    answer = in_child(lambda _: Image.open(tmp_path / "pipe.png").size, 1.0, MEMORY_BYTES)
    assert "SIGKILL" in answer["died"]


def test_control_other_pixels_do_not_meet_the_table():
    table = json.loads(TABLE.read_text())["pictures"]
    assert table["png"] == {"accepted": sha256_of(COLOR[None])}
    changed = COLOR.copy()
    changed[0, 0, 0] ^= 1
    answer = {"code": 0, "sha256": sha256_of(changed[None]), "lines": []}
    assert not agrees(answer, table["png"])
    assert not agrees({**answer, "code": 1, "lines": ["a", "b"]}, table["empty"])


def shortened(kind: str, line: str) -> str:
    """The part of a reason that does not depend on the version of a library or on a path."""
    parts = REFUSED[kind][2].split("|") if kind in REFUSED else []
    words = [part for part in parts if part and part in line]
    words += [
        word for word in ("truncated", "broken data", "known format", "decoder") if word in line
    ]
    if words:
        return words[0]
    return line.partition("source.npz: ")[2].partition(";")[0].partition(" (its")[0] or line


def write_table(root: Path) -> None:
    """The table of what the command does now; read the difference before committing it."""
    table: dict[str, dict[str, dict[str, str]]] = {}
    for section, kinds in all_kinds_once().items():
        table[section] = {}
        for kind in kinds:
            answer = outcome(section, kind, WAYS[section][0][1], root / "work")
            if answer["code"] == 0:
                table[section][kind] = {"accepted": answer["sha256"]}
            else:
                table[section][kind] = {"refused": shortened(kind, answer["lines"][-1])}
    TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write_table(Path(sys.argv[1]))
