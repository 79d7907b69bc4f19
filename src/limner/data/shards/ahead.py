"""A process that has the shards of the next pictures on the disk before they are asked for."""

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import Process

from limner.core.errors import DataError
from limner.data.leaving import end_with_parent, quieten
from limner.data.order import WindowOrder
from limner.data.shards.copies import Copies

AT_ONCE = 4  # shards that one process fetches together
ATTEMPTS = 3  # fetching processes that may be lost over one wait
POLL_SECONDS, IDLE_SECONDS = 0.05, 1.0


class Ahead:
    """Fetches and verifies the shards of the window that is shown and of the next.

    A process of its own: a driver's threads and hashing take no time from the training.
    """

    def __init__(self, copies: Copies, order: WindowOrder):
        self._copies, self._order = copies, order
        self._wanted: list[int] = []
        self._there: set[int] = set()  # as the process said, and whole
        self._failed: dict[int, str] = {}
        self._process: Process | None = None
        self._connection: Connection | None = None

    def secure(
        self, position: int, count: int, give_up: Callable[[], object] = lambda: False
    ) -> None:
        """Wait until all shards of the next `count` pictures are on the disk, and have the window
        behind them fetched; return early where `give_up` says so. What was there already is
        compared with its sha256 meanwhile, and the next call fails where it differs.

        Raises:
            DataError: one of the shards cannot be had, or is damaged.
        """
        windows = self._order.windows(position, count)
        needed = [i for window in windows[:-1] for i in self._order.shards(*window)]
        # Two windows at a time, which is what the cache of copies has room for.
        behind = self._order.shards(*windows[-1]) if len(windows) == 2 else []
        wanted = list(dict.fromkeys([*needed, *behind]))
        missing = [i for i in needed if not self._copies.has(i)]
        if wanted != self._wanted or missing:
            self._want(wanted)
        num_lost, seconds = 0, 0.0
        while True:
            try:
                self._listen(seconds)
            except (EOFError, OSError):
                num_lost += 1
                if num_lost == ATTEMPTS:
                    raise DataError(
                        f"{self._copies.place.text}: {ATTEMPTS} processes that fetch shards were "
                        "lost; look at memory and disk"
                    ) from None
                self.close()
                self._want(wanted)
            if failed := [self._failed[i] for i in needed if i in self._failed]:
                self._wanted = []  # so that the next call asks again
                raise DataError(failed[0])
            missing = [i for i in missing if i not in self._there]
            if not missing or give_up():
                return
            seconds = POLL_SECONDS

    def _want(self, wanted: list[int]) -> None:
        self._wanted = wanted
        self._failed.clear()
        self._there.clear()
        if self._process is None:
            context = get_context()
            self._connection, theirs = context.Pipe()
            arguments = (theirs, self._connection, self._copies)
            self._process = context.Process(target=_fetch, args=arguments, daemon=True)
            self._process.start()
            theirs.close()
        if self._connection is not None:
            with contextlib.suppress(OSError):  # a dead one is noticed when it is listened to
                self._connection.send(wanted)

    def _listen(self, seconds: float) -> None:
        connection = self._connection
        while connection is not None and connection.poll(seconds):
            shard, problem = connection.recv()
            seconds = 0.0
            if shard not in self._wanted:
                continue
            if problem is None:
                self._there.add(shard)
            else:
                self._failed[shard] = problem

    def close(self) -> None:
        """End the process; what it was fetching is begun again by the next."""
        if self._process is not None:
            self._process.kill()
            self._process.join(IDLE_SECONDS)
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _fetch(connection: Connection, others_end: Connection, copies: Copies) -> None:
    """The process: has what it is told to want on the disk, and says of each shard once it is, or
    why it cannot be."""
    others_end.close()
    end_with_parent()
    parent = os.getppid()
    quieten()
    at_once = AT_ONCE if copies.place.is_url else 1  # a disk is read for the pictures, too
    with ThreadPoolExecutor(at_once) as pool, contextlib.suppress(EOFError, OSError):
        running: dict[int, Future[None]] = {}
        verified: set[int] = set()
        while os.getppid() == parent:
            if connection.poll(POLL_SECONDS if running else IDLE_SECONDS):
                _take_up(connection.recv(), copies, running, verified, pool)
            for shard, future in list(running.items()):
                if future.done():
                    del running[shard]
                    if not future.cancelled():
                        problem = future.exception()
                        (verified.add if problem is None else verified.discard)(shard)
                        connection.send((shard, None if problem is None else str(problem)))


def _take_up(
    wanted: Sequence[int],
    copies: Copies,
    running: dict[int, Future[None]],
    verified: set[int],
    pool: ThreadPoolExecutor,
) -> None:
    copies.make_room(wanted)
    for shard, future in running.items():
        if shard not in wanted:
            future.cancel()
    for shard in wanted:
        if shard not in running or running[shard].cancelled():
            running[shard] = pool.submit(copies.secure, shard, shard in verified)
