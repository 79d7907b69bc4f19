"""Variables of a TensorFlow checkpoint (`variables.index` and `variables.data-*`), read without it.

The index is a sorted table in LevelDB's format (leveldb/doc/table_format.md): blocks of keys that
share prefixes, each with a checksum, found through an index block that the footer points to. Its
values are protocol buffers: a BundleHeaderProto under the empty key, a BundleEntryProto under each
variable's name (tensorflow/core/protobuf/tensor_bundle.proto). Nothing in these files is a program.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from limner.core.errors import CheckpointError
from limner.formats.crc32c import masked_crc32c
from limner.formats.protobuf import Fields, MessageError, bytes_in, fields_of, number_in, varint

INDEX_SUFFIX = ".index"
MAGIC = bytes.fromhex("57fb808b247547db")  # 0xdb4775248b80fb57, little endian
FOOTER_BYTES, TRAILER_BYTES = 48, 5
MAX_INDEX_BYTES = 2**23  # BigGAN's are 10 to 60 kB
MAX_SHARDS, MAX_RANK = 4096, 8
BFLOAT16 = 14
DTYPES = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?",
    BFLOAT16: "<u2", 17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Entry:
    """Where a variable lies. `dtype` is TensorFlow's number of it; `crc32c` is masked."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    num_bytes: int
    crc32c: int
    is_sliced: bool


class TensorflowBundle:
    """The variables of a checkpoint, read one at a time.

    Args:
        prefix: path of the files without their endings, such as ".../variables/variables".

    Raises:
        CheckpointError: names the file that is missing or damaged.
        MissingExtra: the package of the checksums is not installed.
    """

    def __init__(self, prefix: str | Path):
        self.prefix = Path(prefix)
        self.index = self.prefix.with_name(self.prefix.name + INDEX_SUFFIX)
        table = _Table(_index_bytes(self.index), self.index)
        self.num_shards, self.entries = 0, dict[str, Entry]()
        for key, value in table.items():
            if not key:
                self.num_shards = self._num_shards(value)
                continue
            if not self.num_shards:
                table.damaged("it does not begin with a header")
            name = key.decode("utf-8", "replace")
            if name in self.entries:
                table.damaged(f"'{name[:200]}' stands in it twice")
            self.entries[name] = self._entry(value, name)
        if not self.num_shards:
            table.damaged("it is empty")
        self._check_shards()

    def read(self, name: str) -> np.ndarray:
        """One variable: numbers in its own type (bfloat16 as float32), checksum verified.

        Raises:
            KeyError: there is no such variable.
            CheckpointError: its bytes are damaged, or it does not hold plain numbers.
        """
        entry = self.entries[name]
        where = f"{self.shard(entry.shard)}: '{name}'"
        if entry.dtype not in DTYPES or entry.is_sliced:
            what = "is stored in slices" if entry.is_sliced else f"has type {entry.dtype}"
            raise CheckpointError(f"{where} {what}; only whole variables of numbers are read")
        dtype = np.dtype(DTYPES[entry.dtype])
        if math.prod(entry.shape) * dtype.itemsize != entry.num_bytes:
            raise CheckpointError(
                f"{where} has shape {list(entry.shape)}, which {entry.num_bytes} bytes cannot "
                "fill; download the checkpoint again"
            )
        content = bytearray(entry.num_bytes)
        try:
            with open(self.shard(entry.shard), "rb") as file:
                file.seek(entry.offset)
                num_read = file.readinto(content)
        except OSError as error:
            raise CheckpointError(f"{where} cannot be read ({error.strerror})") from None
        if num_read != entry.num_bytes or masked_crc32c(content) != entry.crc32c:
            raise CheckpointError(
                f"{where} is damaged (its checksum differs); download the checkpoint again"
            )
        array = np.frombuffer(content, dtype).reshape(entry.shape)
        if entry.dtype == BFLOAT16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array

    def shard(self, number: int) -> Path:
        """The file of that number."""
        ending = f".data-{number:05d}-of-{self.num_shards:05d}"
        return self.prefix.with_name(self.prefix.name + ending)

    def _num_shards(self, value: bytes) -> int:
        fields = _fields(value, self.index)
        num_shards, endianness = number_in(fields, 1), number_in(fields, 2)
        if endianness:
            raise CheckpointError(f"{self.index}: written on a big-endian machine; not supported")
        if not 1 <= num_shards <= MAX_SHARDS:
            reason = f"it says {num_shards} data files, 1 to {MAX_SHARDS} are read"
            raise _damaged(self.index, reason)
        return num_shards

    def _entry(self, value: bytes, name: str) -> Entry:
        fields = _fields(value, self.index)
        shape = _shape(bytes_in(fields, 2), self.index, name)
        entry = Entry(
            dtype=number_in(fields, 1),
            shape=shape,
            shard=number_in(fields, 3),
            offset=number_in(fields, 4),
            num_bytes=number_in(fields, 5),
            crc32c=number_in(fields, 6),
            is_sliced=7 in fields,
        )
        if entry.shard >= self.num_shards:
            reason = f"'{name[:200]}' is in data file {entry.shard} of {self.num_shards}"
            raise _damaged(self.index, reason)
        return entry

    def _check_shards(self) -> None:
        """Every file is there and long enough, and no byte belongs to two variables."""
        sizes: dict[int, int] = {}
        missing = []
        for number in range(self.num_shards):
            try:
                sizes[number] = self.shard(number).stat().st_size
            except OSError:
                missing.append(self.shard(number).name)
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            raise CheckpointError(
                f"{self.prefix.parent}: missing {', '.join(missing[:5])}{more}; "
                "download the checkpoint again"
            )
        ends = dict.fromkeys(range(self.num_shards), 0)
        for name, entry in sorted(self.entries.items(), key=lambda item: item[1].offset):
            if entry.is_sliced or not entry.num_bytes:
                continue
            end = entry.offset + entry.num_bytes
            if entry.offset < ends[entry.shard] or end > sizes[entry.shard]:
                reason = (
                    f"it has {sizes[entry.shard]} bytes, '{name[:200]}' ends at {end}"
                    if end > sizes[entry.shard]
                    else f"'{name[:200]}' overlaps another variable"
                )
                raise _damaged(self.shard(entry.shard), reason)
            ends[entry.shard] = end


# --- the table ---------------------------------------------------------------


def _index_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_INDEX_BYTES + 1)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file; a TensorFlow checkpoint has it beside its data files"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > MAX_INDEX_BYTES:
        raise CheckpointError(f"{path}: larger than {MAX_INDEX_BYTES >> 20} MB; not an index")
    return content


class _Table:
    """The sorted (key, value) pairs of a LevelDB table."""

    def __init__(self, content: bytes, path: Path):
        self.content, self.path = content, path
        self.num_key_bytes = 0
        if len(content) < FOOTER_BYTES or content[-len(MAGIC) :] != MAGIC:
            raise CheckpointError(
                f"{path}: not the index of a TensorFlow checkpoint, or cut short; download it again"
            )

    def damaged(self, reason: str) -> NoReturn:
        raise _damaged(self.path, reason)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All pairs. Each data block is read once, wherever the index block points."""
        footer = self.content[-FOOTER_BYTES:]
        _, _, at = self._handle(footer, 0)  # of the metaindex block, which is empty
        offset, size, _ = self._handle(footer, at)
        end = 0
        for _, value in self._block(offset, size):
            offset, size, _ = self._handle(value, 0)
            if offset < end:
                self.damaged("its blocks overlap")
            end = offset + size
            yield from self._block(offset, size)

    def _handle(self, content: bytes, at: int) -> tuple[int, int, int]:
        offset, at = _varint(content, at, self.path)
        size, at = _varint(content, at, self.path)
        return offset, size, at

    def _block(self, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
        end = offset + size
        if end + TRAILER_BYTES > len(self.content) - FOOTER_BYTES or size < 4:
            self.damaged("a block lies outside it")
        kind = self.content[end]
        stored = int.from_bytes(self.content[end + 1 : end + TRAILER_BYTES], "little")
        if masked_crc32c(self.content[offset : end + 1]) != stored:
            self.damaged(f"the checksum of the block at {offset} differs")
        if kind:
            name = "Snappy" if kind == 1 else f"method {kind}"
            raise CheckpointError(
                f"{self.path}: compressed ({name}), which TensorFlow itself never writes; "
                "only uncompressed indexes are read"
            )
        return self._pairs(self.content[offset:end])

    def _pairs(self, block: bytes) -> Iterator[tuple[bytes, bytes]]:
        num_restarts = int.from_bytes(block[-4:], "little")
        end = len(block) - 4 - 4 * num_restarts
        if end < 0:
            self.damaged("a block is shorter than its restart points")
        at, key = 0, b""
        while at < end:
            shared, at = _varint(block, at, self.path)
            own, at = _varint(block, at, self.path)
            length, at = _varint(block, at, self.path)
            if shared > len(key) or at + own + length > end:
                self.damaged("a key or value leaves its block")
            key = key[:shared] + block[at : at + own]
            self.num_key_bytes += len(key)
            if self.num_key_bytes > MAX_INDEX_BYTES:  # prefixes repeated without end
                self.damaged("its keys are longer than the file can mean")
            yield key, block[at + own : at + own + length]
            at += own + length


# --- protocol buffers ----------------------------------------------------------


def _fields(content: bytes, path: Path) -> Fields:
    """The fields of one message of the file."""
    try:
        return fields_of(content)
    except MessageError:
        return _bad_entry(path)


def _varint(content: bytes, at: int, path: Path) -> tuple[int, int]:
    """A number of the file and the place after it."""
    try:
        return varint(content, at)
    except MessageError:
        return _bad_entry(path)


def _shape(content: bytes, path: Path, name: str) -> tuple[int, ...]:
    dims = [d for d in _fields(content, path).get(2, []) if isinstance(d, bytes)]
    shape = tuple(number_in(_fields(dim, path), 1) for dim in dims)
    if len(shape) > MAX_RANK or max(shape, default=0) >= 2**48:
        raise _damaged(path, f"'{name[:200]}' has shape {list(shape)[: MAX_RANK + 1]}")
    return shape


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{path}: damaged ({reason}); download the checkpoint again")


def _bad_entry(path: Path) -> NoReturn:
    raise CheckpointError(f"{path}: damaged (an entry cannot be read); download it again")
