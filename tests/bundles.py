"""TensorFlow checkpoints as small as a test wants them, written byte by byte."""

import google_crc32c
import numpy as np

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int64": 9, "bool": 10}


def masked(content: bytes) -> int:
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(dtype: int, shape, shard: int, offset: int, content: bytes, crc: int | None = None):
    dims = b"".join(field(2, field(1, size)) for size in shape)
    crc = masked(content) if crc is None else crc
    return (
        field(1, dtype)
        + field(2, dims)
        + field(3, shard)
        + field(4, offset)
        + field(5, len(content))
        + varint(6 << 3 | 5)
        + crc.to_bytes(4, "little")
    )


def header(num_shards: int, endianness: int = 0) -> bytes:
    return field(1, num_shards) + field(2, endianness) + field(3, field(1, 1))


def block(pairs, kind: int = 0, restart_every: int = 3) -> bytes:
    """Prefix-compressed pairs, restart points, kind and checksum."""
    out, restarts, last = b"", [], b""
    for i, (key, value) in enumerate(pairs):
        shared = 0
        if i % restart_every:
            shorter = min(len(key), len(last))
            bytes_of_both = enumerate(zip(key, last, strict=False))
            shared = next((at for at, (one, other) in bytes_of_both if one != other), shorter)
        else:
            restarts.append(len(out))
        own = key[shared:]
        out += varint(shared) + varint(len(own)) + varint(len(value)) + own + value
        last = key
    restarts = restarts or [0]
    out += b"".join(n.to_bytes(4, "little") for n in [*restarts, len(restarts)])
    out += bytes([kind])
    return out + masked(out).to_bytes(4, "little")


def table(pairs, per_block: int = 4, kind: int = 0) -> bytes:
    """The index file: data blocks, an empty meta block, the index block, the footer."""
    out, handles = b"", []
    for start in range(0, len(pairs), per_block):
        part = pairs[start : start + per_block]
        made = block(part, kind)
        handles.append((part[-1][0], varint(len(out)) + varint(len(made) - 5)))
        out += made
    meta = block([])
    meta_handle = varint(len(out)) + varint(len(meta) - 5)
    out += meta
    index = block(handles)
    footer = meta_handle + varint(len(out)) + varint(len(index) - 5)
    return out + index + footer.ljust(40, b"\0") + MAGIC


def bundle(variables: dict[str, np.ndarray], num_shards: int = 1) -> dict[str, bytes]:
    """File ending -> content: ".index" and ".data-..." """
    shards = [b""] * num_shards
    for i, (_, array) in enumerate(sorted(variables.items())):
        shards[i % num_shards] += array.tobytes()
    files = {f".data-{i:05d}-of-{num_shards:05d}": shard for i, shard in enumerate(shards)}
    return {".index": table(pairs_of(variables, num_shards)), **files}


def pairs_of(variables: dict[str, np.ndarray], num_shards: int = 1) -> list[tuple[bytes, bytes]]:
    """What stands in the index."""
    sizes = [0] * num_shards
    pairs = [(b"", header(num_shards))]
    for i, (name, array) in enumerate(sorted(variables.items())):
        number = i % num_shards
        content = array.tobytes()
        value = entry(NUMBERS[str(array.dtype)], array.shape, number, sizes[number], content)
        sizes[number] += len(content)
        pairs.append((name.encode(), value))
    return pairs
