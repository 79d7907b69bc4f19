"""Every kind of picture file has one outcome: accepted with these pixels, or refused with a reason."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.core.errors import DataError
from limner.data import DataConfig, PreparedData, prepare
from pictures import ACCEPTED, COLOR, GRAY, PNG, REFUSED, in_folder, in_zip, saved


@pytest.mark.parametrize("put", [in_folder, in_zip])
@pytest.mark.parametrize("kind", ACCEPTED)
def test_accepted_kind(tmp_path: Path, kind: str, put: Callable[[Path, str, bytes], Path]):
    name, content, expected = ACCEPTED[kind]
    data = prepare(put(tmp_path, name, content), tmp_path / "out", DataConfig(resolution=8))
    expected = expected[:, :, None] if expected.ndim == 2 else expected
    assert data.info["num_refused"] == 0
    assert data.images.shape == (1, *expected.shape)
    assert (data.images[0] == expected).all()


@pytest.mark.parametrize("put", [in_folder, in_zip])
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_kind(tmp_path: Path, kind: str, put: Callable[[Path, str, bytes], Path]):
    name, content, reason = REFUSED[kind]
    source = put(tmp_path, name, content)
    with pytest.raises(DataError, match="no picture could be read; 1 refused") as caught:
        prepare(source, tmp_path / "out", DataConfig(resolution=8))
    assert any(part in str(caught.value) for part in reason.split("|"))
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name]  # nothing is left


def test_refused_files_are_listed_and_the_others_stay(tmp_path: Path):
    root = in_folder(tmp_path, "good.png", PNG)
    (root / "bad.png").write_bytes(PNG[:30])
    (root / "empty.jpg").write_bytes(b"")
    data = prepare(root, tmp_path / "out", DataConfig(resolution=8))
    assert data.names() == ["good.png"]
    assert [entry["name"] for entry in data.info["refused"]] == ["bad.png", "empty.jpg"]
    assert all(entry["reason"] for entry in data.info["refused"])


def test_special_files_are_never_opened(tmp_path: Path):
    """Opening a pipe would wait forever; pytest's timeout is the control."""
    root = in_folder(tmp_path, "good.png", PNG)
    os.mkfifo(root / "pipe.png")
    (root / "loop").symlink_to(root)
    (root / "broken.png").symlink_to(root / "gone.png")
    (root / "null.png").symlink_to("/dev/zero")
    (root / "linked.png").symlink_to(root / "good.png")
    here = os.getcwd()
    os.chdir(root)  # the path of a socket has at most 108 characters
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.png")
            data = prepare(root, tmp_path / "out", DataConfig(resolution=8))
    finally:
        os.chdir(here)
    assert data.names() == ["good.png", "linked.png"]
    reasons = {entry["name"]: entry["reason"] for entry in data.info["refused"]}
    assert set(reasons) == {"pipe.png", "loop", "broken.png", "null.png", "socket.png"}
    assert "a pipe" in reasons["pipe.png"]
    assert "a socket" in reasons["socket.png"]
    assert "a device" in reasons["null.png"]
    assert "contains it" in reasons["loop"]
    assert "broken" in reasons["broken.png"]


def test_hidden_and_foreign_files_are_skipped_and_counted(tmp_path: Path):
    root = in_folder(tmp_path, "good.png", PNG)
    for name in (".hidden.png", "._good.png", "notes.txt", "Thumbs.db"):
        (root / name).write_bytes(PNG)
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "x.png").write_bytes(PNG)
    data = prepare(root, tmp_path / "out", DataConfig(resolution=8))
    assert data.names() == ["good.png"]
    assert data.info["skipped"] == {"hidden": 2, "no picture suffix": 2}


# --- fit ----------------------------------------------------------------


def fitted_wide(tmp_path: Path, tall: bool = False, **settings) -> np.ndarray:
    """A 16x8 picture: left half black, right half white; or the same standing."""
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    pixels = pixels.transpose(1, 0, 2) if tall else pixels
    source = in_folder(tmp_path, "wide.png", saved(Image.fromarray(pixels), "PNG"))
    config = DataConfig(resolution=8, channels=1, filter="box", **settings)
    image = prepare(source, tmp_path / "out", config).images[0, :, :, 0]
    return image.T if tall else image


@pytest.mark.parametrize("tall", [False, True])
def test_crop_takes_the_centre(tmp_path: Path, tall: bool):
    image = fitted_wide(tmp_path, tall, fit="crop")
    assert (image == np.repeat([0, 255], 4)[None]).all()


@pytest.mark.parametrize("tall", [False, True])
def test_squash_keeps_everything(tmp_path: Path, tall: bool):
    assert (fitted_wide(tmp_path, tall, fit="squash") == np.repeat([0, 255], 4)[None]).all()


@pytest.mark.parametrize("tall", [False, True])
def test_pad_adds_black(tmp_path: Path, tall: bool):
    image = fitted_wide(tmp_path, tall, fit="pad")
    assert (image[2:6] == np.repeat([0, 255], 4)[None]).all()
    assert (image[:2] == 0).all()
    assert (image[6:] == 0).all()


def test_crop_and_squash_differ(tmp_path: Path):
    ramp = np.tile(np.arange(16, dtype=np.uint8) * 16, (8, 1))
    source = in_folder(tmp_path, "ramp.png", saved(Image.fromarray(ramp), "PNG"))
    crop = prepare(source, tmp_path / "crop", DataConfig(resolution=8, fit="crop"))
    squash = prepare(
        source, tmp_path / "squash", DataConfig(resolution=8, fit="squash", filter="box")
    )
    assert (crop.images[0, 0, :, 0] == ramp[0, 4:12]).all()
    assert (squash.images[0, 0, :, 0] == ramp[0].reshape(8, 2).mean(1)).all()


def test_antialiasing_filters_average_and_nearest_does_not(tmp_path: Path):
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    source = in_folder(tmp_path, "board.png", saved(Image.fromarray(board), "PNG"))
    for name in ("lanczos", "bicubic", "bilinear", "box", "nearest"):
        config = DataConfig(resolution=8, filter=name)  # type: ignore[arg-type]
        image = prepare(source, tmp_path / name, config).images[0]
        assert (set(np.unique(image)) <= {0, 255}) == (name == "nearest")


# --- channels -------------------------------------------------------------


def two_pictures(tmp_path: Path) -> Path:
    root = in_folder(tmp_path, "a gray.png", saved(Image.fromarray(GRAY), "PNG"))
    (root / "b color.png").write_bytes(PNG)
    (root / "c gray.png").write_bytes(saved(Image.fromarray(255 - GRAY), "PNG"))
    return root


def test_channels_are_found_out(tmp_path: Path):
    """The first picture is gray and written with one channel; the color one widens the array."""
    data = prepare(two_pictures(tmp_path), tmp_path / "out", DataConfig(resolution=8))
    assert data.image_shape == (3, 8, 8)
    assert (data.images[0] == GRAY[:, :, None]).all()
    assert (data.images[1] == COLOR).all()
    assert (data.images[2] == 255 - GRAY[:, :, None]).all()
    given = prepare(tmp_path / "source", tmp_path / "given", DataConfig(resolution=8, channels=3))
    assert given.sha256 == data.sha256
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_color_becomes_gray_when_asked(tmp_path: Path):
    config = DataConfig(resolution=8, channels=1)
    data = prepare(two_pictures(tmp_path), tmp_path / "out", config)
    assert data.image_shape == (1, 8, 8)
    assert (data.images[1, :, :, 0] == np.asarray(Image.fromarray(COLOR).convert("L"))).all()


def test_resized_picture_is_what_pillow_makes(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    source = in_folder(tmp_path, "a.png", saved(Image.fromarray(pixels), "PNG"))
    data = prepare(source, tmp_path / "out", DataConfig(resolution=8, filter="bicubic"))
    expected = Image.fromarray(pixels).resize((8, 8), Image.Resampling.BICUBIC)
    assert (data.images[0] == np.asarray(expected)).all()


def test_prepared_arrays_are_read_only_maps(tmp_path: Path):
    prepare(in_folder(tmp_path, "a.png", PNG), tmp_path / "out", DataConfig(resolution=8))
    data = PreparedData(tmp_path / "out")
    assert isinstance(data.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0
