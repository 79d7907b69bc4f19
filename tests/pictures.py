"""Every kind of picture file in small, good and bad, with what has to come of it.

All are 8x8 (or smaller where that is the point) and prepared at 8x8, so that no resize blurs them.
"""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

COLOR = np.stack(np.meshgrid(np.arange(8) * 30, np.arange(8) * 20, indexing="ij"), -1)
COLOR = np.concatenate([COLOR, np.full((8, 8, 1), 77)], -1).astype(np.uint8)
GRAY = (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)
DEEP = (np.arange(64).reshape(8, 8) * 1040).astype(np.uint16)  # 16-bit, up to 65520
SCALED = np.rint(DEEP / 257).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return saved(Image.fromarray(COLOR), "PNG", exif=exif)


def with_alpha(mode: str) -> bytes:
    image = Image.fromarray(COLOR if mode == "RGBA" else GRAY).convert(mode)
    alpha = np.full((8, 8), 255, np.uint8)
    alpha[:4] = 0
    image.putalpha(Image.fromarray(alpha))
    return saved(image, "PNG")


def on_white(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels.copy()
    pixels[:4] = 255
    return pixels


def palette() -> Image.Image:
    image = Image.fromarray((np.arange(64).reshape(8, 8) % 4).astype(np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    return image


PALETTE = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]], np.uint8)[
    np.arange(64).reshape(8, 8) % 4
]


def animation() -> bytes:
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def pages() -> bytes:
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    return saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])


def chunk(kind: bytes, content: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + crc


def bomb(width: int = 20_000, height: int = 20_000) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    lines = zlib.compress(bytes(1000), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    )


def deep_rgb_png() -> bytes:
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    values = (COLOR.astype(np.uint16) * 257).astype(">u2")
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    )


def floats(values: np.ndarray) -> bytes:
    return saved(Image.fromarray(values.astype(np.float32)), "TIFF")


def integers(values: np.ndarray) -> bytes:
    return saved(Image.fromarray(values.astype(np.int32)), "TIFF")


def damaged(content: bytes, place: float) -> bytes:
    at = int(len(content) * place)
    return content[:at] + bytes(b ^ 0xFF for b in content[at : at + 8]) + content[at + 8 :]


PNG = saved(Image.fromarray(COLOR), "PNG")
BIG_JPEG = saved(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)), "JPEG"
)
JPEG = saved(Image.fromarray(GRAY), "JPEG", quality=100)
CMYK = Image.fromarray(COLOR).convert("CMYK")

# name: (file name, bytes, expected pixels [8, 8] or [8, 8, 3])
ACCEPTED: dict[str, tuple[str, bytes, np.ndarray]] = {
    "png": ("a.png", PNG, COLOR),
    "png, capital suffix": ("A.PNG", PNG, COLOR),
    "png named jpg": ("a.jpg", PNG, COLOR),
    "gray png": ("a.png", saved(Image.fromarray(GRAY), "PNG"), GRAY),
    "gray jpeg": ("a.jpeg", JPEG, np.asarray(Image.open(io.BytesIO(JPEG)))),
    "gray saved as rgb": ("a.png", saved(Image.fromarray(GRAY).convert("RGB"), "PNG"), GRAY),
    "bmp": ("a.bmp", saved(Image.fromarray(COLOR), "BMP"), COLOR),
    "webp, lossless": ("a.webp", saved(Image.fromarray(COLOR), "WEBP", lossless=True), COLOR),
    "ppm": ("a.ppm", saved(Image.fromarray(COLOR), "PPM"), COLOR),
    "tga": ("a.tga", saved(Image.fromarray(COLOR), "TGA"), COLOR),
    "tiff": ("a.tif", saved(Image.fromarray(COLOR), "TIFF"), COLOR),
    "tiff of two pages": ("a.tif", pages(), GRAY),
    "animated gif": ("a.gif", animation(), GRAY),
    "1 bit": (
        "a.png",
        saved(Image.fromarray(GRAY > 99), "PNG"),
        ((GRAY > 99) * 255).astype(np.uint8),
    ),
    "palette": ("a.png", saved(palette(), "PNG"), PALETTE),
    "palette gif": ("a.gif", saved(palette(), "GIF"), PALETTE),
    "palette with a transparent color": (
        "a.png",
        saved(palette(), "PNG", transparency=0),
        np.where((PALETTE == [255, 0, 0]).all(-1, keepdims=True), 255, PALETTE).astype(np.uint8),
    ),
    "palette with alpha bytes": (
        "a.png",
        saved(palette(), "PNG", transparency=bytes([255, 255, 0, 255])),
        np.where((PALETTE == [0, 0, 255]).all(-1, keepdims=True), 255, PALETTE).astype(np.uint8),
    ),
    "alpha": ("a.png", with_alpha("RGBA"), on_white(COLOR)),
    "gray with alpha": ("a.png", with_alpha("LA"), on_white(GRAY)),
    "rgb with a transparent color": (
        "a.png",
        saved(Image.fromarray(COLOR), "PNG", transparency=(0, 0, 77)),
        np.where((COLOR == [0, 0, 77]).all(-1, keepdims=True), 255, COLOR).astype(np.uint8),
    ),
    "cmyk tiff": ("a.tif", saved(CMYK, "TIFF"), np.asarray(CMYK.convert("RGB"))),
    "16-bit png": ("a.png", saved(Image.fromarray(DEEP), "PNG"), SCALED),
    "16-bit tiff": ("a.tif", saved(Image.fromarray(DEEP), "TIFF"), SCALED),
    "16-bit pgm": ("a.pgm", b"P5 8 8 65535\n" + DEEP.astype(">u2").tobytes(), SCALED),
    "16-bit color png": ("a.png", deep_rgb_png(), COLOR),
    "32-bit integers": ("a.tif", integers(DEEP), SCALED),
    "floats 0..1": ("a.tif", floats(GRAY / 255), GRAY),
    "floats 0..255": ("a.tif", floats(GRAY), GRAY),
    "turned by 90 degrees": ("a.png", with_orientation(6), np.rot90(COLOR, -1)),
    "turned by 180 degrees": ("a.png", with_orientation(3), np.rot90(COLOR, 2)),
    "turned by 270 degrees": ("a.png", with_orientation(8), np.rot90(COLOR)),
    "mirrored": ("a.png", with_orientation(2), COLOR[:, ::-1]),
    "orientation that does not exist": ("a.png", with_orientation(99), COLOR),
    "one pixel": (
        "a.png",
        saved(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"),
        np.full((8, 8, 3), (1, 2, 3), np.uint8),
    ),
    "a name in another script": ("图 é.png", PNG, COLOR),
}

# name: (file name, bytes, part of the reason)
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.png", b"", "empty file"),
    "text": ("a.png", b"hello, I am no picture", "known format"),
    "html": ("a.jpg", b"<!DOCTYPE html><html>404</html>", "known format"),
    "svg": ("a.png", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "known format"),
    "postscript": ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "known format"),
    "a zip": ("a.png", b"PK\x05\x06" + bytes(18), "known format"),
    "png, header only": ("a.png", PNG[:8], "known format"),
    "png, cut": ("a.png", saved(Image.fromarray(DEEP), "PNG")[:60], ""),
    "png, flipped bytes": ("a.png", damaged(PNG, 0.6), ""),
    "jpeg, cut": ("a.jpg", BIG_JPEG[: len(BIG_JPEG) // 2], "truncated"),
    "jpeg, header only": ("a.jpg", BIG_JPEG[:20], ""),
    "gif, cut": ("a.gif", saved(palette(), "GIF")[:30], ""),
    "tiff, cut": ("a.tif", saved(Image.fromarray(COLOR), "TIFF")[:80], ""),
    "bmp, cut": ("a.bmp", saved(Image.fromarray(COLOR), "BMP")[:100], "truncated"),
    "webp, cut": ("a.webp", saved(Image.fromarray(COLOR), "WEBP", lossless=True)[:40], ""),
    "decompression bomb": ("a.png", bomb(), "400000000|20000x20000"),
    "bomb just above the limit": ("a.png", bomb(9460, 9460), "9460x9460"),
    "nothing but zeros": ("a.png", bytes(1000), "known format"),
    "floats with a nan": ("a.tif", floats(np.where(GRAY == 0, np.nan, GRAY)), "finite"),
    "floats above 255": ("a.tif", floats(GRAY * 100.0), "no known scale"),
    "negative floats": ("a.tif", floats(GRAY - 100.0), "no known scale"),
    "integers above 65535": ("a.tif", integers(GRAY.astype(int) * 8_000_000), "no known scale"),
    "negative integers": ("a.tif", integers(GRAY.astype(int) - 100), "no known scale"),
}


def in_folder(root: Path, name: str, content: bytes) -> Path:
    (root / "source").mkdir()
    (root / "source" / name).write_bytes(content)
    return root / "source"


def in_zip(root: Path, name: str, content: bytes) -> Path:
    with zipfile.ZipFile(root / "source.zip", "w") as archive:
        archive.writestr(name, content)
    return root / "source.zip"
