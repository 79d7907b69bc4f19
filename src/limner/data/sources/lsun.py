"""LSUN's categories: LMDB databases of encoded pictures."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from limner.core.config import Config
from limner.core.errors import DataError, MissingExtra, printable
from limner.core.ranges import PositiveInt
from limner.data.pictures import UnreadablePictureError, open_picture
from limner.data.sources.base import MAX_FILE_BYTES, Item, Labels, Listing, Source

DATA_FILE = "data.mdb"
AGAIN = "unpack or download it again"


class Lsun(Config, Source, frozen=True):
    """The pictures of one category, such as bedroom_train_lmdb, in the order of their keys; without
    classes. What cannot be decoded is refused and counted like any picture. Needs the extra "lsun".

    The database is read by LMDB's own library, which trusts its pages: a file of unknown origin is
    better read elsewhere.

    Fields:
        path: the folder with data.mdb.
        max_images: stop after so many pictures that could be read; None takes all.
    """

    path: str = ""
    max_images: PositiveInt | None = None

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A folder with data.mdb."""
        return (path / DATA_FILE).is_file()

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        with self._transaction() as transaction:
            num_images = transaction.stat()["entries"]
        if num_images == 0:
            raise DataError(f"{self.path}: no pictures in it; {AGAIN}")
        if self.max_images is not None:
            num_images = min(num_images, self.max_images)
        return Listing(items=self._items(), num_items=num_images)

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        try:
            import lmdb
        except ImportError:
            raise MissingExtra("lmdb", "lsun", f"reading {self.path}") from None
        file = Path(self.path) / DATA_FILE
        try:
            # No lock: downloads often lie where nothing may be written.
            with lmdb.open(self.path, readonly=True, lock=False, readahead=False) as environment:
                last_page = environment.info()["last_pgno"]
                size = (last_page + 1) * environment.stat()["psize"]
                if size > file.stat().st_size:  # pages beyond the end would end the process
                    raise DataError(
                        f"{file}: {file.stat().st_size} bytes instead of {size}; {AGAIN}"
                    )
                with environment.begin() as transaction:
                    yield transaction
        except lmdb.Error as error:
            reason = printable(" ".join(str(error).split())[:200])
            raise DataError(f"{file}: cannot be read as LMDB ({reason}); {AGAIN}") from None

    def _items(self) -> Iterator[Item]:
        counter = _Counter()
        with self._transaction() as transaction:
            for key, value in transaction.cursor():
                if self.max_images is not None and counter.num_read >= self.max_images:
                    return
                name = printable(key.decode(errors="surrogateescape"))
                yield Item(name, None, counter.opener(value))


class _Counter:
    """How many pictures could be decoded so far."""

    def __init__(self) -> None:
        self.num_read = 0

    def opener(self, content: bytes) -> Any:
        def opened() -> Image.Image:
            if len(content) > MAX_FILE_BYTES:
                raise UnreadablePictureError(f"larger than {MAX_FILE_BYTES >> 20} MB")
            picture = open_picture(io.BytesIO(content))
            picture.load()
            self.num_read += 1
            return picture

        return opened
