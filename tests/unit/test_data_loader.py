"""Batches are a function of (seed, position): not of workers, prefetch, ranks or where one began."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limner.core.errors import ConfigError
from limner.data import DataConfig, Loader, PreparedData, indices, open_data, prepare


@pytest.fixture(scope="module")
def data() -> PreparedData:
    return open_data("digits", DataConfig(resolution=8))


def take(loader: Loader, count: int) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    batches = [tuple(loader.next()) for _ in range(count)]
    loader.close()
    return batches  # type: ignore[return-value]


def equal(left, right) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b)
        for x, y in zip(left, right, strict=True)
        for a, b in zip(x, y, strict=True)
    )


# --- order ---------------------------------------------------------------


@given(seed=st.integers(0, 2**40), epoch=st.integers(0, 10**6), size=st.integers(1, 300))
@settings(max_examples=100, deadline=None)
def test_an_epoch_is_a_permutation(seed: int, epoch: int, size: int):
    order = indices(seed, epoch * size, size, size)
    assert sorted(order.tolist()) == list(range(size))


@given(
    seed=st.integers(0, 99),
    start=st.integers(0, 1000),
    lengths=st.lists(st.integers(0, 100), max_size=6),
    size=st.integers(1, 40),
)
@settings(max_examples=100, deadline=None)
def test_any_cut_gives_the_same_order(seed: int, start: int, lengths: list[int], size: int):
    whole = indices(seed, start, sum(lengths), size)
    pieces, position = [], start
    for length in lengths:
        pieces += indices(seed, position, length, size).tolist()
        position += length
    assert pieces == whole.tolist()
    assert whole.dtype == np.int64


def test_epochs_and_seeds_differ():
    first = indices(0, 0, 100, 100).tolist()
    assert first != indices(0, 100, 100, 100).tolist()
    assert first != indices(1, 0, 100, 100).tolist()
    assert first != list(range(100))


def test_order_is_pinned():
    """A run begun with an older limner must find its place again."""
    assert indices(0, 8, 8, 10).tolist() == PINNED


def test_the_remembered_order_cannot_be_changed_from_outside():
    before = indices(5, 0, 10, 10)
    changed = indices(5, 0, 10, 10)
    changed[:] = 0
    assert (indices(5, 0, 10, 10) == before).all()


# --- loader --------------------------------------------------------------


def test_batch(data: PreparedData):
    loader = Loader(data, 16, seed=3)
    batch = loader.next()
    assert batch.images.shape == (16, 1, 8, 8)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels.dtype == batch.indices.dtype == torch.int64
    assert batch.indices.tolist() == indices(3, 0, 16, len(data)).tolist()
    rows = batch.indices.numpy()
    assert (batch.images.numpy() == data.images[rows].transpose(0, 3, 1, 2)).all()
    assert (batch.labels.numpy() == data.labels[rows]).all()
    assert loader.position == 16
    batch.images.zero_()  # a batch is the caller's own
    assert data.images[rows].any()


def test_workers_change_nothing_not_even_the_global_stream(data: PreparedData):
    state = torch.get_rng_state()
    inline = take(Loader(data, 100, seed=0), 40)  # past two epoch edges
    workers = take(Loader(data, 100, seed=0, num_workers=2), 40)
    one = take(Loader(data, 100, seed=0, num_workers=1), 40)
    assert equal(inline, workers)
    assert equal(inline, one)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("place", [1, 17, 18, 19])
def test_resume_at_any_position(data: PreparedData, num_workers: int, place: int):
    whole = take(Loader(data, 100, seed=7), place + 5)
    first = Loader(data, 100, seed=7, num_workers=num_workers)
    for _ in range(place):
        first.next()
    position = first.position  # consumed; the workers have fetched further
    first.close()
    assert position == place * 100
    rest = take(Loader(data, 100, seed=7, position=position, num_workers=num_workers), 5)
    assert equal(rest, whole[place:])


def test_another_batch_size_shows_the_same_pictures(data: PreparedData):
    large = torch.cat([batch[2] for batch in take(Loader(data, 90, seed=0), 2)])
    small = torch.cat([batch[2] for batch in take(Loader(data, 30, seed=0), 6)])
    assert torch.equal(large, small)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_two_ranks_are_one(data: PreparedData, num_workers: int):
    whole = take(Loader(data, 64, seed=1, position=1760), 4)
    ranks = [
        Loader(data, 64, seed=1, position=1760, num_workers=num_workers, rank=r, world_size=2)
        for r in range(2)
    ]
    for expected in whole:
        parts = [rank.next() for rank in ranks]
        joined = [torch.cat([part[i] for part in parts]) for i in range(3)]
        assert equal([joined], [expected])
    assert [rank.position for rank in ranks] == [1760 + 256] * 2
    for rank in ranks:
        rank.close()


def test_batch_larger_than_the_data(tmp_path: Path):
    np.savez(
        tmp_path / "a.npz",
        images=np.arange(3, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2),
    )
    small = prepare(tmp_path / "a.npz", tmp_path / "out", DataConfig(resolution=4))
    batch = Loader(small, 9, seed=0).next()
    assert sorted(batch.images[:, 0, 0, 0].tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert batch.labels.tolist() == [0] * 9


def test_waiting_is_counted(data: PreparedData):
    loader = Loader(data, 16, seed=0)
    assert loader.seconds_waited == 0
    for _ in range(5):
        loader.next()
    assert 0 < loader.seconds_waited < 5


def test_close_ends_the_workers(data: PreparedData):
    import multiprocessing

    before = set(multiprocessing.active_children())
    loader = Loader(data, 16, seed=0, num_workers=2)
    loader.next()
    started = [p for p in multiprocessing.active_children() if p not in before]
    assert len(started) == 2
    loader.close()
    assert not any(process.is_alive() for process in started)
    assert loader.position == 16


def test_batch_must_divide(data: PreparedData):
    with pytest.raises(ConfigError, match=r"batch_size: 10 .* multiple of 3"):
        Loader(data, 10, seed=0, world_size=3)
    with pytest.raises(ConfigError, match="batch_size"):
        Loader(data, 0, seed=0)


def test_loader_is_an_iterator(data: PreparedData):
    loader = Loader(data, 16, seed=0)
    for number, batch in enumerate(loader):
        assert len(batch.labels) == 16
        if number == 3:
            break
    assert loader.position == 64


PINNED = [2, 0, 1, 2, 6, 4, 3, 5]
