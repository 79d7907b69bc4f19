"""Folders of which only a part of each picture counts: aligned CelebA cut to the face."""

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
from PIL import Image

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.data.decoding import upright
from limner.data.pictures import UnreadablePictureError
from limner.data.sources.base import Item, Labels, Listing, Source
from limner.data.sources.folder import ImageFolder


class CelebaCrop(Config, Source, frozen=True):
    """A folder of pictures, each cut to a square of `size` pixels around `center`, before it is
    fitted. The defaults are PGGAN's create_celeba on img_align_celeba (178x218): 128x128 around
    (89, 121). Pictures that the square leaves are refused.

    Fields:
        path: the folder; classes as for any folder.
        center: (x, y) from the top left; the square takes x - size/2 up to x + size/2.
        size: side of the square in pixels, even.
    """

    path: str = ""
    center: tuple[int, int] = (89, 121)
    size: int = 128

    def __post_init__(self) -> None:
        if self.size < 2 or self.size % 2:
            raise ConfigError(f"size: {self.size} pixels; give an even number from 2 on")
        if min(self.center) < self.size // 2:
            raise ConfigError(
                f"center: {list(self.center)} is less than {self.size // 2} (half of size) from "
                "the top or the left"
            )

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        listing = ImageFolder(path=self.path).listing(labels)
        x, y = self.center
        listing.notes.append(f"cut to {self.size}x{self.size} pixels around ({x}, {y})")
        listing.items = self._items(listing.items)
        return listing

    def _items(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            yield Item(item.name, item.label, partial(self._cut, item))

    def _cut(self, item: Item) -> Image.Image:
        found = item.open()
        if isinstance(found, np.ndarray):
            raise UnreadablePictureError("an array, not a picture file")
        picture = upright(found)
        left, top = (place - self.size // 2 for place in self.center)
        right, bottom = left + self.size, top + self.size
        if right > picture.width or bottom > picture.height:
            raise UnreadablePictureError(
                f"{picture.width}x{picture.height} pixels do not reach {right}x{bottom}, where the "
                "square ends"
            )
        return picture.crop((left, top, right, bottom))
