"""A zip of picture files, with or without StyleGAN's dataset.json. Nothing is ever unpacked."""

import io
import zipfile
from collections.abc import Iterator
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
    with_beside,
)
from limner.data.sources.grouping import Grouping, is_picture_name, unlabelled
from limner.data.sources.label_files import group_by_file, grouped, listing_of
from limner.formats.zips import (
    opened,
    overlapping,
    problem_of_member,
    problem_of_name,
    problems_as,
)

# A picture is compressed already: a member that grows a hundredfold is built to fill memory.
MAX_RATIO, RATIO_FROM_BYTES = 100, 2**20


class ImageZip(Config, Source, frozen=True):
    """Pictures in a zip file. Classes stand in its dataset.json or labels.csv, or are its
    first-level folders; a single folder around everything is looked through.

    Fields:
        path: the zip.
        label_file: a file like those that lies elsewhere.
    """

    path: str = ""
    label_file: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A zip file that is no .npz."""
        return path.suffix.lower() != ".npz" and path.is_file() and zipfile.is_zipfile(path)

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        refused: list[tuple[str, str]] = []
        others: list[str] = []
        num_hidden = 0
        with opened(self.path) as archive:
            members: dict[str, zipfile.ZipInfo] = {}
            doubled = overlapping(archive.infolist())
            for member in archive.infolist():
                problem = problem_of_name(member)
                if problem:
                    refused.append((member.orig_filename, problem))
                elif member.is_dir():
                    continue
                elif is_hidden(member.filename):
                    num_hidden += 1
                elif not is_picture_name(member.filename):
                    others.append(member.filename)
                elif member.header_offset in doubled:
                    refused.append((member.filename, "overlaps another entry of the zip"))
                elif member.filename in members:
                    refused.append((member.filename, "name occurs twice in the zip"))
                else:
                    members[member.filename] = member
            grouping = unlabelled(sorted(members))
            if labels == "classes" and self.label_file:
                grouping = group_by_file(sorted(members), self.label_file)
            elif labels == "classes":
                read = partial(self._content, archive)
                grouping = grouped(sorted(members), others, read, self.path)
        items = self._items(grouping, members)
        return listing_of(grouping, items, refused, others, num_hidden)

    def identity(self) -> str:
        """That of the zip, and of the labels elsewhere."""
        beside = Path(self.label_file) if self.label_file else None
        return with_beside(super().identity(), beside)

    def _items(self, grouping: Grouping, members: dict[str, zipfile.ZipInfo]) -> Iterator[Item]:
        with opened(self.path) as archive:
            for name, label in grouping.labelled:
                yield Item(printable(name), label, partial(_open_member, archive, members[name]))

    def _content(self, archive: zipfile.ZipFile, name: str) -> bytes:
        try:
            return _read_member(archive, archive.getinfo(name))
        except UnreadablePictureError as error:
            where = f"{self.path}/{printable(name)}"
            raise DataError(f"{where}: {error}; build the zip again") from None


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    problem = problem_of_member(member)
    if problem:
        raise UnreadablePictureError(problem)
    size = member.file_size
    if size > MAX_FILE_BYTES:
        raise UnreadablePictureError(f"larger than {MAX_FILE_BYTES >> 20} MB")
    if size > RATIO_FROM_BYTES and size > MAX_RATIO * max(1, member.compress_size):
        raise UnreadablePictureError(f"compressed more than {MAX_RATIO}-fold in the zip")
    with problems_as(UnreadablePictureError, "damaged in the zip"), archive.open(member) as file:
        content = file.read(size + 1)
    if len(content) != size:
        raise UnreadablePictureError("its size in the zip is not what the zip declares")
    return content


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Image.Image:
    content = _read_member(archive, member)
    if not content:
        raise UnreadablePictureError("empty file")
    return open_picture(io.BytesIO(content))
