"""TFRecord files of pictures as PGGAN's dataset_tool and StyleGAN's wrote them, without TensorFlow.

A file is a row of records: length (uint64), its masked CRC-32C, content, its masked CRC-32C, little
endian. The content is a tf.train.Example with two features: "shape", int64 [3] (C, H, W), and
"data", the pixels as bytes (tensorflow/core/example/example.proto and feature.proto). A set is a
folder NAME with NAME-r02.tfrecords (4x4) up to its resolution, NAME-r07.tfrecords for 128x128, and
the labels of all of them in NAME-rxx.labels, an array float32 [N, classes].
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from limner.core.errors import DataError
from limner.core.limits import MAX_PIXELS
from limner.formats.crc32c import masked_crc32c
from limner.formats.protobuf import (
    MessageError,
    bytes_in,
    fields_of,
    varint,
    written_field,
    written_varint,
)

EXTRA = "tfrecord"
MIN_LEVEL = 2  # 4x4
LEVEL_FILE = re.compile(r"(.*)-r(\d\d)\.tfrecords")
MAX_CHANNELS = 4
MAX_RECORD_BYTES = MAX_PIXELS * MAX_CHANNELS + 2**20
HEADER_BYTES, CHECKSUM_BYTES = 12, 4
INT64_LIST, BYTES_LIST = 3, 1  # fields of a Feature


def level_name(name: str, level: int) -> str:
    """The file of the pictures of 2^level pixels in the set of that name."""
    return f"{name}-r{level:02d}.tfrecords"


def labels_name(name: str) -> str:
    """The file of the labels in the set of that name."""
    return f"{name}-rxx.labels"


# --- records -------------------------------------------------------------------


def framed(content: bytes) -> bytes:
    """A record as it stands in a file; MissingExtra without google-crc32c."""
    length = len(content).to_bytes(8, "little")
    return length + _checksum(length) + content + _checksum(content)


def _checksum(content: bytes) -> bytes:
    return masked_crc32c(content, EXTRA, "a TFRecord file").to_bytes(CHECKSUM_BYTES, "little")


def records_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, content) of each record, one in memory at a time.

    Raises:
        DataError: names the file, the offset of the damaged record, and what to do.
        MissingExtra: google-crc32c is not installed.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        at = 0
        while at < size:
            header = file.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                raise _damaged(path, at, "the file is cut inside it")
            if _checksum(header[:8]) != header[8:]:
                hint = ", or the file is compressed or no TFRecord file" if at == 0 else ""
                raise _damaged(path, at, f"the checksum of its length differs{hint}")
            length = int.from_bytes(header[:8], "little")
            end = at + HEADER_BYTES + length + CHECKSUM_BYTES
            if length > MAX_RECORD_BYTES:
                raise DataError(
                    f"{path}: the record at byte {at} has {length} bytes, at most "
                    f"{MAX_RECORD_BYTES} are read; store smaller pictures"
                )
            if end > size:
                raise _damaged(path, at, f"it ends at {end}, the file at {size}")
            content = file.read(length)
            if _checksum(content) != file.read(CHECKSUM_BYTES):
                raise _damaged(path, at, "its checksum differs")
            yield at, content
            at = end


def _damaged(path: Path, offset: int, reason: str) -> DataError:
    return DataError(
        f"{path}: the record at byte {offset} is damaged ({reason}); "
        "copy or download the file again, or write it anew"
    )


# --- examples ------------------------------------------------------------------


def example_of(pixels: np.ndarray) -> bytes:
    """The tf.train.Example of a picture uint8 [C, H, W], byte for byte what TensorFlow makes."""
    shape = b"".join(map(written_varint, pixels.shape))
    features = _feature(b"shape", INT64_LIST, shape) + _feature(
        b"data", BYTES_LIST, pixels.tobytes()
    )
    return written_field(1, features)


def _feature(name: bytes, kind: int, values: bytes) -> bytes:
    held = written_field(kind, written_field(1, values))
    return written_field(1, written_field(1, name) + written_field(2, held))


def pixels_of(example: bytes, path: Path, offset: int) -> np.ndarray:
    """The picture uint8 [C, H, W] of a tf.train.Example. Raises DataError where it holds something
    else than a shape of up to MAX_CHANNELS channels and as many bytes as the shape needs."""
    where = f"{path}: the record at byte {offset}"
    try:
        features = _features_of(example)
        shape = _numbers_in(features.get(b"shape", b""))
        data = bytes_in(fields_of(bytes_in(fields_of(features.get(b"data", b"")), BYTES_LIST)), 1)
    except MessageError as error:
        raise DataError(
            f"{where} is no tf.train.Example ({error}); give files that PGGAN's dataset_tool wrote"
        ) from None
    if not features.keys() >= {b"shape", b"data"}:
        names = ", ".join(sorted(repr(name[:40])[1:] for name in features)[:5]) or "nothing"
        raise DataError(
            f"{where} holds {names}, not 'shape' and 'data'; "
            "give files that PGGAN's dataset_tool wrote"
        )
    if len(shape) != 3 or not 1 <= shape[0] <= MAX_CHANNELS or 0 in shape[1:]:
        shown = [min(size, 2**31) for size in shape[:6]]
        raise DataError(
            f"{where} has the shape {shown}; give pictures [C, H, W] of 1 to "
            f"{MAX_CHANNELS} channels"
        )
    if math.prod(shape) != len(data) or shape[1] * shape[2] > MAX_PIXELS:
        raise DataError(
            f"{where} holds {len(data)} bytes for the shape {shape}; write the file anew"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _features_of(example: bytes) -> dict[bytes, bytes]:
    features: dict[bytes, bytes] = {}
    for entry in fields_of(bytes_in(fields_of(example), 1)).get(1, []):
        if not isinstance(entry, bytes):
            raise MessageError("a feature that is a number")
        fields = fields_of(entry)
        features[bytes_in(fields, 1)] = bytes_in(fields, 2)
    return features


def _numbers_in(feature: bytes) -> list[int]:
    """The values of an Int64List, packed or one by one."""
    numbers: list[int] = []
    for held in fields_of(bytes_in(fields_of(feature), INT64_LIST)).get(1, []):
        at = 0
        if isinstance(held, int):
            numbers.append(held)
            continue
        while at < len(held):
            number, at = varint(held, at)
            numbers.append(number)
    return numbers


# --- levels --------------------------------------------------------------------


def level_of(resolution: int, where: str) -> int:
    """log2 of a resolution that PGGAN grows to, a power of two from 4 on; else DataError names the
    nearest."""
    level = max(MIN_LEVEL, round(math.log2(max(1, resolution))))
    if resolution != 2**level:
        raise DataError(
            f"{where}: {resolution} pixels are no power of two from 4 on, as TFRecords of several "
            f"resolutions need; the nearest is {2**level}"
        )
    return level


def pyramid(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """A picture uint8 [C, R, R] and its means down to 4x4, each uint8 [C, R/2^k, R/2^k].

    The mean of 2x2 pixels is taken of the level above before rounding; each level is rounded (half
    to even) by itself (PGGAN's dataset_tool, TFRecordExporter.add_image). Sums of bytes are exact
    in float32 up to 1024x1024.
    """
    yield pixels
    values = pixels.astype(np.float32)
    while values.shape[1] > 2**MIN_LEVEL:
        top, bottom = values[:, 0::2], values[:, 1::2]
        values = (top[..., 0::2] + top[..., 1::2] + bottom[..., 0::2] + bottom[..., 1::2]) * 0.25
        yield np.rint(values).clip(0, 255).astype(np.uint8)
