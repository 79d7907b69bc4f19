"""Squares of pictures: the centre at prepare time, random and padded crops while training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_data_loader import equal, take

from limner.core.errors import ConfigError, DataError
from limner.core.limits import MAX_PIXELS
from limner.data import (
    Crop,
    DataConfig,
    Loader,
    PreparedData,
    open_data,
    picture_sheet,
    prepare,
    report,
    stages,
)
from limner.data.opening import open_alike
from limner.data.pictures import UnreadablePictureError, fitted
from limner.data.prepare import HEADER_BYTES
from limner.data.stages import offset_draws
from runs import toy_data

SIZE = 8
RANDOM = DataConfig(resolution=SIZE, crop="random", filter="box")
TALLEST = 4 * SIZE


def marked(width: int, height: int) -> np.ndarray:
    """Every pixel tells its place: red its row, green its column; never black. Blue marks the
    border by 255."""
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1]
    pixels = np.stack([rows, columns, np.full_like(rows, 9)], -1).astype(np.uint8)
    pixels[[0, -1], :, 2] = 255
    pixels[:, [0, -1], 2] = 255
    return pixels


def kept(tmp_path: Path, *sizes: tuple[int, int]) -> PreparedData:
    (tmp_path / "source").mkdir()
    for i, size in enumerate(sizes):
        Image.fromarray(marked(*size)).save(tmp_path / "source" / f"{i}.png")
    return prepare(tmp_path / "source", tmp_path / "kept", RANDOM)


# --- the centre -----------------------------------------------------------


@pytest.mark.parametrize("size", [(11, 8), (8, 11), (13, 8), (8, 15), (12, 8), (9, 8), (8, 8)])
def test_the_centre_is_that_of_the_reference(tmp_path: Path, size: tuple[int, int]):
    """CenterCropLongEdge: torchvision's center_crop to min(size), whose offsets are
    int(round((length - side) / 2)); then the resize."""
    width, height = size
    side = min(size)
    top, left = int(round((height - side) / 2.0)), int(round((width - side) / 2.0))  # noqa: RUF046
    picture = Image.fromarray(marked(width, height))
    expected = picture.crop((left, top, left + side, top + side))
    assert (fitted(picture, (side, side), 3, "crop", "bilinear") == np.asarray(expected)).all()
    smaller = np.asarray(expected.resize((5, 5), Image.Resampling.BILINEAR))
    assert (fitted(picture, (5, 5), 3, "crop", "bilinear") == smaller).all()
    data = kept(tmp_path, size)
    assert (data.images[0] == np.asarray(expected)).all()


# --- trap 1: random along the long edge -------------------------------------


@pytest.mark.parametrize("size", [(20, SIZE), (SIZE, 20)], ids=["landscape", "portrait"])
def test_random_crops_reach_every_offset_and_no_black(tmp_path: Path, size: tuple[int, int]):
    """BigGAN-PyTorch took the offset along the width for the top: landscape pictures got black
    rows, and portraits lost their lower part."""
    data = kept(tmp_path, size)
    picture = marked(*size)
    assert (data.picture(0) == picture).all()
    long_axis = 0 if size[1] > size[0] else 1
    num = 13 * 400
    images = take(Loader(data, num, seed=5, crop=Crop(random=True)), 1)[0][0]
    squares = images.permute(0, 2, 3, 1).numpy()
    assert (squares.min(axis=(1, 2)) > 0).all()  # nothing black
    starts = squares[:, 0, 0, long_axis].astype(int) - 1
    assert (squares[:, 0, 0, 1 - long_axis] == 1).all()  # the whole short edge
    counts = np.bincount(starts, minlength=13)
    assert len(counts) == 13
    assert (abs(counts - 400) < 6 * 400**0.5).all()  # uniform: chi of one cell below 6
    for square, start in zip(squares[:200], starts[:200], strict=True):
        part = np.s_[start : start + SIZE]
        expected = picture[part] if long_axis == 0 else picture[:, part]
        assert (square == expected).all()


@pytest.mark.parametrize("size", [(500, 375), (375, 500)])
def test_the_case_of_the_trap(tmp_path: Path, size: tuple[int, int]):
    """500x375, where the reference goes up to 124 rows past the bottom."""
    white = Image.new("RGB", size, (255, 255, 255))
    (tmp_path / "source").mkdir()
    white.save(tmp_path / "source" / "a.png")
    data = prepare(tmp_path / "source", tmp_path / "out", RANDOM.replace(resolution=32))
    assert sorted(data.picture(0).shape[:2]) == [32, 43]
    images = take(Loader(data, 256, seed=0, crop=Crop(random=True)), 1)[0][0]
    assert (images == 255).all()


def test_sizes_are_mixed_and_channels_may_come_late(tmp_path: Path):
    """A gray picture first: what was written is made color when the first color comes."""
    (tmp_path / "source").mkdir()
    gray = marked(12, 8)[:, :, 0]
    Image.fromarray(gray).save(tmp_path / "source" / "a.png")
    for name, size in (("b", (8, 16)), ("c", (8, 8)), ("d", (16, 32))):
        Image.fromarray(marked(*size)).save(tmp_path / "source" / f"{name}.png")
    data = prepare(tmp_path / "source", tmp_path / "out", RANDOM)
    assert [data.picture(i).shape for i in range(4)] == [
        (8, 12, 3), (16, 8, 3), (8, 8, 3), (16, 8, 3),
    ]  # fmt: skip
    assert (data.picture(0) == gray[:, :, None]).all()
    assert (data.picture(1) == marked(8, 16)).all()
    assert data.image_shape == (3, 8, 8)
    data.verify()


def test_a_picture_that_would_be_gigabytes(tmp_path: Path):
    ribbon = Image.new("L", (MAX_PIXELS // 100, 2))
    with pytest.raises(UnreadablePictureError, match="pixels long at its own aspect"):
        fitted(ribbon, (64, 64), 1, "keep", "box")


def test_arrays_of_other_channels_keep_their_aspect():
    pixels = np.arange(4 * 8 * 5, dtype=np.uint8).reshape(4, 8, 5)
    assert (fitted(pixels, (4, 4), 5, "keep", "box") == pixels).all()


# --- pad and crop -----------------------------------------------------------


def test_pad_and_crop_is_that_of_cifar():
    """RandomCrop(32, padding=4): zeros around, and each of the 9 x 9 places equally often."""
    data = open_data("digits", DataConfig(resolution=SIZE))
    images, _, index = take(Loader(data, 1797, seed=1, crop=Crop(pad=2)), 1)[0]
    places = []
    for image, row in zip(images.numpy(), index.tolist(), strict=True):
        padded = np.pad(data.images[row][:, :, 0], 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (SIZE, SIZE))
        found = np.argwhere((windows == image[0]).all(axis=(2, 3)))
        assert len(found)
        if len(found) == 1:
            places.append(tuple(found[0].tolist()))
    counts = np.zeros((5, 5))
    np.add.at(counts, tuple(np.array(places).T), 1)
    assert counts.sum() > 1700
    assert counts.min() > 0.6 * counts.mean()
    assert counts.max() < 1.5 * counts.mean()


def test_both_together(tmp_path: Path):
    """Random along the edge of a padded picture: all 13 + 4 columns, 5 rows."""
    data = kept(tmp_path, (20, SIZE))
    images = take(Loader(data, 4000, seed=2, crop=Crop(random=True, pad=2)), 1)[0][0].numpy()
    padded = np.pad(marked(20, SIZE), ((2, 2), (2, 2), (0, 0))).transpose(2, 0, 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIZE, SIZE), (1, 2))
    whole = {windows[:, y, x].tobytes() for y in range(5) for x in range(17)}
    assert {image.tobytes() for image in images} == whole


# --- a function of seed, epoch and picture -----------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    sizes = [(SIZE + i % 7, SIZE) if i % 2 else (SIZE, SIZE + i % 5) for i in range(30)]
    return kept(tmp_path_factory.mktemp("mixed"), *sizes)


CROPS = [Crop(random=True), Crop(pad=3), Crop(random=True, pad=1)]


@pytest.mark.parametrize("crop", CROPS, ids=str)
def test_workers_ranks_batches_and_resuming_change_nothing(mixed: PreparedData, crop: Crop):
    whole = take(Loader(mixed, 12, seed=3, crop=crop), 8)  # past three epochs' edges
    for num_workers in (1, 2):
        assert equal(take(Loader(mixed, 12, seed=3, crop=crop, num_workers=num_workers), 8), whole)
        rest = Loader(mixed, 12, seed=3, position=36, crop=crop, num_workers=num_workers)
        assert equal(take(rest, 5), whole[3:])
    halves = [
        take(Loader(mixed, 12, seed=3, crop=crop, rank=rank, world_size=2), 8) for rank in (0, 1)
    ]
    joined = [
        tuple(torch.cat(pair) for pair in zip(a, b, strict=True)) for a, b in zip(*halves, strict=True)
    ]  # fmt: skip
    assert equal(joined, whole)
    small = take(Loader(mixed, 4, seed=3, crop=crop), 24)
    assert torch.equal(torch.cat([b[0] for b in small]), torch.cat([b[0] for b in whole]))


def test_epochs_and_seeds_draw_anew(mixed: PreparedData):
    def shown(seed: int, epoch: int) -> dict[int, bytes]:
        loader = Loader(mixed, 30, seed=seed, position=30 * epoch, crop=Crop(random=True, pad=2))
        images, _, index = take(loader, 1)[0]
        return {i: image.numpy().tobytes() for i, image in zip(index.tolist(), images, strict=True)}

    first = shown(0, 0)
    assert first == shown(0, 0)
    for other in (shown(0, 1), shown(1, 0)):
        assert sum(first[i] == other[i] for i in first) < 15


def test_draws_are_pinned_and_even():
    """A run begun with an older limner must see the same squares."""
    epochs, index = np.array([0, 0, 1, 7]), np.array([0, 1, 0, 10**9])
    assert offset_draws(5, epochs, index).tolist() == PINNED
    known = stages._mixed(np.array([0x9E3779B97F4A7C15], np.uint64))  # SplitMix64 from 0, its first
    assert int(known[0]) == 0xE220A8397B1DCDAF
    draws = offset_draws(0, np.zeros(100_000, np.int64), np.arange(100_000))
    assert draws.min() >= 0
    assert draws.max() < 2**32
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 0.015
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.015
    counts = np.bincount(draws[:, 1] * 10 >> 32, minlength=10)
    assert (abs(counts - 10_000) < 600).all()


# --- the prepared form, and what else reads it --------------------------------


def test_the_other_rooms_see_centred_squares(mixed: PreparedData):
    images = mixed.images
    assert images.shape == (30, SIZE, SIZE, 3)
    assert (images.dtype, images.ndim, len(images)) == (np.uint8, 4, 30)
    one = images[-1]
    assert one.shape == (SIZE, SIZE, 3)
    assert (images[[3, 29]][1] == one).all()
    assert (images[np.array([29])][0] == one).all()
    assert (images[28:][1] == one).all()
    assert (list(images)[29] == one).all()
    with pytest.raises(IndexError):
        images[30]
    batch = take(Loader(mixed, 30, seed=0), 1)[0]
    assert (batch[0].permute(0, 2, 3, 1).numpy() == images[batch[2].numpy()]).all()
    assert report(mixed).num_images == 30
    assert picture_sheet(mixed).width > 100


def test_class_counts(tmp_path: Path):
    labels = np.array([0, 3, 3, 1])
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 2, 2), np.uint8), labels=labels)
    data = prepare(tmp_path / "a.npz", tmp_path / "out", DataConfig(resolution=2))
    assert data.class_counts.tolist() == [1, 1, 0, 2]
    none = open_data(tmp_path / "a.npz", DataConfig(resolution=2, labels="none"))
    assert none.class_counts.tolist() == []


def test_config_and_prepared_form_must_fit(mixed: PreparedData, tmp_path: Path):
    assert mixed.info["version"] == 2
    assert mixed.info["settings"]["fit"] == "keep"
    assert open_data(mixed.directory, RANDOM).sha256 == mixed.sha256
    centred = RANDOM.replace(crop="center")
    assert open_data(mixed.directory, centred).sha256 == mixed.sha256
    assert open_alike((3, SIZE, SIZE), "classes", mixed.directory).sha256 == mixed.sha256
    with pytest.raises(DataError, match=r"fit is keep but pad is asked.*--set data.fit=crop"):
        open_data(mixed.directory, centred.replace(fit="pad"))
    squares = prepare(mixed.directory.with_name("source"), tmp_path / "squares", centred)
    assert squares.info["version"] == 1  # as before: older readers still read it
    assert "sizes.npy" not in squares.info["files"]
    with pytest.raises(DataError, match=r"fit is crop but keep is asked.*--set data.crop=center"):
        open_data(squares.directory, RANDOM)


def test_the_cache_knows_both_forms(tmp_path: Path):
    (tmp_path / "source").mkdir()
    Image.fromarray(marked(12, 8)).save(tmp_path / "source" / "a.png")
    random, centre = (open_data(tmp_path / "source", c) for c in (RANDOM, RANDOM.replace(crop="center")))  # fmt: skip
    assert random.directory != centre.directory
    assert open_data(tmp_path / "source", RANDOM.replace(pad=2, flip=True)).sha256 == random.sha256


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"pad": -1}, "pad: -1 is out of range; give 0 or more"),
        ({"pad": 9}, "pad: 9 pixels; give 0 to 8"),
        ({"crop": "random", "fit": "squash"}, "needs fit='crop'; fit is 'squash'"),
    ],
)
def test_impossible_crops(change, match: str):
    with pytest.raises(ConfigError, match=match):
        DataConfig(resolution=SIZE).replace(**change)


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        (lambda sizes: sizes[:-1], "says"),
        (lambda sizes: sizes + 1, "short side"),
        (lambda sizes: sizes.astype(np.int32), "types"),
        (lambda sizes: np.where(sizes == 8, 8, 2**62), "short side"),
        (lambda sizes: np.where(sizes == 8, 8, 2**40), "shape"),
        (lambda sizes: np.full_like(sizes, 8), "shape"),
        (None, "cannot be read"),
    ],
)
def test_damaged_sizes(tmp_path: Path, sizes, match: str):
    data = kept(tmp_path, (12, 8), (8, 8))
    file = data.directory / "sizes.npy"
    held = np.load(file)
    file.unlink()
    if sizes is not None:
        np.save(file, sizes(held))
    with pytest.raises(DataError, match=match) as caught:
        PreparedData(data.directory)
    assert "\n" not in str(caught.value)


# --- in memory ----------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("form", ["squares", "kept"])
def test_in_memory_changes_no_image(tmp_path: Path, form: str, num_workers: int):
    made = kept(tmp_path, (12, 8), (8, 8)) if form == "kept" else toy_data(tmp_path)
    config = DataConfig(**made.info["settings"] | {"fit": "crop"}, in_memory=True)  # pyright: ignore
    data = open_data(made.directory, config)
    assert data.in_memory
    assert not made.in_memory
    assert data.sha256 == made.sha256
    assert open_data(data, config) is data
    crop = Crop(random=True, pad=1)
    expected = take(Loader(made, 4, seed=0, crop=crop), 3)
    with open(made.directory / "images.npy", "r+b") as file:  # the disk is not read any more
        file.seek(HEADER_BYTES)
        file.write(bytes(made.info["num_images"] * 8))
    assert not equal(take(Loader(made, 4, seed=0, crop=crop), 3), expected)
    assert equal(take(Loader(data, 4, seed=0, crop=crop, num_workers=num_workers), 3), expected)


PINNED = [
    [408452616, 2163397522],
    [1743567790, 1101787910],
    [15933797, 3360979141],
    [3500801332, 3477216925],
]
