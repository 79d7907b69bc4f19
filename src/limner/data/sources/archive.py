"""A zip of picture files, with or without StyleGAN's dataset.json. Nothing is ever unpacked."""

import io
import zipfile
from collections import Counter
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
    """Pictures in a zip file. Classes stand in its dataset.json, or are its first-level folders; a
    single folder around everything is looked through."""

    path: str = ""

    @classmethod
    def reads(cls, path: Path) -> bool:
        """A zip file that is no .npz."""
        return path.suffix.lower() != ".npz" and path.is_file() and zipfile.is_zipfile(path)

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        skipped: Counter[str] = Counter()
        refused: list[tuple[str, str]] = []
        with opened(self.path) as archive:
            members: dict[str, zipfile.ZipInfo] = {}
            doubled = overlapping(archive.infolist())
            for member in archive.infolist():
                problem = problem_of_name(member)
                if problem:
                    refused.append((member.orig_filename, problem))
                elif member.is_dir() or member.filename.endswith(LABEL_FILE):
                    continue
                elif is_hidden(member.filename):
                    skipped["hidden"] += 1
                elif not is_picture_name(member.filename):
                    skipped["no picture suffix"] += 1
                elif member.header_offset in doubled:
                    refused.append((member.filename, "overlaps another entry of the zip"))
                elif member.filename in members:
                    refused.append((member.filename, "name occurs twice in the zip"))
                else:
                    members[member.filename] = member
            grouping = self._group(archive, sorted(members), labels)
        return Listing(
            items=self._items(grouping, members),
            num_items=len(grouping.labelled),
            class_names=[printable(name) for name in grouping.class_names],
            notes=[printable(note) for note in grouping.notes],
            refused=[(printable(name), reason) for name, reason in refused + grouping.refused],
            skipped=dict(skipped),
        )

    def _items(self, grouping: Grouping, members: dict[str, zipfile.ZipInfo]) -> Iterator[Item]:
        with opened(self.path) as archive:
            for name, label in grouping.labelled:
                yield Item(printable(name), label, partial(_open_member, archive, members[name]))

    def _group(self, archive: zipfile.ZipFile, names: list[str], labels: Labels) -> Grouping:
        if labels == "none":
            return unlabelled(names)
        files = [m for m in archive.infolist() if m.filename.rpartition("/")[2] == LABEL_FILE]
        if files:
            file = min(files, key=lambda member: member.filename.count("/"))
            where = f"{self.path}/{printable(file.filename)}"
            base = file.filename.removesuffix(LABEL_FILE)
            try:
                text = _read_member(archive, file)
            except UnreadablePictureError as error:
                raise DataError(f"{where}: {error}; build the zip again") from None
            pairs = labels_of_json(text, where)
            if pairs is not None:
                return group_by_json(names, [(base + name, label) for name, label in pairs], where)
        outer = {name.split("/", 1)[0] if "/" in name else "" for name in names}
        if len(outer) == 1 and "" not in outer:
            prefix = outer.pop() + "/"
            grouping = group_by_folder([name.removeprefix(prefix) for name in names])
            grouping.labelled = [(prefix + name, label) for name, label in grouping.labelled]
            grouping.refused = [(prefix + name, reason) for name, reason in grouping.refused]
            return grouping
        return group_by_folder(names)


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
