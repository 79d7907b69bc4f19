"""Batches of prepared pictures, the same for any number of workers and any start."""

import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from limner.core.errors import ConfigError
from limner.data.order import indices
from limner.data.prepared import PreparedData


class Batch(NamedTuple):
    """images uint8 [n, C, H, W] (0..255, a channels_last view), labels int64 [n] (zeros without
    classes), indices int64 [n] into the prepared arrays."""

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
    ):
        """Begin at a position.

        Args:
            data: prepared pictures; fewer than a batch are shown several times in it.
            batch_size: images of all processes together.
            num_workers: processes that gather ahead; 0 gathers in `next`, which is fast enough
                unless the pictures do not fit into the page cache.
            rank, world_size: this process takes rows rank * n ... of each global batch.
            pin_memory: put the batches into page-locked memory, for copies to a GPU.

        Raises:
            ConfigError: the batch cannot be split evenly over the processes, or is empty.
        """
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"batch_size: {batch_size} images cannot be shared by {world_size} processes; "
                f"give a positive multiple of {world_size}"
            )
        assert 0 <= rank < world_size
        assert position >= 0
        self.position = position
        self.seconds_waited = 0.0
        self._data = data
        self._places = _Places(len(data), batch_size, seed, rank, world_size)
        self._images: Iterator[Tensor] | None
        places = self._places.after(position)
        if num_workers == 0:
            self._images = _gathered(_Rows(data), places, pin_memory)
        else:
            self._images = _by_workers(_Rows(data), places, num_workers, pin_memory)

    def next(self) -> Batch:
        """The next batch of this process."""
        assert self._images is not None, "the loader is closed"
        begin = time.perf_counter()
        images = next(self._images)
        # Workers send the pictures alone: every further tensor costs a socket and a handshake.
        index = self._places.at(self.position)
        labels = np.take(self._data.labels, index)
        self.position += self._places.batch_size
        self.seconds_waited += time.perf_counter() - begin
        return Batch(images.permute(0, 3, 1, 2), torch.from_numpy(labels), torch.from_numpy(index))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self.next()

    def close(self) -> None:
        """Stop the workers; the position stays readable."""
        self._images = None


class _Places:
    """This process' picture indices of any global batch."""

    def __init__(self, num_images: int, batch_size: int, seed: int, rank: int, world_size: int):
        self.num_images, self.seed, self.batch_size = num_images, seed, batch_size
        self.num_rows = batch_size // world_size
        self.first_row = rank * self.num_rows

    def at(self, position: int) -> np.ndarray:
        """The rows of the batch that begins at a position, as a new int64 array."""
        return indices(self.seed, position + self.first_row, self.num_rows, self.num_images)

    def after(self, position: int) -> Iterator[np.ndarray]:
        """The rows of this batch and of all that follow."""
        while True:
            yield self.at(position)
            position += self.batch_size


class _Rows(Dataset[Tensor]):
    def __init__(self, data: PreparedData):
        self.data = data

    def __getitem__(self, index: np.ndarray) -> Tensor:
        return self.gather(index, pin_memory=False)

    def gather(self, index: np.ndarray, pin_memory: bool) -> Tensor:
        source = self.data.images.view(np.ndarray)
        shape = (len(index), *source.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=pin_memory)
        # mode="clip" writes straight into `out`; "raise" would go through a copy. The indices
        # are below len(source) by construction.
        np.take(source, index, axis=0, out=images.numpy(), mode="clip")
        return images


def _gathered(rows: _Rows, places: Iterator[np.ndarray], pin_memory: bool) -> Iterator[Tensor]:
    for index in places:
        yield rows.gather(index, pin_memory)


def _by_workers(
    rows: _Rows, places: Iterator[np.ndarray], num_workers: int, pin_memory: bool
) -> Iterator[Tensor]:
    loader = DataLoader(
        rows,
        batch_size=None,
        sampler=places,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory,
        generator=torch.Generator(),  # else the global one would be advanced
    )
    return iter(loader)


def _as_it_is(images: Any) -> Any:
    return images


def _start_worker(_: int) -> None:
    # The training process handles these at its step's edge; a worker must neither print a
    # traceback at Ctrl-C nor inherit a handler that keeps it alive at SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
