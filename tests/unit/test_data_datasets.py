"""The data sets that PGGAN's dataset_tool makes, each from small files of the original's layout."""

import gzip
import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner.core.config import decode, encode
from limner.core.errors import ConfigError, DataError, LimnerError, RefusedFile
from limner.data import DataConfig, Source, open_data, prepare, report, write_tfrecords
from limner.data.sources import find_source
from limner.data.sources.celeba import CelebaCrop
from limner.data.sources.cifar import Cifar
from limner.data.sources.lsun import Lsun
from limner.data.sources.mnist import Mnist, MnistRgb
from limner.data.sources.svhn import Svhn

RANDOM = np.random.default_rng(5)


def pixels(*shape: int) -> np.ndarray:
    """uint8 over the whole range, its ends included."""
    values = RANDOM.integers(0, 256, shape).astype(np.uint8)
    values.flat[:2] = 0, 255
    return values


def read(source: Path | Source, labels: Any = "classes") -> tuple[np.ndarray, list[int | None]]:
    items = list(find_source(source).listing(labels).items)
    return np.stack([np.asarray(item.open()) for item in items]), [item.label for item in items]


def problem(source: Path | Source) -> str:
    with pytest.raises(DataError) as caught:
        read(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- MNIST ------------------------------------------------------------------------


def idx(values: np.ndarray, kind: int = 8) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes((0, 0, kind, values.ndim)) + sizes + values.tobytes()


SCANS, DIGITS = pixels(12, 28, 28), np.array([5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5], np.uint8)


def mnist(folder: Path, images: bytes = idx(SCANS), labels: bytes = idx(DIGITS)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return folder


def test_mnist_is_padded_to_32(tmp_path: Path):
    images, labels = read(mnist(tmp_path))
    np.testing.assert_array_equal(images, np.pad(SCANS, ((0, 0), (2, 2), (2, 2))))
    assert labels == DIGITS.tolist()
    listing = find_source(tmp_path).listing("classes")
    assert listing.class_names == [str(digit) for digit in range(10)]
    assert listing.num_items == 12
    assert read(tmp_path, "none")[1] == [None] * 12


def test_mnist_raw_files_of_torchvision_without_padding(tmp_path: Path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(SCANS))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(DIGITS))
    images, labels = read(Mnist(path=str(tmp_path), pad=0))
    np.testing.assert_array_equal(images, SCANS)
    assert labels == DIGITS.tolist()
    (folder / "train-labels-idx1-ubyte").unlink()
    listing = find_source(tmp_path).listing("classes")
    assert "no classes" in listing.notes[-1]
    assert listing.class_names == []


def test_mnist_becomes_tfrecords_of_32(tmp_path: Path):
    """create_mnist: 1x32x32, ten columns of labels."""
    data = prepare(mnist(tmp_path / "m"), tmp_path / "p", DataConfig(resolution=32))
    assert data.image_shape == (1, 32, 32)
    out = write_tfrecords(data, tmp_path / "mnist")
    assert [path.name[-13:] for path in sorted(out.iterdir())][:2] == [
        "r02.tfrecords", "r03.tfrecords",
    ]  # fmt: skip
    order = np.arange(12)
    np.random.RandomState(123).shuffle(order)
    np.testing.assert_array_equal(np.load(out / "mnist-rxx.labels"), np.eye(10)[DIGITS[order]])
    made = report(mnist(tmp_path / "m"))
    assert (made.num_images, made.num_gray, len(made.classes)) == (12, 12, 10)


@pytest.mark.parametrize(
    ("images", "labels", "what"),
    [
        (idx(SCANS)[:-1], idx(DIGITS), "it ends after 11 of 12"),
        (idx(SCANS) + b"x", idx(DIGITS), "goes on after its 12"),
        (idx(SCANS), idx(DIGITS[:11]), "11 labels for 12 pictures"),
        (idx(SCANS), idx(DIGITS)[:-1], "does not end after its 12 labels"),
        (idx(SCANS, 9), idx(DIGITS), "not an idx file of bytes"),
        (idx(SCANS), b"", "not an idx file of bytes"),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12, idx(DIGITS), "are not those of pictures"),
    ],
)
def test_mnist_damaged(tmp_path: Path, images: bytes, labels: bytes, what: str):
    line = problem(mnist(tmp_path, images, labels))
    assert what in line
    assert "download the file again" in line
    assert "idx" in line.partition(":")[0]


def test_mnist_cut_while_compressed(tmp_path: Path):
    file = mnist(tmp_path) / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-200])
    assert str(file) in problem(tmp_path)
    file.write_bytes(b"<html>not found</html>")
    assert str(file) in problem(tmp_path)


def test_mnist_rgb_stacks_what_the_original_does(tmp_path: Path):
    images, labels = read(MnistRgb(path=str(mnist(tmp_path)), num_images=20))
    random = np.random.RandomState(123)
    padded = np.pad(SCANS, ((0, 0), (2, 2), (2, 2)))
    for image in images:
        chosen = padded[random.randint(12, size=3)]
        np.testing.assert_array_equal(image, chosen.transpose(1, 2, 0))
    assert labels == [None] * 20
    other, _ = read(MnistRgb(path=str(tmp_path), num_images=20, seed=124))
    assert (other != images).any()
    listing = MnistRgb(path=str(tmp_path)).listing("classes")
    assert (listing.num_items, listing.class_names) == (1_000_000, [])


@pytest.mark.parametrize(
    "wrong", [{"num_images": 0}, {"num_images": 10**9}, {"seed": -1}, {"pad": -1}]
)
def test_mnist_settings(wrong: dict):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}: "):
        MnistRgb(**wrong)


# --- CIFAR ------------------------------------------------------------------------


def test_cifar100_fine_labels(tmp_path: Path):
    images = pixels(4, 3072)
    batch = {"data": images, "fine_labels": [3, 99, 0, 3], "coarse_labels": [1, 1, 1, 1]}
    (tmp_path / "train").write_bytes(pickle.dumps(batch, 2))
    names = {"fine_label_names": [f"n{i}" for i in range(100)]}
    (tmp_path / "meta").write_bytes(pickle.dumps(names, 2))
    held, labels = read(tmp_path)
    assert isinstance(find_source(tmp_path), Cifar)
    np.testing.assert_array_equal(held, images.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1))
    assert labels == [3, 99, 0, 3]


# --- SVHN -------------------------------------------------------------------------

PLATES, NUMBERS = pixels(7, 3, 32, 32), np.array([1, 9, 0, 0, 3, 7, 2], np.uint8)


def svhn_pickles(folder: Path, protocol: int = 2) -> Path:
    for i, rows in enumerate((slice(0, 3), slice(3, 5), slice(5, 7)), 1):
        content = pickle.dumps((PLATES[rows], NUMBERS[rows]), protocol)
        (folder / f"train_{i}.pkl").write_bytes(content)
    return folder


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_svhn_pickles(tmp_path: Path, protocol: int):
    images, labels = read(svhn_pickles(tmp_path, protocol))
    assert isinstance(find_source(tmp_path), Svhn)
    np.testing.assert_array_equal(images, PLATES.transpose(0, 2, 3, 1))
    assert labels == NUMBERS.tolist()
    (tmp_path / "train_3.pkl").unlink()
    assert "2 of 3" in find_source(tmp_path).listing("none").notes[-1]


class Planted:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("tree", "error", "what"),
    [
        ((Planted(), NUMBERS), RefusedFile, "names __builtin__.print, which SVHN's files do not"),
        ({"data": PLATES}, DataError, "no pair"),
        ((PLATES[:, :1], NUMBERS), DataError, "no pictures"),
        ((PLATES, NUMBERS[:3]), DataError, "not one digit for each of 7"),
        ((PLATES, NUMBERS + 5), DataError, "labels that are no digits"),
    ],
)
def test_svhn_pickles_refused(tmp_path: Path, tree: Any, error: type, what: str, capsys):
    (tmp_path / "train_1.pkl").write_bytes(pickle.dumps(tree, 2))
    with pytest.raises(error, match=what):
        read(tmp_path)
    assert capsys.readouterr().out == ""


def test_svhn_matlab(tmp_path: Path):
    """As scipy and MATLAB write it: column-major, compressed, the digit 0 under the label 10."""
    matlab = pytest.importorskip("scipy.io")
    labels = np.where(NUMBERS == 0, 10, NUMBERS).astype(np.float64)[:, None]
    held = {"X": PLATES.transpose(2, 3, 1, 0), "y": labels}
    for is_compressed in (True, False):
        matlab.savemat(tmp_path / "train_32x32.mat", held, do_compression=is_compressed)
        for path in (tmp_path, tmp_path / "train_32x32.mat"):
            images, digits = read(path)
            np.testing.assert_array_equal(images, PLATES.transpose(0, 2, 3, 1))
            assert digits == NUMBERS.tolist()


def matrix(name: bytes, values: np.ndarray, kind: int) -> bytes:
    """A compressed variable of MATLAB 5."""

    def element(kind: int, content: bytes) -> bytes:
        return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)

    held = element(6, struct.pack("<II", 9, 0))
    held += element(5, struct.pack(f"<{values.ndim}i", *values.shape))
    held += element(1, name) + element(kind, values.tobytes("F"))
    content = zlib.compress(element(14, held))
    return struct.pack("<II", 15, len(content)) + content


HEADER = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
X = matrix(b"X", PLATES.transpose(2, 3, 1, 0), 2)
Y = matrix(b"y", NUMBERS[:, None], 2)


def test_svhn_matlab_by_hand(tmp_path: Path):
    """The same without scipy, so that the format is tested wherever the tests run."""
    (tmp_path / "train_32x32.mat").write_bytes(HEADER + X + Y)
    images, digits = read(tmp_path)
    np.testing.assert_array_equal(images, PLATES.transpose(0, 2, 3, 1))
    assert digits == NUMBERS.tolist()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "its header is another"),
        (HEADER, "no variable 'X' in it (it holds nothing)"),
        (HEADER + Y, "no variable 'X' in it (it holds y)"),
        (HEADER + X, "no variable 'y' in it (it holds X)"),
        (HEADER + X[:900], "no variable 'y'"),
        (HEADER + Y + X[:900], "it ends early"),
        (HEADER + Y + X[:3000] + b"####" + X[3004:], "not read as a MATLAB 5 file"),
        (HEADER + matrix(b"X", np.zeros((32, 32, 3)), 9) + Y, "X is float64 [32, 32, 3]"),
        (HEADER + X + matrix(b"y", NUMBERS[:3, None], 2), "y has shape [3, 1] for 7"),
        (HEADER + X + matrix(b"y", NUMBERS[:, None] + 30, 2), "labels that are no digits"),
    ],
)
def test_svhn_matlab_damaged(tmp_path: Path, content: bytes, what: str):
    (tmp_path / "train_32x32.mat").write_bytes(content)
    line = problem(tmp_path)
    assert line.startswith(str(tmp_path / "train_32x32.mat"))
    assert what in line


# --- LSUN -------------------------------------------------------------------------


def encoded(width: int, height: int, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(height, width, 3)).save(file, form, lossless=True)
    return file.getvalue()


def lsun(folder: Path, values: list[bytes]) -> Path:
    lmdb = pytest.importorskip("lmdb")
    with (
        lmdb.open(str(folder), map_size=2**24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i, value in enumerate(values):
            transaction.put(f"{i:040x}".encode(), value)
    return folder


def test_lsun_crops_resizes_and_counts_the_bad(tmp_path: Path):
    good = [encoded(24, 16, "WEBP"), encoded(16, 20)]
    folder = lsun(tmp_path / "bedroom_train_lmdb", [good[0], b"no picture", good[1], b""])
    data = prepare(folder, tmp_path / "p", DataConfig(resolution=16))
    assert data.info["source"] == {"kind": "Lsun", "name": "bedroom_train_lmdb"}
    assert (len(data), data.info["num_refused"], data.num_classes) == (2, 2, 0)
    assert data.info["refused"][0]["name"] == f"{1:040x}"
    wide, tall = (np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in good)
    np.testing.assert_array_equal(data.images[0], wide[:, 4:20])
    np.testing.assert_array_equal(data.images[1], tall[2:18])
    made = report(folder)
    assert (made.num_images, made.num_refused) == (2, 2)


def test_lsun_max_images_counts_those_that_were_read(tmp_path: Path):
    values = [b"bad", encoded(8, 8), encoded(8, 8), b"bad", encoded(8, 8)]
    folder = lsun(tmp_path / "tower", values)
    data = prepare(Lsun(str(folder), max_images=2), tmp_path / "p", DataConfig(resolution=8))
    assert (len(data), data.info["num_refused"]) == (2, 1)
    with pytest.raises(ConfigError, match="max_images: 0"):
        Lsun("", max_images=0)


def test_lsun_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = lsun(tmp_path / "cut", [encoded(64, 64)] * 8)
    file = folder / "data.mdb"
    content = file.read_bytes()
    file.write_bytes(content[: 5 * 4096])
    assert "bytes instead of" in problem(folder)
    file.write_bytes(b"x" * 8192)
    assert "cannot be read as LMDB" in problem(folder)
    assert "no pictures in it" in problem(lsun(tmp_path / "empty", []))
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with pytest.raises(LimnerError, match=r"limner\[lsun\]"):
        read(folder)


# --- CelebA, HDF5 -----------------------------------------------------------------


def test_celeba_crop(tmp_path: Path):
    face = pixels(218, 178, 3)
    Image.fromarray(face).save(tmp_path / "000001.png")
    Image.fromarray(face[:150]).save(tmp_path / "000002.png")
    source = CelebaCrop(path=str(tmp_path))
    data = prepare(source, tmp_path / "p", DataConfig(resolution=128))
    np.testing.assert_array_equal(data.images[0], face[121 - 64 : 121 + 64, 89 - 64 : 89 + 64])
    assert "do not reach 153x185" in data.info["refused"][0]["reason"]
    small = CelebaCrop(path=str(tmp_path), center=(10, 8), size=4)
    np.testing.assert_array_equal(read(small)[0][0], face[6:10, 8:12])
    config = DataConfig(resolution=4, source=small.replace(path=""))
    assert decode(DataConfig, encode(config)) == config
    assert open_data(tmp_path, config).info["notes"] == ["cut to 4x4 pixels around (10, 8)"]


@pytest.mark.parametrize("wrong", [{"size": 3}, {"size": 0}, {"center": (3, 50), "size": 8}])
def test_celeba_settings(wrong: dict):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}: "):
        CelebaCrop(**wrong)


def test_hdf5_of_pggan_takes_the_largest_level(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    images = pixels(3, 3, 16, 16)
    with h5py.File(tmp_path / "faces.h5", "w") as file:
        for size in (4, 16, 8):
            file[f"data{size}x{size}"] = images[:, :, :size, :size]
    held, labels = read(tmp_path / "faces.h5")
    np.testing.assert_array_equal(held, images.transpose(0, 2, 3, 1))
    assert labels == [None] * 3
    before = find_source(tmp_path / "faces.h5").identity()
    np.save(tmp_path / "faces-labels.npy", np.eye(4, dtype=np.float32)[[2, 0, 3]])
    assert read(tmp_path / "faces.h5")[1] == [2, 0, 3]
    assert find_source(tmp_path / "faces.h5").identity() != before
    np.save(tmp_path / "faces-labels.npy", np.array([2, 0]))
    assert "faces-labels.npy: int64 (2,) for 3 pictures" in problem(tmp_path / "faces.h5")
