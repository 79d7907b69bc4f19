"""HDF5: BigGAN-PyTorch's files read, whatever their chunks, and written; damage told in one line."""

import builtins
import io
import json
import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from limner.core.errors import DataError, MissingExtra
from limner.data import DataConfig, PreparedData, open_data, prepare, write_hdf5, write_zip
from limner.data.sources import find_source, hdf5
from limner.data.sources.hdf5 import Hdf5File, blocks_of

NUM = 37
CONFIG = DataConfig(resolution=8)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (NUM, 3, 8, 8), dtype=np.uint8)
LABELS = np.arange(NUM) % 5


def stored(path: Path, images: np.ndarray = IMAGES, labels=LABELS, **options) -> Path:
    """As make_hdf5.py of BigGAN-PyTorch leaves it."""
    with h5py.File(path, "w") as file:
        file.create_dataset("imgs", data=images, maxshape=images.shape, **options)
        if labels is not None:
            file.create_dataset("labels", data=labels)
    return path


LAYOUTS = {
    "contiguous": {},
    "one chunk": {"chunks": (NUM, 3, 8, 8)},
    "chunks that do not divide": {"chunks": (10, 3, 8, 8)},
    "lzf": {"chunks": (10, 3, 8, 8), "compression": "lzf"},
    "gzip, shuffled, checked": {
        "chunks": (10, 3, 8, 8), "compression": "gzip", "shuffle": True, "fletcher32": True,
    },
    "one picture each": {"chunks": (1, 3, 8, 8), "compression": "gzip"},
    "across all axes": {"chunks": (16, 1, 5, 3), "compression": "gzip"},
    "h5py's own guess": {"chunks": True, "compression": "gzip"},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_chunks_and_compression(tmp_path: Path, layout: str):
    options = dict(LAYOUTS[layout])
    if "chunks" not in options:
        options["maxshape"] = None
        with h5py.File(tmp_path / "a.hdf5", "w") as file:
            file["imgs"], file["labels"] = IMAGES, LABELS
            assert file["imgs"].chunks is None
    else:
        stored(tmp_path / "a.hdf5", **options)
    data = prepare(tmp_path / "a.hdf5", tmp_path / "out", CONFIG)
    assert (data.images == IMAGES.transpose(0, 2, 3, 1)).all()
    assert (data.labels == LABELS).all()
    assert data.class_names == ["0", "1", "2", "3", "4"]
    assert data.info["source"] == {"kind": "Hdf5File", "name": "a.hdf5"}
    assert data.names()[3] == "imgs/3"


@pytest.mark.parametrize("limit", [hdf5.MAX_BLOCK_BYTES, 2000])
def test_each_chunk_is_decompressed_once(tmp_path: Path, monkeypatch, limit: int):
    """Never a picture at a time: ranges begin and end with chunks, unless memory forbids it."""
    monkeypatch.setattr(hdf5, "MAX_BLOCK_BYTES", limit)
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", 100)
    stored(tmp_path / "a.hdf5", chunks=(15, 3, 8, 8), compression="gzip")
    with h5py.File(tmp_path / "a.hdf5") as file:
        ranges = list(blocks_of(file["imgs"]))
    expected = [(0, 15), (15, 30), (30, 37)] if limit > 2000 else [(i, min(i + 8, 37)) for i in range(0, 37, 8)]  # fmt: skip
    assert ranges[: len(expected)] == expected
    assert ranges[-1][1] == 37


def test_small_chunks_are_read_many_at_once(tmp_path: Path):
    stored(tmp_path / "a.hdf5", chunks=(1, 3, 8, 8))
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert list(blocks_of(file["imgs"])) == [(0, NUM)]


@pytest.mark.parametrize("name", ["images", "x", "data"])
@pytest.mark.parametrize("form", ["NHWC", "NHW"])
def test_other_names_and_forms(tmp_path: Path, name: str, form: str):
    array = IMAGES.transpose(0, 2, 3, 1) if form == "NHWC" else IMAGES[:, 0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[name], file["y"] = array, np.eye(5)[LABELS]
    data = prepare(tmp_path / "a.h5", tmp_path / "out", CONFIG)
    assert (data.images.squeeze() == array).all()
    assert (data.labels == LABELS).all()


def test_an_hdf5_file_by_another_name(tmp_path: Path):
    assert isinstance(find_source(stored(tmp_path / "pictures.bin")), Hdf5File)


def test_without_labels(tmp_path: Path):
    stored(tmp_path / "a.hdf5", labels=None)
    assert open_data(tmp_path / "a.hdf5", CONFIG).num_classes == 0
    stored(tmp_path / "b.hdf5")
    assert open_data(tmp_path / "b.hdf5", CONFIG.replace(labels="none")).num_classes == 0


def test_equal_names_do_not_collide(tmp_path: Path):
    """Trap 10: a cache by the name of the set is stale in silence; ours goes by content."""
    for i, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        stored(tmp_path / folder / "dogs_hdf5.hdf5", images=IMAGES[::-1] if i else IMAGES)
    first, second = (open_data(tmp_path / f / "dogs_hdf5.hdf5", CONFIG) for f in ("a", "b"))
    assert first.sha256 != second.sha256
    assert (first.images == second.images[::-1]).all()
    # Trap 2: a suffix is taken off, never the letters that it is made of.
    assert first.info["source"]["name"] == "dogs_hdf5.hdf5"
    os.replace(tmp_path / "b" / "dogs_hdf5.hdf5", tmp_path / "a" / "dogs_hdf5.hdf5")
    assert open_data(tmp_path / "a" / "dogs_hdf5.hdf5", CONFIG).sha256 == second.sha256


# --- what is refused --------------------------------------------------------


def refused(path: Path, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        prepare(path, path.with_name("out"), CONFIG)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_forms_that_are_no_pictures(tmp_path: Path):
    path = tmp_path / "a.hdf5"
    refused(stored(path, images=IMAGES > 99), "store them as uint8")
    refused(stored(path, images=IMAGES.reshape(NUM, -1)), r"is not \[N, C, H, W\]")
    refused(stored(path, images=np.zeros((2, 7, 8, 9), np.uint8)), "can be the channels")
    refused(stored(path, labels=LABELS[:-1]), "for 37 pictures")
    refused(stored(path, labels=LABELS - 1), "labels run from -1 to 3")
    refused(stored(path, labels=LABELS * 0.5), "store integers")
    with h5py.File(path, "w") as file:
        file["pictures"] = IMAGES
    refused(path, "it holds pictures")
    with h5py.File(path, "w") as file:
        file.create_group("imgs")
    refused(path, "not an array but a group")


def test_a_file_that_was_not_written_to_its_end(tmp_path: Path):
    """Chunks that are missing read as zeros: 37 black pictures and no complaint."""
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        images = file.create_dataset("imgs", IMAGES.shape, np.uint8, chunks=(10, 3, 8, 8))
        images[:20] = IMAGES[:20]
    refused(tmp_path / "a.hdf5", "imgs: 2 of 4 chunks are there")


def test_a_cut_file(tmp_path: Path):
    path = stored(tmp_path / "a.hdf5", chunks=(10, 3, 8, 8))
    os.truncate(path, path.stat().st_size // 2)
    refused(path, "cannot be read as HDF5")
    path.write_bytes(b"no HDF5 at all")
    refused(path, "cannot be read as HDF5")


def test_a_damaged_chunk(tmp_path: Path):
    path = stored(tmp_path / "a.hdf5", chunks=(10, 3, 8, 8), compression="gzip")
    with h5py.File(path) as file:
        offset = file["imgs"].id.get_chunk_info(2).byte_offset
    with open(path, "r+b") as opened:
        opened.seek(offset)
        opened.write(bytes(64))
    refused(path, "cannot be read as HDF5")
    assert not (tmp_path / "out").exists()


def test_nothing_outside_the_file_is_read(tmp_path: Path):
    stored(tmp_path / "other.hdf5")
    (tmp_path / "secret").write_bytes(IMAGES.tobytes())
    path = tmp_path / "a.hdf5"
    for make in (
        lambda file: file.__setitem__("imgs", h5py.ExternalLink(str(tmp_path / "other.hdf5"), "imgs")),
        lambda file: file.__setitem__("imgs", h5py.SoftLink("/other")),
    ):  # fmt: skip
        with h5py.File(path, "w") as file:
            make(file)
        refused(path, "a link to another place")
    with h5py.File(path, "w") as file:
        held = [(str(tmp_path / "secret"), 0, IMAGES.nbytes)]
        file.create_dataset("imgs", IMAGES.shape, np.uint8, external=held)
    refused(path, "its values lie in other files")
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout(IMAGES.shape, np.uint8)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.hdf5"), "imgs", IMAGES.shape)
        file.create_virtual_dataset("imgs", layout)
    refused(path, "its values lie in other files")


def test_chunks_that_fill_the_memory(tmp_path: Path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        shape = (2**20, 3, 32, 32)
        file.create_dataset("imgs", shape, np.uint8, chunks=shape, compression="gzip")
    refused(tmp_path / "a.hdf5", "too large for the memory")


def test_without_h5py(tmp_path: Path, monkeypatch):
    stored(tmp_path / "a.hdf5")
    data = open_data("digits", CONFIG)
    original = builtins.__import__

    def without(name, *arguments, **options):
        if name == "h5py":
            raise ImportError
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"pip install 'limner\[hdf5\]'"):
        prepare(tmp_path / "a.hdf5", tmp_path / "out", CONFIG)
    with pytest.raises(MissingExtra, match=r"pip install 'limner\[hdf5\]'"):
        write_hdf5(data, tmp_path / "b.hdf5")


# --- writing ----------------------------------------------------------------


@pytest.fixture
def colored(tmp_path: Path) -> PreparedData:
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    return prepare(tmp_path / "a.npz", tmp_path / "prepared", CONFIG)


@pytest.mark.parametrize("compression", ["none", "lzf", "gzip"])
def test_the_layout_of_biggan_pytorch(tmp_path: Path, colored, compression):
    """Names, types, axes and chunks of make_hdf5.py, read as datasets.py of that program does."""
    seen: list[tuple[int, int | None]] = []
    path = write_hdf5(
        colored, tmp_path / "ILSVRC8.hdf5", 10, compression, lambda n, of: seen.append((n, of))
    )
    with h5py.File(path, "r") as file:
        assert sorted(file) == ["imgs", "labels"]
        images, labels = file["imgs"], file["labels"]
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.shape == images.maxshape == (NUM, 3, 8, 8)
        assert labels.shape == labels.maxshape == (NUM,)
        assert (images.chunks, labels.chunks) == ((10, 3, 8, 8), (10,))
        assert images.compression == (None if compression == "none" else compression)
        assert all((images[i] == IMAGES[i]).all() for i in range(NUM))
        assert labels[:].tolist() == LABELS.tolist()
    assert seen[-1] == (NUM, NUM)
    again = prepare(path, tmp_path / "again", CONFIG)
    assert again.sha256 == colored.sha256
    assert not list(tmp_path.glob(".tmp-*"))


def test_the_usual_chunk(tmp_path: Path):
    write_hdf5(open_data("digits", CONFIG), tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert file["imgs"].chunks == (500, 1, 8, 8)


def test_the_same_bytes_twice(tmp_path: Path, colored):
    for name, write in (("hdf5", write_hdf5), ("zip", write_zip)):
        first, second = (write(colored, tmp_path / f"{i}.{name}").read_bytes() for i in range(2))
        assert first == second


@pytest.mark.parametrize("write", [write_hdf5, write_zip])
def test_what_is_there_stays(tmp_path: Path, colored, write):
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(DataError, match="exists already"):
        write(colored, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"mine"

    def stop(number: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(colored, tmp_path / "new", progress=stop)
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".tmp-*"))


def test_the_zip_of_stylegan(tmp_path: Path, colored):
    path = write_zip(colored, tmp_path / "a.zip")
    with zipfile.ZipFile(path) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        held = json.loads(archive.read("dataset.json"))["labels"]
        assert held[36] == ["00000/img00000036.png", 1]
        with Image.open(io.BytesIO(archive.read(held[36][0]))) as picture:
            assert (np.asarray(picture) == IMAGES[36].transpose(1, 2, 0)).all()
    again = prepare(path, tmp_path / "again", CONFIG)
    assert (again.images == colored.images).all()
    assert (again.labels == colored.labels).all()
    assert again.class_names == colored.class_names


def test_a_zip_without_classes_or_color(tmp_path: Path):
    data = open_data("digits", CONFIG.replace(labels="none"))
    path = write_zip(data, tmp_path / "a.zip")
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("dataset.json")) == {"labels": None}
    again = prepare(path, tmp_path / "again", CONFIG.replace(labels="none"))
    assert (again.images == data.images).all()
