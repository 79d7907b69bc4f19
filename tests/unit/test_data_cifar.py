"""CIFAR's pickles: what is read of them, and that nothing in them runs."""

import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from hostile import BOMBS, EMPTY_THREATS, HARMFUL
from limner.core.errors import DataError, LimnerError, RefusedFile
from limner.data import DataConfig, open_data, prepare
from limner.data.sources import find_source
from limner.data.sources.cifar_pickle import read_batch


def cifar10(folder: Path, protocol: int = 2, num_files: int = 5) -> np.ndarray:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = generator.integers(0, 256, (num_files, 3, 3072), dtype=np.uint8)
    for i in range(num_files):
        batch = {b"data": rows[i], b"labels": [i, 9, 0], b"filenames": [b"a", b"b", b"c"]}
        (folder / f"data_batch_{i + 1}").write_bytes(pickle.dumps(batch, protocol))
    names = [b"airplane", b"car", *(f"c{i}".encode() for i in range(2, 10))]
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, protocol))
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_cifar10(tmp_path: Path, protocol: int):
    expected = cifar10(tmp_path / "cifar-10-batches-py", protocol)
    for path in (tmp_path, tmp_path / "cifar-10-batches-py"):
        data = open_data(path, DataConfig(resolution=32))
        assert (data.images == expected).all()
        assert data.labels.tolist() == [0, 9, 0, 1, 9, 0, 2, 9, 0, 3, 9, 0, 4, 9, 0]
        assert data.class_names[:2] == ["airplane", "car"]


def test_cifar_as_python_2_wrote_it(tmp_path: Path):
    """The published files: protocol 2, byte strings as BINSTRING, numpy.core names."""
    row = bytes(range(256)) * 12
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + len(row).to_bytes(4, "little") + row + b"tb"
    )  # fmt: skip
    content = b"\x80\x02}q\x00(U\x04data" + array + b"U\x06labels]K\x07au."
    (tmp_path / "data_batch_1").write_bytes(content)
    data = open_data(tmp_path, DataConfig(resolution=32, channels=3))
    assert data.labels.tolist() == [7]
    assert (data.images[0].transpose(2, 0, 1).ravel() == np.frombuffer(row, np.uint8)).all()
    assert "1 of 5 data_batch files" in data.info["notes"][1]


def test_cifar100(tmp_path: Path):
    rows = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    train = {b"data": rows, b"fine_labels": [99, 3], b"coarse_labels": [1, 2]}
    (tmp_path / "train").write_bytes(pickle.dumps(train, 2))
    meta = {b"fine_label_names": [f"f{i}".encode() for i in range(100)]}
    (tmp_path / "meta").write_bytes(pickle.dumps(meta, 2))
    data = open_data(tmp_path, DataConfig(resolution=32))
    assert data.labels.tolist() == [99, 3]
    assert data.num_classes == 100
    assert data.class_names[99] == "f99"


class Hostile:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (pickle.dumps({"data": Hostile(os.system, "touch marker")}, 2), "system"),
        (pickle.dumps({"data": Hostile(eval, "open('marker', 'w')")}, 4), "eval"),
        (pickle.dumps({"data": Hostile(np.load, "marker")}, 2), "numpy"),
        (b"cos\nsystem\n(S'touch marker'\ntR.", "os.system"),
        (b"(S'touch marker'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'touch marker'\no.", "os.system"),
        (b"\x80\x02carray\narray\nU\x01u]\x86R.", "array.array"),
        (b"\x80\x02}cno.such.module\nthing\ns.", "no.such.module.thing"),
        (b"\x80\x02Pmarker\n.", "refers to something outside"),
        (b"\x80\x02\x82\x01.", "the instruction EXT1"),
        (pickle.dumps({}, 2) + b"cos\nsystem\n(S'touch marker'\ntR.", "after its end"),
        (b"\x80\x02cnumpy.core.multiarray\n_reconstruct.system\n.", "_reconstruct.system"),
    ],
)
def test_hostile_pickles_do_nothing(tmp_path: Path, monkeypatch, content: bytes, named: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(RefusedFile, match="data_batch_1: .*" + named):
        read_batch(tmp_path / "data_batch_1")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("name", sorted(HARMFUL))
def test_no_harm_of_checkpoints_is_done_by_data(tmp_path: Path, monkeypatch, name: str):
    """What the readers of checkpoints refuse or keep as records is all refused here."""
    marker = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(marker))
    (tmp_path / "data_batch_1").write_bytes(HARMFUL[name])
    with pytest.raises(RefusedFile, match="data_batch_1: "):
        read_batch(tmp_path / "data_batch_1")
    assert not marker.exists()


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_no_bomb_of_checkpoints_goes_off(tmp_path: Path, name: str):
    (tmp_path / "data_batch_1").write_bytes(BOMBS[name])
    with pytest.raises(LimnerError, match="data_batch_1: "):
        read_batch(tmp_path / "data_batch_1")


@pytest.mark.parametrize("name", sorted(EMPTY_THREATS))
def test_a_large_number_reserves_nothing(tmp_path: Path, name: str):
    (tmp_path / "data_batch_1").write_bytes(EMPTY_THREATS[name])
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="no dictionary"):
            read_batch(tmp_path / "data_batch_1")
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_names_of_python_2_are_utf8(tmp_path: Path):
    """Its texts are bytes: what its author wrote in UTF-8 is read so."""
    cifar10(tmp_path / "c")
    names = [b"bl\xc3\xa5", *(b"%d" % i for i in range(9))]
    listed = b"".join(b"U" + bytes([len(name)]) + name for name in names)
    (tmp_path / "c" / "batches.meta").write_bytes(b"\x80\x02}U\x0blabel_names](" + listed + b"es.")
    assert find_source(tmp_path / "c").listing("classes").class_names[0] == "blå"


def test_control_a_plain_unpickler_runs_them(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps({"data": Hostile(os.system, "touch marker")}, 2))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "batch",
    [
        {"data": np.zeros((1, 3072), np.float32), "labels": [0]},
        {"data": np.zeros((1, 3071), np.uint8), "labels": [0]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [0, 1]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [10]},
        {"labels": [0]},
        [1, 2],
    ],
)
def test_damaged_cifar(tmp_path: Path, batch):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(DataError, match="data_batch_1"):
        prepare(tmp_path, tmp_path / "out", DataConfig(resolution=32))


def test_cut_cifar(tmp_path: Path):
    cifar10(tmp_path / "c")
    for length in range(0, 9000, 500):
        content = (tmp_path / "c" / "data_batch_1").read_bytes()[:length]
        (tmp_path / "cut").write_bytes(content)
        with pytest.raises(DataError, match=r"cut: (not a whole CIFAR file|an empty file)"):
            read_batch(tmp_path / "cut")
