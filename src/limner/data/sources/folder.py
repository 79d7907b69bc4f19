"""A folder of picture files: flat, nested, or one folder per class."""

import io
from collections import Counter
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
)
from limner.data.sources.grouping import (
    LABEL_FILE,
    Grouping,
    group_by_folder,
    group_by_json,
    is_picture_name,
    labels_of_json,
    unlabelled,
)

# Smaller files are read as a whole: of a file on the disk, decoders ask for as many bytes at once
# as its damaged chunks claim to have.
WHOLE_BYTES = 32 * 2**20


class ImageFolder(Config, Source, frozen=True):
    """Pictures below a folder, found recursively. Classes are the first-level folders, or stand in
    a dataset.json at the root (StyleGAN's form)."""

    path: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """Any directory."""
        return path.is_dir()

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        root, names = Path(self.path), []
        refused: list[tuple[str, str]] = []
        skipped: Counter[str] = Counter()
        for name, status in walk_files(root, refused):
            if is_hidden(name):
                skipped["hidden"] += 1
            elif not is_picture_name(name):
                skipped["no picture suffix"] += 1
            elif status.st_size > MAX_FILE_BYTES:
                refused.append((name, f"larger than {MAX_FILE_BYTES >> 20} MB"))
            else:
                names.append(name)
        grouping = self._group(root, names, labels)
        return Listing(
            items=(
                Item(printable(name), label, partial(_open_file, root / name))
                for name, label in grouping.labelled
            ),
            num_items=len(grouping.labelled),
            class_names=[printable(name) for name in grouping.class_names],
            notes=[printable(note) for note in grouping.notes],
            refused=[(printable(name), reason) for name, reason in refused + grouping.refused],
            skipped=dict(skipped),
        )

    def _group(self, root: Path, names: list[str], labels: Labels) -> Grouping:
        if labels == "none":
            return unlabelled(names)
        label_file = root / LABEL_FILE
        if label_file.is_file():
            if label_file.stat().st_size > MAX_FILE_BYTES:
                raise DataError(f"{label_file}: larger than {MAX_FILE_BYTES >> 20} MB; remove it")
            pairs = labels_of_json(label_file.read_bytes(), str(label_file))
            if pairs is not None:
                return group_by_json(names, pairs, str(label_file))
        return group_by_folder(names)


def _open_file(path: Path) -> Image.Image:
    size = path.stat().st_size
    if size == 0:
        raise UnreadablePictureError("empty file")
    if size > WHOLE_BYTES:
        return open_picture(path)
    return open_picture(io.BytesIO(path.read_bytes()))
