"""Every kind of picture file has one outcome: accepted with these pixels, or refused with a reason.

All are 8x8 (or smaller where that is the point) and prepared at 8x8, so that no resize blurs them.
"""

import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.core.errors import DataError
from limner.data import DataConfig, PreparedData, prepare

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


@pytest.mark.parametrize("put", [in_folder, in_zip])
@pytest.mark.parametrize("kind", ACCEPTED)
def test_accepted_kind(tmp_path: Path, kind: str, put: Callable[[Path, str, bytes], Path]):
    name, content, expected = ACCEPTED[kind]
    data = prepare(put(tmp_path, name, content), tmp_path / "out", DataConfig(resolution=8))
    expected = expected[:, :, None] if expected.ndim == 2 else expected
    assert data.info["num_refused"] == 0
    assert data.images.shape == (1, *expected.shape)
    assert (data.images[0] == expected).all()


@pytest.mark.parametrize("put", [in_folder, in_zip])
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_kind(tmp_path: Path, kind: str, put: Callable[[Path, str, bytes], Path]):
    name, content, reason = REFUSED[kind]
    source = put(tmp_path, name, content)
    with pytest.raises(DataError, match="no picture could be read; 1 refused") as caught:
        prepare(source, tmp_path / "out", DataConfig(resolution=8))
    assert any(part in str(caught.value) for part in reason.split("|"))
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == [source.name]  # nothing is left


def test_refused_files_are_listed_and_the_others_stay(tmp_path: Path):
    root = in_folder(tmp_path, "good.png", PNG)
    (root / "bad.png").write_bytes(PNG[:30])
    (root / "empty.jpg").write_bytes(b"")
    data = prepare(root, tmp_path / "out", DataConfig(resolution=8))
    assert data.names() == ["good.png"]
    assert [entry["name"] for entry in data.info["refused"]] == ["bad.png", "empty.jpg"]
    assert all(entry["reason"] for entry in data.info["refused"])


def test_special_files_are_never_opened(tmp_path: Path):
    """Opening a pipe would wait forever; pytest's timeout is the control."""
    root = in_folder(tmp_path, "good.png", PNG)
    os.mkfifo(root / "pipe.png")
    (root / "loop").symlink_to(root)
    (root / "broken.png").symlink_to(root / "gone.png")
    (root / "null.png").symlink_to("/dev/zero")
    (root / "linked.png").symlink_to(root / "good.png")
    here = os.getcwd()
    os.chdir(root)  # the path of a socket has at most 108 characters
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.png")
            data = prepare(root, tmp_path / "out", DataConfig(resolution=8))
    finally:
        os.chdir(here)
    assert data.names() == ["good.png", "linked.png"]
    reasons = {entry["name"]: entry["reason"] for entry in data.info["refused"]}
    assert set(reasons) == {"pipe.png", "loop", "broken.png", "null.png", "socket.png"}
    assert "a pipe" in reasons["pipe.png"]
    assert "a socket" in reasons["socket.png"]
    assert "a device" in reasons["null.png"]
    assert "contains it" in reasons["loop"]
    assert "broken" in reasons["broken.png"]


def test_hidden_and_foreign_files_are_skipped_and_counted(tmp_path: Path):
    root = in_folder(tmp_path, "good.png", PNG)
    for name in (".hidden.png", "._good.png", "notes.txt", "Thumbs.db"):
        (root / name).write_bytes(PNG)
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "x.png").write_bytes(PNG)
    data = prepare(root, tmp_path / "out", DataConfig(resolution=8))
    assert data.names() == ["good.png"]
    assert data.info["skipped"] == {"hidden": 2, "no picture suffix": 2}


# --- fit ----------------------------------------------------------------


def fitted_wide(tmp_path: Path, tall: bool = False, **settings) -> np.ndarray:
    """A 16x8 picture: left half black, right half white; or the same standing."""
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    pixels = pixels.transpose(1, 0, 2) if tall else pixels
    source = in_folder(tmp_path, "wide.png", saved(Image.fromarray(pixels), "PNG"))
    config = DataConfig(resolution=8, channels=1, filter="box", **settings)
    image = prepare(source, tmp_path / "out", config).images[0, :, :, 0]
    return image.T if tall else image


@pytest.mark.parametrize("tall", [False, True])
def test_crop_takes_the_centre(tmp_path: Path, tall: bool):
    image = fitted_wide(tmp_path, tall, fit="crop")
    assert (image == np.repeat([0, 255], 4)[None]).all()


@pytest.mark.parametrize("tall", [False, True])
def test_squash_keeps_everything(tmp_path: Path, tall: bool):
    assert (fitted_wide(tmp_path, tall, fit="squash") == np.repeat([0, 255], 4)[None]).all()


@pytest.mark.parametrize("tall", [False, True])
def test_pad_adds_black(tmp_path: Path, tall: bool):
    image = fitted_wide(tmp_path, tall, fit="pad")
    assert (image[2:6] == np.repeat([0, 255], 4)[None]).all()
    assert (image[:2] == 0).all()
    assert (image[6:] == 0).all()


def test_crop_and_squash_differ(tmp_path: Path):
    ramp = np.tile(np.arange(16, dtype=np.uint8) * 16, (8, 1))
    source = in_folder(tmp_path, "ramp.png", saved(Image.fromarray(ramp), "PNG"))
    crop = prepare(source, tmp_path / "crop", DataConfig(resolution=8, fit="crop"))
    squash = prepare(
        source, tmp_path / "squash", DataConfig(resolution=8, fit="squash", filter="box")
    )
    assert (crop.images[0, 0, :, 0] == ramp[0, 4:12]).all()
    assert (squash.images[0, 0, :, 0] == ramp[0].reshape(8, 2).mean(1)).all()


def test_antialiasing_filters_average_and_nearest_does_not(tmp_path: Path):
    board = (np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)
    source = in_folder(tmp_path, "board.png", saved(Image.fromarray(board), "PNG"))
    for name in ("lanczos", "bicubic", "bilinear", "box", "nearest"):
        config = DataConfig(resolution=8, filter=name)  # type: ignore[arg-type]
        image = prepare(source, tmp_path / name, config).images[0]
        assert (set(np.unique(image)) <= {0, 255}) == (name == "nearest")


# --- channels -------------------------------------------------------------


def two_pictures(tmp_path: Path) -> Path:
    root = in_folder(tmp_path, "a gray.png", saved(Image.fromarray(GRAY), "PNG"))
    (root / "b color.png").write_bytes(PNG)
    (root / "c gray.png").write_bytes(saved(Image.fromarray(255 - GRAY), "PNG"))
    return root


def test_channels_are_found_out(tmp_path: Path):
    """The first picture is gray and written with one channel; the color one widens the array."""
    data = prepare(two_pictures(tmp_path), tmp_path / "out", DataConfig(resolution=8))
    assert data.image_shape == (3, 8, 8)
    assert (data.images[0] == GRAY[:, :, None]).all()
    assert (data.images[1] == COLOR).all()
    assert (data.images[2] == 255 - GRAY[:, :, None]).all()
    given = prepare(tmp_path / "source", tmp_path / "given", DataConfig(resolution=8, channels=3))
    assert given.sha256 == data.sha256
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_color_becomes_gray_when_asked(tmp_path: Path):
    config = DataConfig(resolution=8, channels=1)
    data = prepare(two_pictures(tmp_path), tmp_path / "out", config)
    assert data.image_shape == (1, 8, 8)
    assert (data.images[1, :, :, 0] == np.asarray(Image.fromarray(COLOR).convert("L"))).all()


def test_resized_picture_is_what_pillow_makes(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    source = in_folder(tmp_path, "a.png", saved(Image.fromarray(pixels), "PNG"))
    data = prepare(source, tmp_path / "out", DataConfig(resolution=8, filter="bicubic"))
    expected = Image.fromarray(pixels).resize((8, 8), Image.Resampling.BICUBIC)
    assert (data.images[0] == np.asarray(expected)).all()


def test_prepared_arrays_are_read_only_maps(tmp_path: Path):
    prepare(in_folder(tmp_path, "a.png", PNG), tmp_path / "out", DataConfig(resolution=8))
    data = PreparedData(tmp_path / "out")
    assert isinstance(data.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0
