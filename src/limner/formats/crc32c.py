"""The checksum of TensorFlow's files."""

from limner.core.errors import MissingExtra

CHUNK_BYTES = 2**22


def masked_crc32c(
    content: bytes | bytearray,
    extra: str = "import",
    purpose: str = "reading a TensorFlow checkpoint",
) -> int:
    """CRC-32C, rotated and offset as LevelDB stores it, so that no CRC is taken of a CRC. Raises
    MissingExtra, which names limner's extra and what needs it, where google-crc32c is not
    installed."""
    try:
        import google_crc32c
    except ImportError:
        raise MissingExtra("google-crc32c", extra, purpose) from None
    crc = 0
    for start in range(0, len(content), CHUNK_BYTES):
        crc = google_crc32c.extend(crc, bytes(content[start : start + CHUNK_BYTES]))
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
