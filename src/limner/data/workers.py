"""Processes that gather batches ahead, under watch: one that dies or hangs is replaced."""

import contextlib
import ctypes
import math
import multiprocessing
import os
import signal
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import Process
from typing import Any

import numpy as np

from limner.core.errors import DataError
from limner.data.leaving import end_with_parent, quieten
from limner.data.prepared import PreparedData
from limner.data.stages import Crop, gather

AHEAD = 2  # batches that each worker has in hand
ATTEMPTS = 3  # processes that may be lost over one batch
TIMEOUT = 60.0  # seconds
PARENT_CHECK_SECONDS = 1.0

PlacesAt = Callable[[int], np.ndarray]


@dataclass
class _Worker:
    """A process, and the slots that it was asked for and has not answered, in order."""

    process: Process
    connection: Connection
    asked: deque[int] = field(default_factory=deque)


class Workers:
    """Batches at position, position + stride, ... one after the other.

    What a batch holds is a function of its position, and workers keep nothing between batches: a
    lost one is replaced, is asked for the same again, and no batch changes.

    Places and pictures lie in shared memory, in as many slots as batches are under way; what goes
    through the connections is the number of a slot, and back None or what is wrong with the data,
    so that no send can wait for a hung worker.

    Args:
        places_at: position -> places [n, 3] of the batch there (see `gather`), always as many.
        num_workers: at least 1.
        timeout, on_loss: as `worker_timeout` and `on_loss` of the `Loader`.
    """

    def __init__(
        self,
        data: PreparedData,
        crop: Crop,
        places_at: PlacesAt,
        position: int,
        stride: int,
        num_workers: int,
        timeout: float = TIMEOUT,
        on_loss: Callable[[str], None] = lambda line: None,
    ):
        self._data, self._crop, self._places_at = data, crop, places_at
        self._timeout, self._on_loss = timeout, on_loss
        self._problem: str | None = None  # with the data, where the newest batch has one
        self._context = multiprocessing.get_context()
        num_slots, num_rows = num_workers * AHEAD, len(places_at(position))
        self._memory = _Memory(num_slots, num_rows, data.images.shape[1:], self._context)
        self._places, self._images = self._memory.arrays()
        self._position, self._stride, self._turn = position, stride, 0
        self._workers = [self._started() for _ in range(num_workers)]
        # Also when nobody calls it.
        self.close = weakref.finalize(self, _end, self._workers, os.getpid())
        for slot in range(num_slots):
            self._ask_next(self._workers[slot % num_workers], slot)

    def take_into(self, target: np.ndarray) -> None:
        """Write the next batch [n, H, W, C] into an array of that shape; DataError where a picture
        of it cannot be read, or worker after worker was lost over it."""
        number = self._turn % len(self._workers)
        num_lost = 0
        while (problem := self._awaited(self._workers[number])) is not None:
            num_lost += 1
            if num_lost == ATTEMPTS:
                raise DataError(
                    f"{self._data.place}: {ATTEMPTS} loader workers were lost over one batch, "
                    f"the last one {problem}; look at memory and disk, or give --workers 0"
                )
            self._replace(number)
            self._on_loss(f"a loader worker {problem} and was replaced; the pictures are the same")
        if self._problem is not None:
            raise DataError(self._problem)
        slot = self._workers[number].asked.popleft()
        np.copyto(target, self._images[slot])
        self._turn += 1
        self._ask_next(self._workers[number], slot)

    def _ask_next(self, worker: _Worker, slot: int) -> None:
        self._places[slot] = self._places_at(self._position)
        self._position += self._stride
        _ask(worker, slot)

    def _started(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work,
            args=(theirs, ours, self._data, self._crop, self._memory),
            daemon=True,
        )
        process.start()
        theirs.close()  # so that the connection ends with the worker
        return _Worker(process, ours)

    def _awaited(self, worker: _Worker) -> str | None:
        """What is wrong with a worker, or None once its next batch is there."""
        try:
            if not worker.connection.poll(self._timeout):
                return f"gave no sign for {self._timeout:g} s"
            self._problem = worker.connection.recv()
        except (EOFError, OSError):
            worker.process.join(PARENT_CHECK_SECONDS)
            return _how_it_ended(worker.process.exitcode)
        return None

    def _replace(self, number: int) -> None:
        lost = self._workers[number]
        _end([lost], os.getpid())
        self._workers[number] = fresh = self._started()
        for slot in lost.asked:
            _ask(fresh, slot)


class _Memory:
    """Anonymous memory that workers share: places int64 and images uint8 of every slot."""

    def __init__(self, num_slots: int, num_rows: int, shape: tuple[int, ...], context: Any):
        self.places_shape = (num_slots, num_rows, 3)
        self.images_shape = (num_slots, num_rows, *shape)
        self._places = context.RawArray(ctypes.c_int64, math.prod(self.places_shape))
        self._images = context.RawArray(ctypes.c_uint8, math.prod(self.images_shape))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Views: places [slots, n, 3], images [slots, n, H, W, C]."""
        places = np.frombuffer(self._places, np.int64).reshape(self.places_shape)
        return places, np.frombuffer(self._images, np.uint8).reshape(self.images_shape)


def _ask(worker: _Worker, slot: int) -> None:
    worker.asked.append(slot)
    with contextlib.suppress(OSError):  # a dead one is noticed when its batch is due
        worker.connection.send(slot)


def _end(workers: list[_Worker], owner: int) -> None:
    """Kill: workers hold nothing that has to be finished, and a stopped one hears nothing else."""
    if os.getpid() != owner:
        return  # a fork of the training process drops its copy of the loader
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        # One that waits for a dead disk does not even end now; nobody waits for it.
        worker.process.join(PARENT_CHECK_SECONDS)
        worker.connection.close()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by signal {-code} ({signal.strsignal(-code)})"
    return f"ended with exit code {code}"


# --- in the worker -------------------------------------------------------------------------


def _work(
    connection: Connection,
    others_end: Connection,
    data: PreparedData,
    crop: Crop,
    memory: _Memory,
) -> None:
    others_end.close()
    end_with_parent()
    parent = os.getppid()
    quieten()
    places, images = memory.arrays()
    with contextlib.suppress(EOFError, OSError):
        while os.getppid() == parent:
            if connection.poll(PARENT_CHECK_SECONDS):
                slot, problem = connection.recv(), None
                try:
                    gather(data, crop, places[slot], images[slot])
                except DataError as error:
                    problem = str(error)
                connection.send(problem)
