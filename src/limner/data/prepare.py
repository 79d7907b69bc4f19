"""Every picture of a source decoded once, checked, fitted, and written as one array."""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from limner.core.counting import Progress
from limner.core.errors import DataError, printable
from limner.core.files import sha256_of, whole_directory
from limner.core.parts import tag_of
from limner.data.config import DataConfig
from limner.data.decoding import Decoder
from limner.data.labels import Label, class_counts, only_used, stacked
from limner.data.pictures import DECODE_ERRORS, fitted
from limner.data.prepared import (
    FORMAT,
    IMAGES,
    INFO,
    KEPT_VERSION,
    LABELS,
    NAMES,
    ROWS_VERSION,
    SIZES,
    SQUARES_VERSION,
    PreparedData,
    identity_of_content,
)
from limner.data.sources import Item, Listing, Source, find_source
from limner.data.values import darkness

MAX_REFUSED_LISTED = 10_000
HEADER_BYTES = 128
BLOCK_BYTES = 2**20


def prepare(
    source: str | os.PathLike[str] | Source,
    out: str | os.PathLike[str],
    config: DataConfig,
    progress: Progress | None = None,
) -> PreparedData:
    """Bring a source (built-in name, path or Source) into the prepared form.

    Everything is written to a temporary directory beside `out`, flushed, and renamed: `out` is
    whole or absent. Pictures that cannot be read are left out and listed with their reasons under
    "refused" in dataset.json. Memory stays bounded by a picture's size, not by the number of them.

    Raises:
        DataError: the source cannot be understood, no picture of it can be read, or `out` exists
            and is not empty.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out}: exists already; remove it or give another place")
    found = find_source(source, config.source)
    listing = found.listing(config.listed)
    with whole_directory(out) as temporary:
        _write(temporary, found, listing, config, progress)
    return PreparedData(out)


@dataclass
class _Accepted:
    """What was written of a source's pictures, and what was not."""

    refused: list[dict[str, str]]
    labels: list[Label] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    brightest: int = 0


def _write(
    directory: Path,
    source: Source,
    listing: Listing,
    config: DataConfig,
    progress: Progress | None,
) -> dict[str, Any]:
    decode = Decoder(
        config.channels, config.value_range, lambda: source.listing(config.listed).items
    )
    keeps = config.prepared_fit == "keep"
    writer = _ImageWriter(directory / IMAGES, None if keeps else config.size)
    accepted = _write_images(writer, decode, listing, config, progress)
    names = accepted.names
    if not names:
        raise DataError(_nothing_accepted(source, accepted.refused, listing))
    labels, classes = accepted.labels, listing.class_names
    if config.labels == "used":
        labels, classes = only_used(labels, classes)
    held = stacked(labels, names, len(classes), config.max_label_size)
    if held.ndim == 2:
        classes = classes[: held.shape[1]]
    np.save(directory / LABELS, held)
    (directory / NAMES).write_bytes(json.dumps(names, indent=0).encode())
    files = [IMAGES, LABELS, NAMES]
    if keeps:
        np.save(directory / SIZES, np.asarray(writer.sizes, np.int64))
        files.append(SIZES)
    counts = class_counts(held, len(classes)).tolist()
    info: dict[str, Any] = {
        "format": FORMAT,
        "version": _version(held, keeps),
        "sha256": "",
        "num_images": len(names),
        "image_shape": [writer.channels, *config.size],
        "classes": [
            {"name": name, "count": count} for name, count in zip(classes, counts, strict=True)
        ],
        "settings": {**config.settings(), "channels": writer.channels},
        **_origin(source, listing, accepted, decode),
        "sizes": summary_of_sizes(accepted.sizes),
        "files": {name: sha256_of(directory / name) for name in files},
    }
    info["sha256"] = identity_of_content(info)
    text = json.dumps(info, indent=2, ensure_ascii=False) + "\n"
    (directory / INFO).write_bytes(text.encode())
    return info


def _write_images(
    writer: "_ImageWriter",
    decode: Decoder,
    listing: Listing,
    config: DataConfig,
    progress: Progress | None,
) -> _Accepted:
    accepted = _Accepted([{"name": name, "reason": reason} for name, reason in listing.refused])
    try:
        for number, item in enumerate(listing.items):
            pixels, size, reason = _decoded(item, config, decode)
            if pixels is None:
                accepted.refused.append({"name": item.name, "reason": reason})
            else:
                writer.add(pixels)
                accepted.labels.append(item.label)
                accepted.names.append(item.name)
                accepted.sizes[size] += 1
                accepted.brightest = max(accepted.brightest, int(pixels.max()))
            if progress is not None:
                progress(number + 1, listing.num_items)
        writer.finish()
    finally:
        writer.close()
    return accepted


def _version(labels: np.ndarray, keeps: bool) -> int:
    if labels.ndim == 2:
        return ROWS_VERSION
    return KEPT_VERSION if keeps else SQUARES_VERSION


def _origin(
    source: Source, listing: Listing, accepted: _Accepted, decode: Decoder
) -> dict[str, Any]:
    notes, warnings = decode.findings()
    warnings += darkness(accepted.brightest, warnings)
    refused = accepted.refused
    return {
        "source": {"kind": tag_of(type(source)), "name": _own_name(source)},
        "num_refused": len(refused),
        "refused": refused[:MAX_REFUSED_LISTED],
        "skipped": listing.skipped,
        "notes": listing.notes + notes,
        "warnings": [finding._asdict() for finding in listing.warnings + warnings],
    }


def _own_name(source: Source) -> str:
    return printable(Path(source.path).absolute().name)


def _decoded(
    item: Item, config: DataConfig, decode: Decoder
) -> tuple[np.ndarray | None, tuple[int, int], str]:
    """Pixels, the picture's own (width, height), and the reason where there are no pixels."""
    try:
        picture = decode(item)
        if isinstance(picture, np.ndarray):
            size = (picture.shape[1], picture.shape[0])
        else:
            size = picture.size
        pixels = fitted(picture, config.size, config.channels, config.prepared_fit, config.filter)
    except DataError:
        raise
    except DECODE_ERRORS as error:
        return None, (0, 0), reason_of(error)
    return pixels, size, ""


def reason_of(error: BaseException) -> str:
    """One line that says why a picture is refused."""
    text = printable(" ".join(str(error).split())) or "cannot be decoded"
    known = isinstance(error, (ValueError, OSError)) and not isinstance(error, UnicodeError)
    return text[:300] if known else f"damaged ({type(error).__name__}: {text})"[:300]


def _nothing_accepted(source: Source, refused: list[dict[str, str]], listing: Listing) -> str:
    message = f"{source.path}: no picture could be read"
    if refused:
        message += f"; {len(refused)} refused, first {refused[0]['name']}: {refused[0]['reason']}"
    skipped = sum(listing.skipped.values())
    if skipped:
        message += f"; {skipped} files skipped ({', '.join(listing.skipped)})"
    told = [finding.message for finding in listing.warnings]
    return "; ".join([message, *told, "limner data report SOURCE says more"])


def summary_of_sizes(sizes: Counter[tuple[int, int]]) -> dict[str, Any]:
    """The pictures' own sizes: how many different, the extremes by area, the
    extreme aspects (width / height), the most common."""
    if not sizes:
        return {
            "num_distinct": 0, "smallest": None, "largest": None, "aspects": None, "common": [],
        }  # fmt: skip
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    common = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))[:10]
    return {
        "num_distinct": len(sizes),
        "smallest": list(by_area[0]),
        "largest": list(by_area[-1]),
        "aspects": [min(w / h for w, h in sizes), max(w / h for w, h in sizes)],
        "common": [[width, height, count] for (width, height), count in common],
    }


class _ImageWriter:
    """Appends pictures to an .npy whose length is not known before the end.

    With a size (height, width) it becomes [N, H, W, C]; without one it stays flat, and `sizes` has
    the height and width of each picture.

    It starts with the channels of the first picture; when the first colored one comes after gray
    ones (only with channels=None), what is written so far is rewritten with three channels.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None):
        self.path, self.size = path, size
        self.channels = 0
        self.num_images = self.num_values = 0
        self.sizes: list[tuple[int, int]] = []
        self.file = open(path, "w+b")  # noqa: SIM115 - closed by close()
        self.file.write(bytes(HEADER_BYTES))

    def add(self, pixels: np.ndarray) -> None:
        if self.channels == 0:
            self.channels = pixels.shape[2]
        if pixels.shape[2] > self.channels:
            self._make_color()
        elif pixels.shape[2] < self.channels:
            pixels = np.repeat(pixels, self.channels, axis=2)
        self.file.write(np.ascontiguousarray(pixels).data)
        self.num_images += 1
        self.num_values += pixels.size
        if self.size is None:
            self.sizes.append((pixels.shape[0], pixels.shape[1]))

    def finish(self) -> None:
        shape: tuple[int, ...] = (self.num_values,)
        if self.size is not None:
            shape = (self.num_images, *self.size, self.channels)
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
        magic = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
        self.file.seek(0)
        self.file.write(magic + text.encode().ljust(HEADER_BYTES - 11) + b"\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()

    def _make_color(self) -> None:
        gray_path = self.path.with_name("gray.tmp")
        self.file.flush()
        os.replace(self.path, gray_path)
        colored = open(self.path, "w+b")  # noqa: SIM115 - closed by close()
        colored.write(bytes(HEADER_BYTES))
        self.file.seek(HEADER_BYTES)
        while values := self.file.read(BLOCK_BYTES):
            colored.write(np.repeat(np.frombuffer(values, np.uint8), 3).data)
        self.file.close()
        gray_path.unlink()
        self.num_values *= 3
        self.file, self.channels = colored, 3
