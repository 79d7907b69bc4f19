"""Shards in a store that speaks S3 (moto's server, real HTTP through s3fs), which fails at times."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from limner.api import TrainOptions, screen, train
from limner.checkpoints import RunDirectory, list_states
from limner.core.errors import ConfigError, DataError
from limner.data import DataConfig, Loader, prepare, write_shards
from limner.data.order import WindowOrder
from limner.data.shards import data as sharded
from limner.data.shards import place as places
from limner.data.shards.data import ShardedData
from limner.data.shards.place import Place
from limner.engine import Intervals
from runs import eventful_config, result, toy_pictures
from stores import BUCKET, Store, served

pytestmark = pytest.mark.reliability

NUM, WINDOW, SHARD_BYTES = 64, 2, 10240  # nine pictures a shard
URL = f"s3://{BUCKET}/toys"
CONFIG = DataConfig(resolution=4, channels=1, labels="none", shard_window=WINDOW)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Store]:
    with served() as started, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", started.address)
        folder = tmp_path_factory.mktemp("toys")
        made = prepare(toy_pictures(folder / "a.npz", NUM), folder / "prepared", CONFIG)
        write_shards(made, URL, SHARD_BYTES)
        write_shards(made, folder / "shards", SHARD_BYTES)
        started.folder = folder / "shards"
        yield started


@pytest.fixture(autouse=True)
def _fresh(store, tmp_path, monkeypatch) -> None:
    store.faults.clear()
    store.asked.clear()
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "WAITS", (0.0, 0.05))


def opened(window: int = WINDOW) -> ShardedData:
    return ShardedData(Place(URL, waits=(0.0, 0.05)), window)


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "shards").glob("*/*.tar"))


def shards_asked(store: Store) -> list[str]:
    return [path.rpartition("/")[2] for method, path in store.asked if ".tar" in path]


def test_shards_of_a_store_are_those_of_a_folder(store, tmp_path, monkeypatch):
    monkeypatch.setattr(sharded, "WHOLE_SHARE", 1)
    data, local = opened(), ShardedData(Place(store.folder), WINDOW)
    assert data.sha256 == local.sha256
    assert np.array_equal(data.labels, local.labels)
    assert np.array_equal(data.images[[3, 30, 17]], local.images[[3, 30, 17]])
    assert cached(tmp_path) == []  # of few pictures no shard is copied
    loader = Loader(data, 8, seed=3, num_workers=1)
    for _ in range(9):
        loader.secure(8)
        batch = loader.next()
        expected = local.images[batch.indices.numpy()].transpose(0, 3, 1, 2)
        assert np.array_equal(batch.images.numpy(), expected)
    loader.close()
    asked = shards_asked(store)
    copied = cached(tmp_path)
    assert len(copied) == 8
    assert sorted(set(asked)) == copied
    data.verify()


@pytest.mark.parametrize("how", ["drop", "cut", "flip", "hide"])
def test_an_answer_that_fails_is_asked_for_again(store, how):
    store.faults[how, "shard-00001.tar"] = 1
    loader = Loader(opened(window=8), 8, seed=3)
    loader.secure(8)
    assert loader.next().images.shape == (8, 1, 4, 4)
    assert store.faults[how, "shard-00001.tar"] == 0
    loader.close()


@pytest.mark.parametrize("how", ["cut", "flip", "hide"])
def test_a_shard_that_stays_away_is_named(store, how):
    store.faults[how, "shard-00001.tar"] = 10**6
    loader = Loader(opened(window=8), 8, seed=3)
    with pytest.raises(DataError, match=r"s3://pictures/toys/shard-00001\.tar: .*in 3 attempts"):
        loader.secure(8)
    store.faults.clear()
    loader.secure(8)
    loader.close()


def test_the_copies_stay_below_their_limit_and_what_is_used_stays(store, tmp_path, monkeypatch):
    sizes = [shard.num_bytes for shard in opened().copies.shards]
    limit = sum(sorted(sizes)[-4:]) + 1000
    monkeypatch.setenv("LIMNER_SHARD_CACHE", str(limit))
    loader = Loader(opened(), 5, seed=3)
    for _ in range(12):
        loader.secure(5)
        loader.next()
        there = (tmp_path / "cache" / "shards").glob("*/*.tar")
        assert sum(path.stat().st_size for path in there) <= limit
    loader.close()
    monkeypatch.setenv("LIMNER_SHARD_CACHE", str(limit - 2000))
    with pytest.raises(ConfigError, match="LIMNER_SHARD_CACHE"):
        opened()
    monkeypatch.setenv("LIMNER_SHARD_CACHE", "much")
    with pytest.raises(ConfigError, match="LIMNER_SHARD_CACHE: 'much'"):
        opened()


def test_a_lost_fetching_process_is_replaced(store):
    loader = Loader(opened(), 8, seed=3)
    loader.secure(8)
    ahead = loader._ahead
    assert ahead is not None
    assert ahead._process is not None
    ahead._process.kill()
    ahead._process.join()
    loader.next()
    for _ in range(3):
        loader.secure(8)
        loader.next()
    loader.close()


def test_what_is_not_there_is_one_line(store):
    with pytest.raises(DataError, match=r"shards\.index: no such file"):
        ShardedData(Place(f"s3://{BUCKET}/other", waits=()))
    with pytest.raises(DataError, match="nonsense://a: "):
        ShardedData(Place("nonsense://a", waits=()))
    folder = store.folder
    with pytest.raises(DataError, match="exists already"):
        write_shards(ShardedData(Place(folder)), URL)


# --- runs ------------------------------------------------------------------------------------


def config(steps: int):
    data = CONFIG.replace(flip=True)
    return eventful_config(
        steps=steps, data=data, intervals=Intervals(log=1, sample=0, save=0, milestone=0)
    )


def test_a_run_that_loses_a_shard_stops_with_its_state_saved_and_goes_on_exactly(
    store, tmp_path, monkeypatch, no_extras
):
    monkeypatch.setattr(sharded, "WHOLE_SHARE", 1)  # the sheet of reals copies no shard
    monkeypatch.setattr(screen, "timed", lambda *_: None)  # whose steps would
    options = TrainOptions(device="cpu")
    train(config(9), str(store.folder), tmp_path / "whole", options)
    order = WindowOrder(config(9).seed, opened().firsts, WINDOW)
    lost = opened().copies.shards[order.shards(0, 2)[0]].name

    def lose(record: dict) -> None:
        store.faults["hide", lost] = 10**6

    losing = TrainOptions(device="cpu", on_log=lose)
    with pytest.raises(DataError, match=lost.replace(".", r"\.")):
        train(config(9), URL, tmp_path / "run", losing)
    run = RunDirectory(tmp_path / "run")
    ((step, _),) = list_states(run.checkpoints)
    assert step == len(run.read_log("log")) > 0
    stopped = [e for e in run.read_log("events") if e["event"] == "stopped"]
    assert lost in stopped[0]["message"]
    store.faults.clear()
    train(config(9), URL, tmp_path / "run", options)
    assert result(tmp_path / "run") == result(tmp_path / "whole")
    assert json.loads(run.data.read_text())["path"] == URL
