"""Where shards lie: a folder, or a URL that fsspec reads; and patience with what fails."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from limner.core.errors import DataError, MissingExtra, printable
from limner.core.understood import is_url

Value = TypeVar("Value")

WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between the attempts
RANGES_AT_ONCE = 64  # pictures asked of a store together


class NoDriver(DataError):  # noqa: N818 - reads as a sentence, as MissingExtra
    """The URL's protocol is unknown, or its driver is not installed."""


class Place:
    """A folder of shards with their index, or the URL of one.

    Args:
        text: a path, or a URL such as s3://bucket/faces; the user installs its driver (s3fs, gcsfs,
            huggingface_hub, aiohttp for http), which reads its own settings and credentials.
        waits: seconds between attempts that fail, one more attempt than these; None takes WAITS.
    """

    def __init__(self, text: str | os.PathLike[str], waits: Sequence[float] | None = None):
        self.is_url = is_url(text)
        self.text = str(text).rstrip("/") if self.is_url else str(Path(text).expanduser())
        self.waits = WAITS if waits is None else tuple(waits)

    def name_of(self, name: str) -> str:
        """A file's whole name, as messages have it."""
        return f"{self.text}/{name}"

    def begin_of(self, name: str, num_bytes: int) -> bytes | None:
        """The first bytes of a file; None where it is not there."""

        def read() -> bytes | None:
            try:
                return self._driver().cat_file(self.name_of(name), start=0, end=num_bytes)
            except FileNotFoundError:
                return None

        return self.patiently(name, read)

    def read_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Parts of files of a URL, many at once."""
        found: list[bytes] = []
        for first in range(0, len(ranges), RANGES_AT_ONCE):
            some = ranges[first : first + RANGES_AT_ONCE]
            names, begins, ends = (list(column) for column in zip(*some, strict=True))
            paths = [self.name_of(name) for name in names]
            found += self.patiently(
                names[0],
                lambda paths=paths, begins=begins, ends=ends: _cut(
                    self._driver().cat_ranges(paths, begins, ends, on_error="raise"), begins, ends
                ),
            )
        return found

    def copy(self, name: str, target: Path) -> None:
        """Fetch a whole file, in one attempt. Raises what its driver raises."""
        self._driver().get_file(self.name_of(name), str(target))

    def put(self, source: Path, name: str) -> None:
        """Store a whole file."""
        if self.is_url:
            self.patiently(name, lambda: self._driver().put_file(str(source), self.name_of(name)))
        else:
            os.replace(source, Path(self.text) / name)

    def patiently(self, name: str, work: Callable[[], Value]) -> Value:
        """Do something again and again until it succeeds.

        Raises:
            DataError: every attempt failed; names the file, and what the last one met.
        """
        problem: BaseException | None = None
        for wait in (0.0, *self.waits):
            time.sleep(wait)
            # A driver raises errors of its own libraries' kinds; a future holds whatever it was.
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(work)
                problem = future.exception()
            if problem is None:
                return future.result()
            if isinstance(problem, (MissingExtra, NoDriver)):
                raise problem
        reason = printable(" ".join(str(problem).split()))[:300] or "no reason given"
        raise DataError(
            f"{self.name_of(name)}: {reason} ({type(problem).__name__}, in "
            f"{len(self.waits) + 1} attempts); the same command goes on once it can be read"
        )

    def _driver(self) -> Any:
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise MissingExtra("fsspec", "shards", f"reading {self.text}") from None
        protocol = self.text.partition(":")[0]
        try:
            return url_to_fs(self.text, use_listings_cache=False)[0]
        except ImportError as error:
            raise NoDriver(f"{self.text}: {error}; install the driver of {protocol}") from None
        except ValueError as error:
            raise NoDriver(f"{self.text}: {error}") from None


def _cut(found: list[bytes], begins: list[int], ends: list[int]) -> list[bytes]:
    """What was asked for; an answer that is short is a failed attempt."""
    for content, begin, end in zip(found, begins, ends, strict=True):
        if len(content) != end - begin:
            raise OSError(f"{len(content)} bytes instead of {end - begin}")
    return found
