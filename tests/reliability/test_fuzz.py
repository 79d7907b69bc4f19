"""T10: damaged and hostile files end in limner's own errors, within a second and 500 MB each.

Every reader is given damaged bytes, JSON changed in what it means, and structures that hypothesis
makes up, in a child with a limit of memory and a timer of processor time. What once broke lies in
data/regressions/READER/WHAT@FILE and is read again. The control reads the same damage as a plain
program would and fails in many ways.
"""

import gc
import io
import json
import pickle
import random
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzzing import CASE_BYTES, Progress, in_child, mutated, verdict
from limner.core.errors import LimnerError
from pictures import PNG
from processes import side_by_side
from readers import READERS, Reader
from sizes import sized, tallied

pytestmark = pytest.mark.reliability

SEED = 3
REGRESSIONS = Path(__file__).parent / "data" / "regressions"
SECONDS = sized(0.4, 60.0)
SIDE_SECONDS = sized(0.2, 20.0)  # readers beyond those that the issue lists
LEAST = 6  # cases, however slow they are
SIDE = (
    "prepared", "kept", "label-rows", "moments", "pictures", "pth", "biggan-pytorch", "pggan",
    "latents", "scored", "weights",
)  # fmt: skip

# --- structures that hypothesis makes up ----------------------------------------

TEXT = st.one_of(
    st.sampled_from(
        ["", "a/1.png", "../x.png", "/x.png", "C:\\x.png", "a\\b.png", "\0.png", "é.png"]
    ),
    st.text("ab/\\.:é图\n\0\ud800", max_size=12),
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), TEXT, st.sampled_from([2**70, 10**400])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


@st.composite
def edited(draw: st.DrawFn, files: dict[str, bytes]) -> tuple[str, bytes]:
    """A JSON file with the value at one place made up."""
    name = draw(st.sampled_from(sorted(n for n in files if n.endswith((".json", ".jsonl")))))
    lines = files[name].splitlines() if name.endswith("l") else [files[name]]
    tree = json.loads(lines[0])
    node, key = {"root": tree}, "root"
    while isinstance(node[key], (dict, list)) and node[key] and draw(st.integers(0, 4)):
        node = node[key]
        keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw(st.sampled_from(keys))
    node[key] = draw(JSON)
    lines[0] = json.dumps(tree).encode()
    return name, b"\n".join(lines) + b"\n"


@st.composite
def zips(draw: st.DrawFn) -> tuple[str, bytes]:
    """Entries with any name, kind, method and flag, and wrong sizes in the directory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for _ in range(draw(st.integers(0, 4))):
            entry = zipfile.ZipInfo("x" + draw(TEXT).replace("\0", "_"))
            entry.filename = entry.filename[1:].encode(errors="replace").decode()
            entry.external_attr = (
                draw(st.sampled_from([0, 0o120777, 0o010644, 0o100644, 0o060000])) << 16
            )
            entry.compress_type = draw(st.sampled_from([0, 8, 12]))
            held = archive.NameToInfo.pop(entry.filename, None)  # a second one without a warning
            large = bytes(2**20 + 1 if entry.compress_type else 2**10)  # hypothesis keeps the cases
            content = draw(st.sampled_from([PNG, b"", b"{}", large, PNG[:20]]))
            archive.writestr(entry, content)
            assert held is None or entry is not held
    data = bytearray(file.getvalue())
    directory = data.find(b"PK\x01\x02")
    if directory >= 0 and draw(st.booleans()):
        at = directory + draw(st.integers(4, 45))
        data[at : at + 4] = draw(st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\0\0\0"]))
    return "stored.zip", bytes(data)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, bytes]:
    """An .npy with any header and a body of its own."""
    descr = draw(
        st.sampled_from(["|u1", "<f4", "<i8", "|O", "<U4", "|V8", "<M8[s]", "|u99", "?"]) | TEXT
    )
    shape = draw(st.lists(st.sampled_from([-1, 0, 1, 2, 3, 6, 5, 2**31, 2**62]), max_size=6))
    header = {"descr": descr, "fortran_order": draw(st.booleans()), "shape": tuple(shape)}
    text = repr(header).encode(errors="replace") + b" " * draw(st.integers(0, 3)) + b"\n"
    version = draw(st.sampled_from([1, 2, 3, 9]))
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    name = draw(st.sampled_from(["images.npy", "labels.npy"]))
    return name, b"\x93NUMPY" + bytes((version, 0)) + length + text + bytes(
        draw(st.integers(0, 200))
    )


@st.composite
def pickles(draw: st.DrawFn) -> tuple[str, bytes]:
    """A program of allowed instructions in any order, or a wrong batch."""
    if draw(st.booleans()):
        batch = {"data": draw(JSON | st.just(np.zeros((2, 3072), np.uint8))), "labels": draw(JSON)}
        return "data_batch_1 p2", pickle.dumps(batch, draw(st.integers(0, 4)))
    parts = [
        b"}", b"]", b")", b"(", b"K\x05", b"U\x01a", b"N", b"s", b"u", b"a", b"e", b"t", b"\x86",
        b"q\x00", b"h\x00", b"R", b"b", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"l", b"d",
        b"cnumpy.core.multiarray\n_reconstruct\n", b"c_codecs\nencode\n", b"X\x01\x00\x00\x00a",
    ]  # fmt: skip
    program = draw(st.lists(st.sampled_from(parts), max_size=30))
    return "data_batch_1 p2", b"\x80\x02" + b"".join(program) + b"."


@st.composite
def programs(draw: st.DrawFn, name: str) -> tuple[str, bytes]:
    """A pickle of instructions in any order, with all that has a builder."""
    core = b"cnumpy.core.multiarray\n"
    parts = [
        b"}", b"]", b")", b"(", b"K\x02", b"U\x01a", b"N", b"s", b"u", b"a", b"e", b"t", b"\x85", b"\x86",
        b"q\x00", b"h\x00", b"R", b"b", b"0", b"1", b"2", b"l", b"d", b"\x81", b"\x8f", b"\x90", b"\x91",
        b"Q", b"cnumpy\ndtype\n", core + b"_reconstruct\n", core + b"scalar\n", b"cthing\nMaker\n",
        b"cnumpy.core.numeric\n_frombuffer\n", b"ccollections\nOrderedDict\n", b"U\x02f4\x85R",
        b"c_codecs\nencode\n", b"X\x06\x00\x00\x00latin1", b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x02tQ", b"K\x00K\x02\x85K\x01\x85",
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb", b"U\x08abcdefgh",
        b"ccopy_reg\n_reconstructor\n", b"ctorch\nSize\n", b"cbuiltins\nbytearray\n",
    ]  # fmt: skip
    program = draw(st.lists(st.sampled_from(parts), max_size=40))
    return name, b"\x80\x02" + b"".join(program) + b"."


def structures(reader: Reader) -> st.SearchStrategy[tuple[str, bytes]] | None:
    own: dict[str, Any] = {
        "zip": zips(), "npz": arrays(), "cifar": pickles(), "pickle": programs("p2.pkl"),
        "torch": programs("inside"),
    }  # fmt: skip
    if reader.name in own:
        return own[reader.name]
    has_json = any(name.endswith((".json", ".jsonl")) for name in reader.files)
    return edited(reader.files) if has_json else None


# --- the test -------------------------------------------------------------------


def fuzz(reader: Reader, seconds: float, progress: Progress) -> dict[str, Any]:
    """Read damage for so much time of the processor, half of it made up by hypothesis where there is
    something to make up; what went wrong, by number."""
    begin = time.process_time()
    strategy = structures(reader)
    end = begin + seconds
    middle = end if strategy is None else begin + seconds * 0.5
    problems: list[str] = []
    number, structured = 0, 0

    def judge(where: str, name: str, content: bytes) -> None:
        problem = verdict(lambda: reader.read(name, content))
        if problem:
            shown = f": {content!r:.200}" if where == "structure" else ""
            problems.append(f"{reader.name} {where} {name}{shown}: {problem}")

    while time.process_time() < middle or number < LEAST:
        progress.set(number)
        judge(f"case {number}", *mutated(reader.files, f"{reader.name}/{SEED}/{number}"))
        number += 1
    batch = 0
    while strategy is not None and time.process_time() < end:

        @seed(SEED + batch)  # in batches, because hypothesis keeps what it made up
        @settings(
            max_examples=100, database=None, deadline=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(strategy)
        def made_up(case: tuple[str, bytes]) -> None:
            nonlocal structured
            if time.process_time() < end:
                structured += 1
                judge("structure", *case)

        made_up()
        batch += 1
        gc.collect()
    return {"n": number, "structured": structured, "problems": problems}


@pytest.fixture(scope="module")
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What came of every reader that is asked for, two at a time."""
    asked = {item.name for item in request.session.items}
    names = [name for name in READERS if f"test_reader[{name}]" in asked]
    root = tmp_path_factory.mktemp("readers")

    def answer(name: str) -> dict[str, Any]:
        reader, begin = READERS[name](root / name), time.monotonic()
        for file, content in reader.files.items():
            reader.read(file, content)  # undamaged it is read, and what is slow once is done
        seconds = SIDE_SECONDS if name in SIDE else SECONDS
        found = in_child(lambda p: fuzz(reader, seconds, p), 6 * seconds + 60, CASE_BYTES)
        return {**found, "wall_seconds": round(time.monotonic() - begin, 1)}

    return dict(zip(names, side_by_side(answer, names), strict=True))


@pytest.mark.parametrize("name", READERS)
def test_reader(name: str, answers: dict):
    answer = answers[name]
    with tallied(f"T10 fuzz {name}", seed=SEED) as tally:
        assert "result" in answer, f"the child died in case {answer['progress']}: {answer['died']}"
        result = answer["result"]
        tally.n = result["n"] + result["structured"]
        tally.failures = len(result["problems"])
        tally.more = {
            "structured": result["structured"],
            "rise_mb": answer["rise"] >> 20,
            "seconds": answer["wall_seconds"],
        }
    assert result["problems"] == []
    assert result["n"] >= LEAST
    assert answer["rise"] < CASE_BYTES


def regressions(name: str) -> list[tuple[str, bytes]]:
    """(the file that it replaces, content) of all that once broke a reader."""
    return [
        (path.name.partition("@")[2].replace("+", "/").replace("~", " "), path.read_bytes())
        for path in sorted((REGRESSIONS / name).glob("*@*"))
    ]


def test_what_once_broke(tmp_path: Path):
    with tallied("T10 regressions") as tally:
        for name, make in READERS.items():
            cases = regressions(name)
            reader = make(tmp_path / name)
            for file, content in reader.files.items():
                reader.read(file, content)

            def replay(
                progress: Progress, reader: Reader = reader, cases: Any = cases
            ) -> list[str]:
                return [verdict(lambda f=f, c=c: reader.read(f, c)) for f, c in cases]

            answer = in_child(replay, 120, CASE_BYTES)
            assert "result" in answer, f"{name}: {answer}"
            for problem in answer["result"]:
                tally.count(not problem)
                assert problem == "", name
        assert tally.n >= 40


# --- the control: the same damage read without care -------------------------------


def _load_tensors(content: bytes) -> object:
    return torch.load(io.BytesIO(content), weights_only=False)


def _load_arrays(content: bytes) -> object:
    with np.load(io.BytesIO(content), allow_pickle=True) as held:
        return [held[key] for key in held]


def _read_log(content: bytes) -> object:
    return [json.loads(line)["step"] > 7 for line in content.splitlines()]


NAIVE: dict[str, Callable[[bytes], object]] = {
    "config": json.loads,
    "logs": _read_log,
    "npz": _load_arrays,
    "cifar": pickle.loads,
    "pth": _load_tensors,
}


def test_control_plain_readers_break(tmp_path: Path):
    """At least a fifth of the damage ends in an error that is not limner's."""
    foreign = dict.fromkeys(NAIVE, 0)
    for name, read in NAIVE.items():
        files = READERS[name](tmp_path / name).files
        cases = [mutated(files, f"{name}/{SEED}/{number}")[1] for number in range(20)]
        while cases:  # one child for all, and another after each that a case has ended

            def broken(progress: Progress, cases: Any = cases, read: Any = read) -> int:
                num = 0
                for number, content in enumerate(cases):
                    progress.set(number << 8 | num)
                    num += _broke(read, content)
                return num

            answer = in_child(broken, 20, CASE_BYTES)
            if "result" in answer:
                foreign[name] += answer["result"]
                break
            done, num = divmod(answer["progress"], 256)
            foreign[name] += num + 1
            cases = cases[done + 1 :]
    assert all(count >= 4 for count in foreign.values()), foreign


def _broke(read: Callable[[bytes], object], content: bytes) -> bool:
    try:
        read(content)
    except LimnerError:
        return False
    except BaseException:
        return True
    return False


@pytest.mark.parametrize(
    ("act", "found"),
    [
        (lambda: 1 // 0, "ZeroDivisionError"),
        (lambda: bytearray(2 * CASE_BYTES), "MemoryError"),
        (lambda: [i for i in range(10**12) if i < 0], "more than a second"),
        (lambda: time.sleep(60), "more than a second"),
    ],
)
def test_control_the_judge_sees_what_it_must(act: Callable[[], object], found: str):
    answer = in_child(lambda p: verdict(act, 2.0), 30, CASE_BYTES)
    assert found in answer["result"]
    assert verdict(lambda: None) == ""


def test_the_same_key_makes_the_same_case(tmp_path: Path):
    files = {"a.json": b'{"a": [1, 2, {"b": null}]}', "b": random.Random(0).randbytes(100)}
    cases = [mutated(files, f"x/{i}") for i in range(100)]
    assert cases == [mutated(files, f"x/{i}") for i in range(100)]
    assert len({content for _, content in cases}) > 60
    assert tempfile.gettempdir() not in str(cases)
