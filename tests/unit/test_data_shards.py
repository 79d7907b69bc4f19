"""Shards: WebDataset's layout, an order without a past, and pictures equal to the prepared ones."""

import io
import json
import math
import pickle
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.cli.main import main
from limner.core.errors import DataError
from limner.data import DataConfig, Loader, PreparedData, open_data, prepare, write_shards
from limner.data.opening import standing
from limner.data.order import WindowOrder
from limner.data.shards.data import ShardedData
from limner.data.shards.index import INDEX
from limner.data.shards.place import Place
from limner.data.shards.png import from_png, to_png
from limner.data.tfrecord_export import order_of

NUM, SIDE, WINDOW = 90, 8, 2
SHARD_BYTES = 40 * 1024


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> PreparedData:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (NUM, SIDE, SIDE, 3), dtype=np.uint8)
    np.savez(folder / "a.npz", images=images, labels=np.arange(NUM) % 3)
    return prepare(folder / "a.npz", folder / "prepared", DataConfig(resolution=SIDE))


@pytest.fixture(scope="module")
def shards(prepared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "set"
    assert len(write_shards(prepared, folder, SHARD_BYTES)) == 5
    return folder


def opened(folder: Path, window: int = WINDOW) -> ShardedData:
    return ShardedData(Place(folder, waits=(0.0,)), window)


def shown(data: PreparedData, start: int, num_batches: int, **options) -> np.ndarray:
    """The rows of the batches of 12 from a position on."""
    loader = Loader(data, 12, seed=3, position=start, **options)
    rows = [loader.next().indices.numpy() for _ in range(num_batches)]
    loader.close()
    return np.stack(rows)


# --- the files -------------------------------------------------------------------------------


def test_shards_are_plain_tar_files_of_pictures_and_labels(prepared, shards):
    order = order_of(NUM, shuffle=True)
    seen = 0
    for path in sorted(shards.glob("*.tar")):
        assert path.stat().st_size <= SHARD_BYTES
        with tarfile.open(path) as tar:
            names = tar.getnames()
            assert names == [
                f"{n:09d}.{e}" for n in range(seen, seen + len(names) // 2) for e in ("png", "cls")
            ]
            for name in names[1::2]:
                held = tar.extractfile(name)
                assert held is not None
                assert int(held.read()) == prepared.labels[order[seen]]
                seen += 1
    assert seen == NUM


def test_pictures_labels_and_facts_are_those_of_the_prepared_set(prepared, shards):
    data, order = opened(shards), order_of(NUM, shuffle=True)
    assert np.array_equal(data.images[:], prepared.images[order])
    assert np.array_equal(data.labels, prepared.labels[order])
    assert np.array_equal(data.images[[5, 80, 5]], prepared.images[order[[5, 80, 5]]])
    assert np.array_equal(data.picture(NUM - 1), prepared.images[order[-1]])
    assert data.image_shape == (3, SIDE, SIDE)
    assert data.class_counts.tolist() == [30, 30, 30]
    assert data.class_names == prepared.class_names
    assert data.names()[0] == "shard-00000.tar/000000000"
    data.verify()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_files_are_pngs_that_others_read(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
    content = to_png(pixels)
    with Image.open(io.BytesIO(content)) as picture:
        assert np.array_equal(np.asarray(picture).reshape(5, 7, channels), pixels)
    found = from_png(content, (5, 7, channels))
    assert found is not None
    assert np.array_equal(found, pixels)
    assert from_png(content, (7, 5, channels)) is None
    assert from_png(content[:-30], (5, 7, channels)) is None


def test_pngs_of_others_are_read_too(own, prepared):
    """A shard whose first picture was written by another program, in the same place."""
    data = opened(own)
    expected = data.picture(0)
    file = io.BytesIO()
    Image.fromarray(expected).save(file, "PNG")
    assert from_png(file.getvalue(), expected.shape) is None
    assert np.array_equal(data.images._decoded(0, file.getvalue()), expected)


def test_labels_that_are_rows_of_numbers_and_jpeg(tmp_path):
    generator = np.random.default_rng(1)
    rows = generator.normal(size=(6, 3)).astype(np.float32)
    images = np.full((6, SIDE, SIDE), 40, np.uint8) * np.arange(6, dtype=np.uint8)[:, None, None]
    for i, pixels in enumerate(images):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{i}.png")
    labels = [[f"{i}.png", row.tolist()] for i, row in enumerate(rows)]
    (tmp_path / "in" / "dataset.json").write_text(json.dumps({"labels": labels}))
    made = prepare(tmp_path / "in", tmp_path / "p", DataConfig(resolution=SIDE))
    write_shards(made, tmp_path / "s", encoding="jpeg", shuffle=False)
    data = opened(tmp_path / "s")
    assert np.array_equal(data.labels, rows)
    assert np.abs(data.images[:].astype(int) - made.images[:].astype(int)).max() <= 2
    with tarfile.open(tmp_path / "s" / "shard-00000.tar") as tar:
        assert tar.getnames()[:2] == ["000000000.jpg", "000000000.json"]
        held = tar.extractfile("000000000.json")
        assert held is not None
        assert np.array_equal(np.float32(json.loads(held.read())), rows[0])


def test_the_command_writes_what_data_takes(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    out = str(tmp_path / "digits")
    words = ["data", "shard", "digits", "--out", out, "--resolution", "8", "--shard-size", "0.5"]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["num_images"], facts["num_classes"], facts["image_shape"]) == (
        1797,
        10,
        [1, 8, 8],
    )
    assert facts["num_shards"] == len(list(Path(out).glob("*.tar"))) > 1
    assert open_data(out, DataConfig(resolution=8)).sha256 == opened(Path(out)).sha256
    assert main(words) == 1
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(DataError, match="resolution is 8 but 16 is asked"):
        open_data(out, DataConfig(resolution=16))
    assert list((tmp_path / "cache" / "data").iterdir()) == []


# --- the order -------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("counts", [[1], [4, 1, 7, 7, 2], [5] * 9])
def test_an_epoch_shows_each_picture_once_a_window_after_the_other(window, counts):
    firsts = np.concatenate([[0], np.cumsum(counts)])
    order, num = WindowOrder(5, firsts, window), sum(counts)
    for epoch in (0, 1):
        rows = order.indices(epoch * num, num)
        assert sorted(rows) == list(range(num))
        shards = np.searchsorted(firsts, rows, "right") - 1
        found = [order.shards(epoch, i) for i in range(math.ceil(len(counts) / window))]
        assert sorted(shard for some in found for shard in some) == list(range(len(counts)))
        at = 0
        for some in found:
            size = sum(counts[shard] for shard in some)
            assert set(shards[at : at + size]) == set(some)
            at += size


def test_any_position_can_be_entered_without_what_came_before():
    firsts = np.cumsum([0, 4, 1, 7, 7, 2])
    whole = WindowOrder(5, firsts, 2).indices(0, 100)
    for start in range(0, 90, 7):
        assert np.array_equal(
            WindowOrder(5, firsts, 2).indices(start, 10), whole[start : start + 10]
        )
    assert not np.array_equal(whole[:21], whole[21:42])  # each epoch has an order of its own
    assert not np.array_equal(whole[:42], WindowOrder(6, firsts, 2).indices(0, 42))


def test_the_windows_of_positions_and_the_one_behind():
    order = WindowOrder(5, np.arange(0, 55, 5), 2)  # ten shards of five: five windows of ten
    assert order.windows(0, 10) == [(0, 0), (0, 1)]
    assert order.windows(9, 2) == [(0, 0), (0, 1), (0, 2)]
    assert order.windows(45, 20) == [(0, 4), (1, 0), (1, 1), (1, 2)]


def test_batches_are_equal_from_any_start_with_workers_and_shared_by_processes(shards):
    data = opened(shards)
    whole = shown(data, 0, 12)
    assert np.array_equal(shown(data, 48, 8), whole[4:])
    assert np.array_equal(shown(data, 0, 4, num_workers=2), whole[:4])
    for size in (2, 3):
        parts = [shown(data, 24, 3, rank=rank, world_size=size) for rank in range(size)]
        assert np.array_equal(np.concatenate(parts, axis=1), whole[2:5])


def test_workers_show_the_pictures_of_the_rows(shards):
    data = opened(shards)
    loader = Loader(data, 12, seed=3, num_workers=2)
    batch = loader.next()
    loader.close()
    expected = data.images[batch.indices.numpy()].transpose(0, 3, 1, 2)
    assert np.array_equal(batch.images.numpy(), expected)


def test_shards_pickle_as_their_place(shards):
    data = pickle.loads(pickle.dumps(opened(shards)))
    assert (data.window, data.sha256) == (WINDOW, opened(shards).sha256)


# --- damage ----------------------------------------------------------------------------------


@pytest.fixture
def own(shards, tmp_path) -> Path:
    copy = tmp_path / "set"
    copy.mkdir()
    for path in shards.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_shard_is_named_before_its_pictures_are_shown(own, damage):
    path = own / "shard-00002.tar"
    if damage == "flipped":
        flip(path, 20_000)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    loader = Loader(opened(own, window=5), 12, seed=3)

    def secure() -> None:
        for _ in range(200):  # what is there is compared while its first pictures are shown
            loader.secure(12)
            time.sleep(0.05)

    with pytest.raises(DataError, match=r"shard-00002\.tar: .*in 2 attempts"):
        secure()
    loader.close()


def test_a_shard_that_comes_back_is_taken(own):
    path = own / "shard-00002.tar"
    content = path.read_bytes()
    path.unlink()
    loader = Loader(opened(own, window=5), 12, seed=3)
    with pytest.raises(DataError):
        loader.secure(12)
    path.write_bytes(content)
    loader.secure(12)
    loader.close()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_picture_that_was_damaged_since_is_named(own, num_workers):
    data = opened(own)
    with tarfile.open(own / "shard-00001.tar") as tar:
        begin = next(iter(tar)).offset_data
    row = int(data.firsts[1])
    flip(own / "shard-00001.tar", begin)
    loader = Loader(data, NUM, seed=3, num_workers=num_workers)
    with pytest.raises(DataError, match=rf"shard-00001\.tar: picture {row} .*damaged"):
        loader.next()
    loader.close()


@pytest.mark.parametrize("place", [5, 40, 200])
def test_a_damaged_index_is_one_line(own, place):
    flip(own / INDEX, place)
    with pytest.raises(DataError, match=r"shards\.index"):
        opened(own)


def test_damaged_tables_are_found_by_verify(own):
    flip(own / INDEX, (own / INDEX).stat().st_size - 1)
    with pytest.raises(DataError, match=r"shards\.index"):
        opened(own).verify()


def test_what_shards_cannot_be(own, prepared, tmp_path):
    with pytest.raises(DataError, match=r"leave data\.in_memory out"):
        open_data(own, DataConfig(resolution=SIDE, in_memory=True))
    with pytest.raises(DataError, match="exists already"):
        write_shards(prepared, own)
    assert standing(tmp_path) is None
