"""How long a run has trained, and how fast it goes between two lines of its log."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

Record = dict[str, Any]


class Pace:
    """The clock on the wall (`now`, in seconds, only goes forward). Every mark of it is set by
    `begin`, wherever a run takes up a state."""

    def __init__(self, now: Callable[[], float] = time.perf_counter):
        self.now = now
        self.begin(0.0, 0, 0.0)

    def begin(self, seconds: float, nimg: int, waited: float) -> None:
        """Stand where a state stands: seconds that the run had trained, real images that it had
        seen, and seconds that its loader, made anew, has waited."""
        self._seconds, self._waited = seconds, waited
        self._mark = (self.now(), nimg)  # moment and nimg of the last log line
        self._maintenance = 0.0  # seconds of pictures, saves and scores since then
        self._tick: tuple[int, float | None] | None = None  # the newest, and when it began
        self._rang = seconds  # when `rings` was asked last
        self._began: tuple[float, float] = (self._mark[0], 0.0)  # moment and work done, see `start`

    @property
    def seconds(self) -> float:
        """Seconds that the run has trained, over all its calls."""
        return self._seconds + self.now() - self._mark[0]

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """What happens inside takes none of the run's time."""
        begin = self.now()
        try:
            yield
        finally:
            self._mark = (self._mark[0] + self.now() - begin, self._mark[1])

    def rings(self, first: float) -> bool:
        """Whether the run has passed `first` seconds, or twice, four times, ... as many, since this
        was asked before. The seconds are in the run's state, so a resumed run goes on with them."""
        before, self._rang = self._rang, self.seconds
        return first > 0 and _doublings(self._rang / first) > _doublings(before / first)

    def start(self, done: float) -> None:
        """Steps begin here, with so much of the run's length done."""
        self._began = (self.now(), done)

    def left(self, done: float, total: float) -> float | None:
        """Seconds until `total` is done, if all goes on as it went since `start`, over all steps;
        None before the first of them."""
        began, before = self._began
        return None if done <= before else (self.now() - began) * (total - done) / (done - before)

    @contextlib.contextmanager
    def maintaining(self) -> Iterator[None]:
        """What happens inside is not training."""
        begin = self.now()
        try:
            yield
        finally:
            self._maintenance += self.now() - begin

    def hear(self, record: Record) -> Record:
        """A log line's tick and seconds: the seconds of each tick that ended since the line before,
        as far as the lines tell when the first of them began (the run's first tick: at 0)."""
        tick, seconds = record.get("tick"), record["seconds"]
        if tick is None:
            return {}
        before, self._tick = self._tick or (tick, None if tick else 0.0), (tick, seconds)
        if tick <= before[0]:
            self._tick = before
        elif before[1] is not None:
            return {"seconds_per_tick": round((seconds - before[1]) / (tick - before[0]), 3)}
        return {}

    def num_images(self, nimg: int) -> int:
        """Shown since the last log line."""
        return nimg - self._mark[1]

    def images_per_second(self, now: float, nimg: int) -> float:
        """Since the last log line."""
        return self.num_images(nimg) / max(now - self._mark[0], 1e-9)

    def measure(self, now: float, nimg: int, waited: float) -> Record:
        """The figures of a log line whose steps had ended at `now`, and a mark for the next one;
        `nimg` and `waited` as for `begin`."""
        before, nimg_before = self._mark
        elapsed, num_images = max(now - before, 1e-9), nimg - nimg_before
        self._seconds += now - before
        record: Record = {
            "seconds": round(self._seconds, 3),
            "images_per_second": round(num_images / elapsed, 2),
            "data_wait_share": round((waited - self._waited) / elapsed, 5),
            # without what is not training, and that
            "seconds_per_kimg": round((elapsed - self._maintenance) / max(num_images, 1) * 1000, 3),
            "maintenance": round(self._maintenance, 3),
        }
        self._mark, self._waited, self._maintenance = (now, nimg), waited, 0.0
        return record


def _doublings(share: float) -> int:
    """How many of 1, 2, 4, ... are at most `share`."""
    return math.frexp(share)[1] if share >= 1 else 0
