"""Samples in one .npz, and the sheets that training draws."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_sampling import toy_generator

from limner.core.errors import LimnerError
from limner.sampling import NpzWriter, TrainingSheets


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def written(path: Path, images: np.ndarray, **options: Any) -> dict[str, np.ndarray]:
    num, height, width, channels = images.shape
    floats = images.transpose(0, 3, 1, 2) / 7.0
    with NpzWriter(path, num, (channels, height, width), **options) as file:
        for first in range(0, num, 3):
            part = slice(first, first + 3)
            file.add(images[part], floats[part] if file.with_floats else None)
        file.finish(np.arange(num) % 4, np.ones((num, 5), np.float32))
    return arrays(path)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 4, 6, 3), dtype=np.uint8)


def test_batches_come_back_as_one_array(tmp_path: Path, images: np.ndarray):
    held = written(tmp_path / "deep" / "a.npz", images, with_floats=True)
    assert sorted(held) == ["images", "images_float", "y", "z"]
    assert np.array_equal(held["images"], images)
    assert np.array_equal(
        held["images_float"], (images.transpose(0, 3, 1, 2) / 7.0).astype(np.float32)
    )
    assert held["y"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert os.listdir(tmp_path / "deep") == ["a.npz"]


def test_the_layout_of_biggan_pytorch(tmp_path: Path, images: np.ndarray):
    held = written(tmp_path / "a.npz", images, layout="biggan-pytorch")
    assert sorted(held) == ["x", "y"]
    assert np.array_equal(held["x"], images.transpose(0, 3, 1, 2))
    assert held["y"].dtype == np.int64
    with pytest.raises(LimnerError, match="no place for floats"):
        NpzWriter(tmp_path / "b.npz", 1, (3, 4, 4), True, "biggan-pytorch")


def test_what_breaks_off_leaves_no_file_and_the_old_one(tmp_path: Path, images: np.ndarray):
    written(tmp_path / "a.npz", images)
    before = (tmp_path / "a.npz").read_bytes()

    def break_off() -> None:
        with NpzWriter(tmp_path / "a.npz", 8, (3, 4, 6), with_floats=True) as writer:
            writer.add(images[:2], np.zeros((2, 3, 4, 6), np.float32))
            writer.finish(None, np.zeros((2, 5)))

    with pytest.raises(AssertionError, match="2 of 8"):
        break_off()
    assert os.listdir(tmp_path) == ["a.npz"]
    assert (tmp_path / "a.npz").read_bytes() == before


# --- trap 9: classes beyond a multiple of a sheet's number were never drawn


@pytest.mark.parametrize(("num_classes", "image_size"), [(3, 8), (20, 64), (47, 32), (11, 256)])
def test_every_class_is_drawn_sooner_or_later(num_classes: int, image_size: int):
    sheets = TrainingSheets(6, image_size, num_classes)
    rows = sheets.num_class_rows
    shown = [sheets.classes_of(event) for event in range(-(-num_classes // rows))]
    assert {index for classes in shown for index in classes} == set(range(num_classes))
    assert all(len(set(classes)) == rows for classes in shown)
    assert rows == min(num_classes, 20 if image_size <= 64 else 5)


def test_sheets_with_and_without_classes():
    generator = toy_generator(3).train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    sheets = TrainingSheets(6, 8, 3, class_names=["a", "b", "c"])
    drawn = dict(sheets(generator, 0))
    assert list(drawn) == ["classes", "walk-z", "walk-y", "walk-zy"]
    again = dict(sheets(generator, 5))
    assert all(drawn[name].tobytes() == again[name].tobytes() for name in drawn)
    assert generator.training
    assert all(torch.equal(v, before[name]) for name, v in generator.state_dict().items())
    assert list(dict(TrainingSheets(6, 8)(toy_generator(), 0))) == ["walk-z"]


def test_walks_have_the_ends_of_their_seeds():
    z, y = TrainingSheets(6, 8, 3, seed=4).walks["walk-zy"]
    assert y is not None
    assert z.shape == (160, 6)
    assert y[0].tolist() == [0, 1, 0]  # seed 4 has class 1
    assert y[9].tolist() == [0, 0, 1]
    torch.testing.assert_close(y.sum(dim=1), torch.ones(160))
    still, mixed = TrainingSheets(6, 8, 3).walks["walk-y"]
    assert mixed is not None
    assert torch.equal(still[0], still[9])
    assert not torch.equal(mixed[0], mixed[9])
