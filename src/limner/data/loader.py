"""Batches of prepared pictures, the same for any number of workers and any start."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from limner.core.errors import ConfigError
from limner.core.memory import keep_freed_memory
from limner.data.order import WindowOrder, indices
from limner.data.prepared import PreparedData
from limner.data.shards.ahead import Ahead
from limner.data.shards.data import ShardedData
from limner.data.stages import Crop, gather, offset_draws
from limner.data.workers import TIMEOUT, PlacesAt, Workers

Order = Callable[[int, int], np.ndarray]  # start, count -> the pictures at these positions


class Batch(NamedTuple):
    """images uint8 [n, C, H, W] (0..255, a channels_last view), labels int64 [n] (zeros without
    classes) or float32 rows [n, columns], indices int64 [n] into the prepared arrays."""

    images: Tensor
    labels: Tensor
    indices: Tensor


class Loader:
    """An endless stream of batches; the pictures shown are a function of (seed, position) alone.

    Attributes:
        position: images of the whole (global) stream consumed so far: give it as `position` to go
            on from there. What workers fetched ahead does not count.
        seconds_waited: wall time spent in `next`, summed.
    """

    def __init__(
        self,
        data: PreparedData,
        batch_size: int,
        seed: int,
        position: int = 0,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
        worker_timeout: float = TIMEOUT,
        on_loss: Callable[[str], None] = lambda line: None,
        crop: Crop | None = None,
    ):
        """Begin at a position.

        Args:
            data: prepared pictures; fewer than a batch are shown several times in it.
            batch_size: images of all processes together.
            num_workers: processes that gather ahead; 0 gathers in `next`, which is fast enough
                unless the pictures do not fit into the page cache.
            rank, world_size: this process takes rows rank * n ... of each global batch.
            pin_memory: put the batches into page-locked memory, for copies to a GPU.
            worker_timeout: seconds after which a worker that owes a batch counts as hung. A lost
                worker is replaced, and the batches stay the same.
            on_loss: is told about a replaced worker, in one line.
            crop: which squares of the pictures are shown; None the centred ones.

        Raises:
            ConfigError: the batch cannot be split evenly over the processes, or is empty.
        """
        assert 0 <= rank < world_size
        assert position >= 0
        keep_freed_memory()
        self.position = position
        self.seconds_waited = 0.0
        self._data, self._seed, self._share = data, seed, (rank, world_size)
        self._crop = crop or Crop()
        self._pin_memory = pin_memory
        self._closed = False
        self._ahead: Ahead | None = None
        self._order: Order = lambda start, count: indices(seed, start, count, len(data))
        if isinstance(data, ShardedData):
            order = WindowOrder(seed, data.firsts, data.window)
            self._order, self._ahead = order.indices, Ahead(data.copies, order)
        self._worker_settings = (num_workers, worker_timeout, on_loss)
        self._workers: Workers | None = None
        self._places = self._places_of(batch_size)
        self._start_workers()

    def _places_of(self, batch_size: int) -> "_Places":
        world_size = self._share[1]
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"batch_size: {batch_size} images cannot be shared by {world_size} processes; "
                f"give a positive multiple of {world_size}"
            )
        return _Places(self._order, len(self._data), batch_size, self._seed, *self._share)

    @property
    def _places_at(self) -> PlacesAt:
        return self._places.drawn if self._crop.moves else self._places.still

    def _start_workers(self) -> None:
        if self._workers is not None:
            self._workers.close()
        num_workers, timeout, on_loss = self._worker_settings
        if num_workers:
            self._workers = Workers(
                self._data,
                self._crop,
                self._places_at,
                self.position,
                self._places.batch_size,
                num_workers,
                timeout,
                on_loss,
            )

    def secure(self, count: int, give_up: Callable[[], object] = lambda: False) -> None:
        """Wait until the next `count` pictures of the stream can be read without fail, where they
        lie in shards; return early where `give_up` says so.

        Raises:
            DataError: a shard of theirs is damaged or cannot be fetched.
        """
        if self._ahead is not None:
            begin = time.perf_counter()
            self._ahead.secure(self.position, count, give_up)
            self.seconds_waited += time.perf_counter() - begin

    def next(self, batch_size: int | None = None) -> Batch:
        """The next batch of this process. A `batch_size` (of all processes together) holds from
        here on: the stream goes on where it is, what workers fetched ahead is fetched anew. Raises
        ConfigError as `Loader`, and DataError where a picture cannot be read from its shard, or
        worker after worker was lost over the batch."""
        assert not self._closed, "the loader is closed"
        begin = time.perf_counter()
        if batch_size not in (None, self._places.batch_size):
            self._places = self._places_of(batch_size)
            self._start_workers()
        places = self._places_at(self.position)
        index = places[:, 0].copy()
        shape = (len(index), *self._data.images.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pin_memory)
        if self._workers is None:
            gather(self._data, self._crop, places, images.numpy())
        else:
            self._workers.take_into(images.numpy())
        labels = np.take(self._data.labels, index, axis=0)
        self.position += self._places.batch_size
        self.seconds_waited += time.perf_counter() - begin
        return Batch(images.permute(0, 3, 1, 2), torch.from_numpy(labels), torch.from_numpy(index))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self.next()

    def close(self) -> None:
        """Stop the workers; the position stays readable."""
        self._closed = True
        if self._workers is not None:
            self._workers.close()
        if self._ahead is not None:
            self._ahead.close()


class _Places:
    """This process' pictures of any global batch, with the draws of their offsets: int64 [n, 3]."""

    def __init__(
        self,
        order: Order,
        num_images: int,
        batch_size: int,
        seed: int,
        rank: int,
        world_size: int,
    ):
        self._order = order
        self.num_images, self.seed, self.batch_size = num_images, seed, batch_size
        self.num_rows = batch_size // world_size
        self.first_row = rank * self.num_rows

    def still(self, position: int) -> np.ndarray:
        """The places of the batch that begins at a position, without draws."""
        places = np.zeros((self.num_rows, 3), np.int64)
        start = position + self.first_row
        places[:, 0] = self._order(start, self.num_rows)
        return places

    def drawn(self, position: int) -> np.ndarray:
        """The same with draws."""
        places = self.still(position)
        start = position + self.first_row
        epochs = np.arange(start, start + self.num_rows) // self.num_images
        places[:, 1:] = offset_draws(self.seed, epochs, places[:, 0])
        return places
