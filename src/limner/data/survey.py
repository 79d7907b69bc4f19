"""One look at every picture of a source or prepared set: the facts that the report is made of."""

import hashlib
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from limner.core.counting import Progress
from limner.core.errors import DataError
from limner.core.parts import tag_of
from limner.data.decoding import Decoder
from limner.data.findings import Finding
from limner.data.labels import Label, Labels, only_used, stacked
from limner.data.opening import standing
from limner.data.pictures import DECODE_ERRORS, is_gray
from limner.data.prepare import reason_of, summary_of_sizes
from limner.data.prepared import PreparedData
from limner.data.sources import LabelsAsked, Source, find_source
from limner.data.values import darkness

# Of text: a built-in name, or the path of a source or prepared directory.
Data = str | os.PathLike[str] | Source | PreparedData


@dataclass
class Survey:
    """What was seen. `labels[i]`, a class or a row of numbers, belongs to `names[i]`; groups hold
    indices of equal pictures. `gray` has one entry a picture where the pixels were looked at."""

    name: str
    kind: str
    labels_mode: str
    class_names: list[str]
    names: list[str] = field(default_factory=list)
    labels: Labels = field(default_factory=lambda: np.empty(0, np.int64))
    gray: list[bool] = field(default_factory=list)
    sizes: dict[str, Any] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    duplicates: list[list[int]] = field(default_factory=list)
    num_near: int = 0


def resolved(data: Data) -> PreparedData | Source:
    """A data argument as prepared data, where it is that, or else as a source."""
    if isinstance(data, (PreparedData, Source)):
        return data
    return standing(data) or find_source(data)


def survey(data: Data, labels: LabelsAsked = "classes", progress: Progress | None = None) -> Survey:
    """Look at every picture; DataError where the source as a whole cannot be read."""
    found = resolved(data)
    if isinstance(found, PreparedData):
        seen = known(found)
        _look(found, seen, progress)
        return seen
    return _survey_source(found, labels, progress)


def _survey_source(source: Source, labels: LabelsAsked, progress: Progress | None) -> Survey:
    listed = "none" if labels == "none" else "classes"
    listing, labels_seen = source.listing(listed), list[Label]()
    seen = Survey(source.path, tag_of(type(source)), labels, listing.class_names)
    seen.refused, seen.skipped = list(listing.refused), listing.skipped
    sizes: Counter[tuple[int, int]] = Counter()
    prints, brightest = _Prints(), 0
    decode = Decoder(again=lambda: source.listing(listed).items)
    for number, item in enumerate(listing.items):
        try:
            picture = decode(item)
        except DataError:
            raise
        except DECODE_ERRORS as error:
            seen.refused.append((item.name, reason_of(error)))
        else:
            pixels = np.asarray(picture)
            seen.names.append(item.name)
            labels_seen.append(item.label)
            seen.gray.append(_gray(pixels))
            sizes[pixels.shape[1], pixels.shape[0]] += 1
            prints.add(pixels)
            brightest = max(brightest, int(pixels.max()))
        if progress is not None:
            progress(number + 1, listing.num_items)
    notes, warnings = decode.findings()
    warnings += darkness(brightest, warnings) if seen.names else []
    seen.notes, seen.warnings = listing.notes + notes, listing.warnings + warnings
    if labels == "used":
        labels_seen, seen.class_names = only_used(labels_seen, seen.class_names)
    seen.labels = stacked(labels_seen, seen.names, len(seen.class_names))
    seen.sizes = summary_of_sizes(sizes)
    seen.duplicates, seen.num_near = prints.groups(), prints.num_near()
    return seen


def known(data: PreparedData) -> Survey:
    """What is known of a prepared set without a look at its pictures."""
    info = data.info
    return Survey(
        name=data.place,
        kind=info["source"]["kind"],
        labels_mode=info["settings"]["labels"],
        class_names=data.class_names,
        names=data.names(),
        labels=np.asarray(data.labels),
        sizes=info["sizes"],
        refused=[(entry["name"], entry["reason"]) for entry in info["refused"]],
        skipped=info["skipped"],
        notes=info["notes"],
        warnings=[Finding(**entry) for entry in info.get("warnings", [])],
    )


def _look(data: PreparedData, seen: Survey, progress: Progress | None) -> None:
    prints = _Prints()
    for number in range(len(data)):
        pixels = np.asarray(data.picture(number))
        seen.gray.append(_gray(pixels))
        prints.add(pixels)
        if progress is not None:
            progress(number + 1, len(data))
    seen.duplicates, seen.num_near = prints.groups(), prints.num_near()


def _gray(pixels: np.ndarray) -> bool:
    return pixels.ndim == 2 or pixels.shape[2] == 1 or (pixels.shape[2] == 3 and is_gray(pixels))


class _Prints:
    """Two fingerprints a picture: of its exact pixels, and of its coarse look."""

    def __init__(self) -> None:
        self.exact: dict[bytes, list[int]] = defaultdict(list)
        self.coarse: dict[bytes, list[bytes]] = defaultdict(list)
        self.num = 0

    def add(self, pixels: np.ndarray) -> None:
        digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(pixels).data)
        key = digest.digest()
        if key not in self.exact:
            self.coarse[_coarse_print(pixels)].append(key)
        self.exact[key].append(self.num)
        self.num += 1

    def groups(self) -> list[list[int]]:
        return [group for group in self.exact.values() if len(group) > 1]

    def num_near(self) -> int:
        return sum(len(keys) for keys in self.coarse.values() if len(keys) > 1)


def _coarse_print(pixels: np.ndarray) -> bytes:
    # The gray picture at 8x8 in 32 levels: equal for the same picture saved twice as JPEG in most
    # cases, and for few different ones.
    gray = pixels.astype(np.float32)
    gray = gray if gray.ndim == 2 else gray.mean(2)
    small = Image.fromarray(gray).resize((8, 8), Image.Resampling.BOX)
    return np.rint(np.asarray(small) / 8).astype(np.uint8).tobytes()
