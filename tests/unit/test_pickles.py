"""Foreign pickles: what comes out of them, and that nothing in them ever runs."""

import collections
import io
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hostile import (
    BOMBS,
    EMPTY_THREATS,
    HARMFUL,
    as_torch_legacy,
    as_torch_zip,
    named,
    program,
    text,
)
from limner.core.errors import CheckpointError, RefusedFile
from limner.formats.pickles import Name, Record, read_pickle
from limner.formats.torch_files import read_torch
from readers.base import saved_by_torch

FORMS = {"pickle": lambda c: c, "zip": as_torch_zip, "legacy": as_torch_legacy}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def read(path: Path):
    return (read_pickle if path.name.startswith("pickle") else read_torch)(path)


# --- what is read --------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(tmp_path, protocol):
    tree = {
        "a": [1, -2.5, None, True, False, 2**70, "é\n", b"\0\xff"],
        7: (1, (2, [3, ()]), {}),
        "long": "x" * 300,
    }
    path = written(tmp_path / "a", pickle.dumps(tree, protocol))
    assert read_pickle(path) == tree


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i8", "u1", "?", "c8", "f2"])
def test_arrays_come_back(tmp_path, protocol, dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    held = {"c": array, "f": np.asfortranarray(array), "again": array, "none": array[:0]}
    path = written(tmp_path / "a", pickle.dumps(held, protocol))
    for name, found in read_pickle(path).items():
        assert found.dtype == held[name].dtype
        np.testing.assert_array_equal(found, held[name])


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_scalars_and_ordered_dicts_become_plain(tmp_path, protocol):
    held = {"iou": np.float64(1.25), "n": np.int64(3), "yes": np.bool_(True)}
    path = written(tmp_path / "a", pickle.dumps(collections.OrderedDict(held), protocol))
    found = read_pickle(path)
    assert found == {"iou": 1.25, "n": 3, "yes": True}
    assert [type(v) for v in found.values()] == [float, int, bool]


class Unknown:
    def __init__(self):
        self.weight = np.ones(2, np.float32)


@pytest.mark.parametrize("protocol", range(6))
def test_an_object_of_an_unknown_class_is_a_record_of_its_state(tmp_path, protocol):
    content = pickle.dumps([Unknown()], protocol)
    own = __name__.encode()
    content = content.replace(own, b"x" * len(own))
    (found,) = read_pickle(written(tmp_path / "a", content))
    assert isinstance(found, Record)
    assert found.of.name == "Unknown"
    assert found.of.module == "x" * len(own)
    np.testing.assert_array_equal(found.state["weight"], [1, 1])


def test_a_class_that_is_known_here_stays_a_record_too(tmp_path):
    path = written(tmp_path / "a", pickle.dumps(torch.nn.ReLU(inplace=True), 2))
    found = read_pickle(path)
    assert found.of == Name("torch.nn.modules.activation", "ReLU")
    assert found.state["inplace"] is True


def test_a_bare_name_is_only_text(tmp_path):
    path = written(tmp_path / "a", program(named("no.such.module", "thing")))
    assert read_pickle(path) == Name("no.such.module", "thing")
    assert "no" not in sys.modules


def test_records_take_items_entries_and_keywords(tmp_path):
    maker = named("thing", "Maker")
    content = b"\x80\x04" + maker + b")\x81" + b"K\x01a" + text("k") + b"K\x02s."
    found = read_pickle(written(tmp_path / "a", content))
    assert (found.items, found.entries) == ([1], {"k": 2})
    content = b"\x80\x04" + maker + b"K\x05\x85}" + text("k") + b"K\x02s\x92."
    found = read_pickle(written(tmp_path / "b", content))
    assert (found.args, found.entries) == ((5,), {"k": 2})


def test_builders_of_the_caller_are_used(tmp_path):
    path = written(tmp_path / "a", program(named("thing", "Pair"), b"K\x01K\x02\x86R"))
    assert read_pickle(path, {("thing", "Pair"): lambda args: sum(args)}) == 3


# --- torch's files --------------------------------------------------------------

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64,
]  # fmt: skip


def torch_tree():
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "state": {i: torch.arange(6).reshape(2, 3).to(d) for i, d in enumerate(DTYPES)},
        "views": [base, base[1:3, ::2], base.T, base[2], base[:, :0]],
        "scalar": torch.tensor(3.5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "module": torch.nn.Linear(2, 1).state_dict(),
        "plain": [1, None, (2.0, "x")],
        "shape": torch.ones(2, 3).shape,
    }


def flat(tree, path=()):
    if isinstance(tree, dict):
        return {k: v for key in tree for k, v in flat(tree[key], (*path, key)).items()}
    if isinstance(tree, (list, tuple)):
        return {k: v for i, item in enumerate(tree) for k, v in flat(item, (*path, i)).items()}
    return {path: tree}


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_those_of_torch_load(tmp_path, zipped):
    path = tmp_path / "a.pth"
    torch.save(torch_tree(), path, _use_new_zipfile_serialization=zipped)
    found, expected = flat(read_torch(path)), flat(torch.load(path, weights_only=True))
    assert list(found) == list(expected)
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value), key
        else:
            assert found[key] == value


@pytest.mark.parametrize("zipped", [True, False])
def test_a_saved_module_is_a_record_with_its_tensors(tmp_path, zipped):
    path = tmp_path / "a.pth"
    module = torch.nn.Linear(2, 1)
    torch.save({"config": {"act": torch.nn.ReLU()}, "net": module}, path,
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    found = read_torch(path)
    assert found["config"]["act"].of.name == "ReLU"
    assert torch.equal(found["net"].state["_parameters"]["weight"], module.weight)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_cut_file_is_refused(tmp_path, zipped):
    content = saved_by_torch({"w": torch.arange(1000.0)}, zipped)
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        path = written(tmp_path / "a.pth", content[: int(len(content) * share)])
        reason = "a zip file without its end" if zipped and share else ""
        with pytest.raises(CheckpointError, match=rf"a\.pth: .*{reason}"):
            read_torch(path)


def tensor_program(offset=0, shape=(2,), strides=(1,), numel=2, kind="FloatStorage", key="0"):
    """One tensor, described as a file may."""
    number = lambda n: b"\x8a\x08" + int(n).to_bytes(8, "little", signed=True)  # noqa: E731
    row = lambda values: b"(" + b"".join(map(number, values)) + b"t"  # noqa: E731
    pid = b"(" + text("storage") + named("torch", kind) + text(key) + text("cpu") + number(numel)
    rest = number(offset) + row(shape) + row(strides)
    return program(named("torch._utils", "_rebuild_tensor_v2"), b"(" + pid + b"tQ", rest, b"tR")


def test_the_tensor_program_is_read(tmp_path):
    content = as_torch_zip(tensor_program(), {"0": np.array([1, 2], np.float32).tobytes()})
    assert read_torch(written(tmp_path / "a.pth", content)).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset": 1}, "beyond its storage"),
        ({"offset": -1}, "do not fit"),
        ({"shape": (3,)}, "beyond its storage"),
        ({"strides": (-1,)}, "do not fit"),
        ({"strides": (1, 1)}, "do not fit"),
        ({"shape": (2**40,), "strides": (0,)}, "unfold"),
        ({"shape": (2**62, 2**62), "strides": (0, 0)}, "unfold"),
        ({"shape": (1,) * 17, "strides": (1,) * 17}, "17 dimensions"),
        ({"numel": 2**60}, "larger than the file"),
        ({"numel": -1}, "no number"),
        ({"numel": 3}, "has 8 bytes"),
        ({"kind": "QInt8Storage"}, "QInt8Storage"),
        ({"key": "../../x"}, "x"),
    ],
)
def test_a_tensor_that_is_not_in_the_file_is_refused(tmp_path, change, message):
    content = as_torch_zip(tensor_program(**change), {"0": np.array([1, 2], np.float32).tobytes()})
    with pytest.raises(CheckpointError, match=message):
        read_torch(written(tmp_path / "a.pth", content))


def test_many_views_of_one_storage_are_refused(tmp_path):
    one = tensor_program(shape=(4096,), numel=4096)[2:-1]
    many = program(b"](" + (one + b"q\x00") * 600 + b"e")
    content = as_torch_zip(many, {"0": bytes(4096 * 4)})
    with pytest.raises(RefusedFile, match="unfold"):
        read_torch(written(tmp_path / "a.pth", content))


def test_compressed_entries_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_program(shape=(2**24,), numel=2**24))
        archive.writestr("archive/data/0", bytes(2**26))
    with pytest.raises(RefusedFile, match="compressed"):
        read_torch(path)


def test_other_archives_are_named(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program(b"N"))
        archive.writestr("a/constants.pkl", program(b")"))
    with pytest.raises(RefusedFile, match="TorchScript"):
        read_torch(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.txt", b"")
    with pytest.raises(CheckpointError, match="no such file"):
        read_torch(tmp_path / "none.pth")


def stored(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"\xff" * 99)
    return file.getvalue()


# What a file is -> its content, and which of the two readers it is for.
KINDS = {
    "an empty file": (b"", ()),
    "a text file": ("Größe, and more\n".encode() * 99, ()),
    "an .npz of numpy": (stored("images.npy"), ()),
    "a zip file": (stored("Photos/ä.png"), ()),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(99), ()),
    "a gzip file": (b"\x1f\x8b\x08" + bytes(99), ()),
    "a tar archive": (b"variables".ljust(257, b"\0") + b"ustar" + bytes(999), ()),
    "a safetensors file": ((9).to_bytes(8, "little") + b'{"a":"b"}' + bytes(99), ()),
    "a picture": (b"\x89PNG\r\n\x1a\n" + b"\xff" * 99, ()),
    "a file of torch.save": (saved_by_torch({"w": torch.ones(2)}, True), ("torch",)),
    "an old file of torch.save": (saved_by_torch({"w": torch.ones(2)}, False), ("torch",)),
    "a zip file without its end": (saved_by_torch({"w": torch.ones(2)}, True)[:-99], ()),
    "a pickle": (pickle.dumps([1], 4), ("pickle",)),
}


@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_named(tmp_path, kind, form):
    content, readers = KINDS[kind]
    path = written(tmp_path / form, content)
    if form in readers:
        read(path)
        return
    with pytest.raises(CheckpointError) as caught:
        read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert kind in line
    assert "give a ." in line or "again" in line
    for inside in ("codec", "opcode", "byte 0x", "data.pkl", "mmap"):
        assert inside not in line


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_folder_is_named(tmp_path, form):
    (tmp_path / form).mkdir()
    with pytest.raises(CheckpointError, match=r"a folder, not a .*; give a "):
        read(tmp_path / form)


@pytest.mark.parametrize("protocol", range(6))
def test_a_damaged_pickle_is_called_one(tmp_path, protocol):
    content = pickle.dumps({"a": [1, "x" * 99, b"\xff" * 99], 2: "b" * 600}, protocol)
    path = written(tmp_path / "pickle", content[:-20])
    with pytest.raises(CheckpointError, match=r"not a whole pickle .*; fetch or write the file"):
        read(path)


# --- nothing runs ---------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", HARMFUL)
def test_nothing_in_a_harmful_file_runs(tmp_path, monkeypatch, name, form):
    marker = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(marker))
    before = set(sys.modules)
    path = written(tmp_path / form, FORMS[form](HARMFUL[name]))
    try:
        tree = read(path)
    except CheckpointError as error:
        line = str(error)
    else:  # a name outside Python's library: a record and no more
        line = ""
        assert name in ("by numpy", "by numpy's own", "by torch's own")
        assert isinstance(tree, Record)
    assert not marker.exists()
    assert "\n" not in line
    assert len(line) < 500
    assert {m for m in set(sys.modules) - before if "codecs" not in m and "enc" not in m} == set()


def test_the_control_pythons_own_reader_runs_them(tmp_path):
    """The same files under pickle.load: nearly all of them do write their marker."""
    names = [name for name in HARMFUL if not name.startswith("by ")]  # those take seconds to load
    for number, name in enumerate(names):
        written(tmp_path / f"{number}.pkl", HARMFUL[name])
    script = (
        "import os, pickle, sys, pathlib\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.pkl')):\n"
        "    os.environ['MARKER'] = str(path.with_suffix('.ran'))\n"
        "    try: pickle.load(open(path, 'rb'))\n"
        "    except Exception as error: print(path, repr(error))\n"
    )
    words = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=True)
    ran = {names[int(path.stem)] for path in tmp_path.glob("*.ran")}
    assert len(ran) >= 20, f"harmless here: {set(names) - ran}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_in_one_line(tmp_path, name, form):
    path = written(tmp_path / form, FORMS[form](BOMBS[name]))
    if form != "pickle" and name == "more after its end":
        pytest.skip("torch's files go on after a pickle's end")
    with pytest.raises(CheckpointError, match=form) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tuples as a key", "a key of a dictionary is a tuple"),
        ("unfolding", "unfolds to more than"),
        ("deep lists", "nested more than 200 deep"),
        ("deep tuples", "nested more than 200 deep"),
        ("holds itself", "or holds itself"),
        ("a huge integer", "an integer of"),
        ("a text encoded often", "encodes more text"),
        ("an array of objects", "'O8', not of plain numbers"),
        ("a huge array", "cannot reshape"),
        ("bytes of a number", "makes bytes of something"),
        ("an extension", "the instruction EXT1"),
        ("a call of a record", "calls something that it made"),
        ("a call of a text", "calls something that it made"),
        ("a state for a list", "a state for something"),
        ("more after its end", "goes on after its end"),
        ("a future protocol", "protocol 255"),
    ],
)
def test_a_bomb_is_refused_for_what_it_is(tmp_path, name, message):
    with pytest.raises(CheckpointError, match=message):
        read_pickle(written(tmp_path / "a", BOMBS[name]))


@pytest.mark.parametrize("name", EMPTY_THREATS)
def test_a_large_number_reserves_nothing(tmp_path, name):
    path = written(tmp_path / "a", EMPTY_THREATS[name])
    tracemalloc.start()
    try:
        assert read_pickle(path) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_message_names_what_was_refused(tmp_path):
    path = written(tmp_path / "a.pth", as_torch_zip(HARMFUL["os.system"]))
    with pytest.raises(RefusedFile, match=rf"a\.pth: it names {os.name}\.system, .*; not read"):
        read_torch(path)
