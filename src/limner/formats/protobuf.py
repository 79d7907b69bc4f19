"""Protocol buffers without generated classes: the few messages of TensorFlow's files.

The encoding is that of protobuf.dev/programming-guides/encoding.
"""

# Field number -> its values: numbers, or the bytes of messages and strings.
Fields = dict[int, list[int | bytes]]
MAX_FIELDS = 1024
FIXED_BYTES = {1: 8, 5: 4}  # wire type -> length
VARINT, LENGTH = 0, 2


class MessageError(ValueError):
    """Bytes that are no message; who reads a file says which one it is."""


def fields_of(content: bytes) -> Fields:
    """The fields of one message, unknown ones too; MessageError where the bytes are no message, or
    one of more than MAX_FIELDS fields."""
    fields: Fields = {}
    at = num = 0
    while at < len(content):
        tag, at = varint(content, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = varint(content, at)
        elif wire == LENGTH or wire in FIXED_BYTES:
            length = FIXED_BYTES.get(wire, 0)
            if wire == LENGTH:
                length, at = varint(content, at)
            if at + length > len(content):
                raise MessageError("a field is longer than its message")
            held, at = content[at : at + length], at + length
            value = held if wire == LENGTH else int.from_bytes(held, "little")
        else:
            raise MessageError(f"a field of wire type {wire}")
        num += 1
        if num > MAX_FIELDS:
            raise MessageError(f"more than {MAX_FIELDS} fields")
        fields.setdefault(number, []).append(value)
    return fields


def varint(content: bytes, at: int) -> tuple[int, int]:
    """A number in groups of 7 bits, the lowest first, and the place after it; MessageError where it
    does not end."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MessageError("a number that does not end")


def number_in(fields: Fields, field: int) -> int:
    """The last value wins, as the format has it; a missing one is 0."""
    value = fields.get(field, [0])[-1]
    return value if isinstance(value, int) else 0


def bytes_in(fields: Fields, field: int) -> bytes:
    """A message or string; the last value wins, a missing one is empty."""
    value = fields.get(field, [b""])[-1]
    return value if isinstance(value, bytes) else b""


def written_varint(value: int) -> bytes:
    """The bytes that `varint` reads, for numbers from 0."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def written_field(number: int, content: bytes) -> bytes:
    """A field that holds bytes: a string, a message, or packed numbers."""
    return written_varint(number << 3 | LENGTH) + written_varint(len(content)) + content
