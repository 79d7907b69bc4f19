"""Inception moments in BigGAN-PyTorch's files: read, known by content, used where they fit."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from limner.core.errors import LimnerError
from limner.data import DataConfig, PreparedData, open_data
from limner.metrics import Reference, evaluate_images, frechet_distance, read_moments
from limner.metrics.features.base import images_at


@pytest.fixture(scope="module")
def digits() -> PreparedData:
    return open_data("digits", DataConfig(resolution=8, labels="none"))


@pytest.fixture(scope="module")
def features(digits: PreparedData) -> torch.Tensor:
    return Reference(digits, "random-conv").features


def written(path: Path, features: torch.Tensor) -> Path:
    """As calculate_inception_moments.py of BigGAN-PyTorch does."""
    rows = features.numpy()
    np.savez(path, mu=np.mean(rows, axis=0), sigma=np.cov(rows, rowvar=False))
    return path


def test_moments_in_the_place_of_images(tmp_path: Path, digits, features):
    path = written(tmp_path / "I8_inception_moments.npz", features[900:])
    images = images_at(digits, torch.arange(700))
    (plain,) = evaluate_images(images, None, digits, ["fid"], "random-conv")
    (found,) = evaluate_images(images, None, digits, ["fid"], "random-conv", moments=path)
    reference = Reference(digits, "random-conv")
    expected = frechet_distance(reference.extractor.features(images), features[900:])
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.value != pytest.approx(plain.value, rel=1e-3)
    assert found.floor is not None
    assert found.floor != plain.floor
    assert found.name == f"fd-random-conv-moments-{read_moments(path).sha256[:8]}"
    assert plain.name == "fd-random-conv"


def test_other_metrics_go_on_with_images(tmp_path: Path, digits, features):
    path = written(tmp_path / "a.npz", features)
    images = images_at(digits, torch.arange(100))
    with_file = evaluate_images(images, None, digits, ["kid", "prdc"], "random-conv", moments=path)
    assert with_file == evaluate_images(images, None, digits, ["kid", "prdc"], "random-conv")


def test_files_of_one_name_do_not_collide(tmp_path: Path, digits, features):
    """Traps 2 and 10: known by what is in it, not by what it is called (dogs_hdf5 became ogs)."""
    names, floors = [], []
    images = images_at(digits, torch.arange(100))
    for i, part in enumerate((features[:800], features[800:])):
        (tmp_path / str(i)).mkdir()
        path = written(tmp_path / str(i) / "dogs_hdf5_inception_moments.npz", part)
        (result,) = evaluate_images(images, None, digits, ["fid"], "random-conv", moments=path)
        names.append(result.name)
        floors.append(result.floor)
    assert names[0] != names[1]
    assert floors[0] != floors[1]  # of which the cache has one each


def test_moments_of_another_network(tmp_path: Path, digits):
    path = tmp_path / "a.npz"
    np.savez(path, mu=np.zeros(2048, np.float32), sigma=np.eye(2048, dtype=np.float32))
    assert read_moments(path).mean.dtype == torch.float64
    images = images_at(digits, torch.arange(50))
    with pytest.raises(LimnerError, match=r"moments of 2048 features, but 'random-conv' has \d+"):
        evaluate_images(images, None, digits, ["fid"], "random-conv", moments=path)


MU, SIGMA = np.zeros(3), np.eye(3)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"mu": MU}, "no 'sigma' in it"),
        ({"sigma": SIGMA}, "no 'mu' in it"),
        ({"mu": MU, "sigma": np.eye(4)}, "of different features"),
        ({"mu": MU, "sigma": np.ones((3, 4))}, "of different features"),
        ({"mu": MU[None], "sigma": SIGMA}, r"mu is \[D\]"),
        ({"mu": MU, "sigma": SIGMA.astype(int)}, r"sigma \[D, D\]"),
        ({"mu": MU, "sigma": np.array([None] * 3)}, "mu is|numbers"),
        ({"mu": MU * np.nan, "sigma": SIGMA}, "not finite"),
        ({"mu": MU, "sigma": np.triu(np.ones((3, 3)))}, "no covariance"),
        ({"mu": MU, "sigma": -SIGMA}, "no covariance"),
    ],
)
def test_files_that_are_no_moments(tmp_path: Path, arrays, match: str):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(LimnerError, match=match) as caught:
        read_moments(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_damaged_files(tmp_path: Path):
    with pytest.raises(LimnerError, match="no such file"):
        read_moments(tmp_path / "none.npz")
    np.savez(tmp_path / "a.npz", mu=MU, sigma=SIGMA)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-100])
    with pytest.raises(LimnerError, match="cannot be read as an"):
        read_moments(tmp_path / "cut.npz")
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive, zipfile.ZipFile(tmp_path / "a.npz") as held:  # fmt: skip
        archive.writestr("mu.npy", held.read("mu.npy")[:-8])
        archive.writestr("sigma.npy", held.read("sigma.npy"))
    with pytest.raises(LimnerError, match="does not fit its length"):
        read_moments(tmp_path / "short.npz")
