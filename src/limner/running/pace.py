"""How long a run has trained, and how fast it goes between two lines of its log."""

import contextlib
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

    @property
    def seconds(self) -> float:
        """Seconds that the run has trained, over all its calls."""
        return self._seconds + self.now() - self._mark[0]

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
