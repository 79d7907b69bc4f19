"""A folder of picture files: flat, nested, or one folder per class."""

import io
from functools import partial
from pathlib import Path

from PIL import Image

from limner.core.config import Config
from limner.core.errors import DataError, printable
from limner.data.pictures import UnreadablePictureError, open_picture
from limner.data.sources.base import (
    MAX_FILE_BYTES,
    Item,
    Labels,
    Listing,
    Source,
    is_hidden,
    walk_files,
    with_beside,
)
from limner.data.sources.grouping import is_picture_name, unlabelled
from limner.data.sources.label_files import group_by_file, grouped, listing_of

# Smaller files are read as a whole: of a file on the disk, decoders ask for as many bytes at once
# as its damaged chunks claim to have.
WHOLE_BYTES = 32 * 2**20


class ImageFolder(Config, Source, frozen=True):
    """Pictures below a folder, found recursively. Classes are the first-level folders, or stand in
    a dataset.json (StyleGAN's form) or labels.csv at the root; a single folder around everything is
    looked through.

    Fields:
        path: the folder.
        label_file: a file like those that lies elsewhere.
    """

    path: str = ""
    label_file: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """Any directory."""
        return path.is_dir()

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        root, names = Path(self.path), []
        refused: list[tuple[str, str]] = []
        others: list[str] = []
        num_hidden = 0
        for name, status in walk_files(root, refused):
            if is_hidden(name):
                num_hidden += 1
            elif not is_picture_name(name):
                others.append(name)
            elif status.st_size > MAX_FILE_BYTES:
                refused.append((name, f"larger than {MAX_FILE_BYTES >> 20} MB"))
            else:
                names.append(name)
        grouping = unlabelled(names)
        if labels == "classes" and self.label_file:
            grouping = group_by_file(names, self.label_file)
        elif labels == "classes":
            grouping = grouped(names, others, partial(_content, root), self.path)
        items = (
            Item(printable(name), label, partial(_open_file, root / name))
            for name, label in grouping.labelled
        )
        return listing_of(grouping, items, refused, others, num_hidden)

    def identity(self) -> str:
        """That of the folder, and of the labels elsewhere."""
        beside = Path(self.label_file) if self.label_file else None
        return with_beside(super().identity(), beside)


def _content(root: Path, name: str) -> bytes:
    file = root / name
    if file.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"{file}: larger than {MAX_FILE_BYTES >> 20} MB; remove it")
    return file.read_bytes()


def _open_file(path: Path) -> Image.Image:
    size = path.stat().st_size
    if size == 0:
        raise UnreadablePictureError("empty file")
    if size > WHOLE_BYTES:
        return open_picture(path)
    return open_picture(io.BytesIO(path.read_bytes()))
