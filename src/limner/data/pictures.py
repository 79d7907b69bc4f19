"""A picture file opened with care, and a decoded picture brought to a size.

A picture above MAX_PIXELS is refused before it is decoded: a file of some kilobytes can ask for
gigabytes. Decoding and converting hold 4 bytes a pixel twice, so no file takes more than half a
gigabyte; formats whose decoders hold four times that may have a fourth of the pixels.
"""

import io
import logging
import struct
import warnings
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from limner.core.limits import MAX_PIXELS
from limner.data.foreign import kind_of_content, remedy

# Pillow logs what it also raises; without a handler Python prints that, a line beside the reason.
logging.getLogger("PIL").addHandler(logging.NullHandler())

MEMORY_SHARE = {"JPEG2000": 4, "AVIF": 4}
SIGNATURE_BYTES = 132
# Formats that only hold pixels; EPS, for one, would start another program.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
# What Pillow's decoders are known to raise on damaged files.
DECODE_ERRORS = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, AttributeError,
    ArithmeticError, MemoryError, RuntimeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
    "nearest": Image.Resampling.NEAREST,
}

Fit = Literal["crop", "squash", "pad", "keep"]  # "keep": the short side at the asked size


class UnreadablePictureError(ValueError):
    """One picture that cannot be used; its text is the reason that dataset.json records."""


def open_picture(file: Path | io.BytesIO) -> Image.Image:
    """Read a picture's header; the pixels follow in `decoding.Decoder`.

    Raises:
        UnreadablePictureError: no known format, or more than MAX_PIXELS.
        Any of DECODE_ERRORS: the header is damaged.
    """
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata and size; the size we check
        try:
            image = Image.open(file, formats=known)
        except Image.UnidentifiedImageError:
            raise UnreadablePictureError(_unknown(file)) from None
    limit = MAX_PIXELS // MEMORY_SHARE.get(image.format or "", 1)
    if image.width * image.height > limit:
        image.close()
        raise UnreadablePictureError(
            f"{image.width}x{image.height} pixels are more than {limit}; shrink it first"
        )
    return image


def _unknown(file: Path | io.BytesIO) -> str:
    if isinstance(file, Path):
        with open(file, "rb") as opened:
            begin = opened.read(SIGNATURE_BYTES)
    else:
        begin = file.getvalue()[:SIGNATURE_BYTES]
    kind = kind_of_content(begin)
    if kind is not None:
        return f"a {kind} file, not a picture in a known format; {remedy(kind)}"
    if begin.startswith((b"II*\0", b"MM\0*")):
        return (
            "not a picture in a known format, or damaged: of TIFF are read up to four bands of 8 "
            "or 16 bits, and one of 32; store other pictures in an .npz"
        )
    return "not a picture in a known format, or damaged"


def as_image(pixels: np.ndarray) -> Image.Image | np.ndarray:
    """uint8 [H, W], [H, W, 1] or [H, W, 3] as a PIL image, and other channels as they are."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        return pixels
    return Image.fromarray(np.ascontiguousarray(pixels))


def fitted(
    picture: Image.Image | np.ndarray,
    asked: tuple[int, int],
    channels: int | None,
    fit: Fit,
    resize_filter: str,
) -> np.ndarray:
    """The picture as uint8 [H, W, C] of the asked (height, width), or with fit="keep" with the
    short side of the asked square.

    C is `channels`; with None it is 1 where the result is gray (equal channels), else 3. "crop"
    takes the largest centred part of the asked aspect (of a square, CenterCropLongEdge and Resize
    of BigGAN-PyTorch), "pad" centres the whole picture on black. A picture that has the asked size
    already keeps its pixels exactly.

    Raises:
        UnreadablePictureError: its channels cannot become `channels`, or with fit="keep" it would
            have more than MAX_PIXELS.
    """
    if isinstance(picture, np.ndarray):
        if channels != picture.shape[2]:
            raise UnreadablePictureError(
                f"has {picture.shape[2]} channels; set data.channels={picture.shape[2]} to use them"
            )
        planes = [
            Image.fromarray(np.ascontiguousarray(plane)) for plane in picture.transpose(2, 0, 1)
        ]
        return np.stack([_plane(plane, asked, fit, resize_filter) for plane in planes], 2)
    if channels == 4 and picture.mode == "RGBA":
        return _plane(picture, asked, fit, resize_filter)
    if channels not in (None, 1, 3):
        raise UnreadablePictureError(
            f"a picture file has 1, 3 or 4 channels, not {channels}; pictures of other numbers go "
            "into an .npz as images [N, H, W, C]"
        )
    if channels == 1:
        return _plane(picture.convert("L"), asked, fit, resize_filter)[:, :, None]
    if picture.mode == "L":
        pixels = _plane(picture, asked, fit, resize_filter)[:, :, None]
        return pixels if channels is None else np.repeat(pixels, 3, axis=2)
    pixels = _plane(picture, asked, fit, resize_filter)
    if channels is None and is_gray(pixels):
        return pixels[:, :, :1]
    return pixels


def is_gray(pixels: np.ndarray) -> bool:
    """Whether the three channels of a uint8 array [..., 3] are equal."""
    first = pixels[..., 0]
    return bool((first == pixels[..., 1]).all() and (first == pixels[..., 2]).all())


def centred(length: int, side: int) -> int:
    """Where a centred part begins; torchvision's center_crop rounds halves to even like this."""
    return round((length - side) / 2)


def _plane(
    picture: Image.Image, asked: tuple[int, int], fit: Fit, resize_filter: str
) -> np.ndarray:
    (width, height), (rows, columns) = picture.size, asked
    size = (columns, rows)
    if fit == "keep":
        size = _kept_size(width, height, rows)
    elif fit == "crop":
        kept = _largest((columns, rows), (width, height))
        if kept != (width, height):
            left, top = centred(width, kept[0]), centred(height, kept[1])
            picture = picture.crop((left, top, left + kept[0], top + kept[1]))
    elif fit == "pad":
        size = _largest((width, height), (columns, rows))
    if picture.size != size:
        picture = picture.resize(size, FILTERS[resize_filter])
    if fit == "pad" and size != (columns, rows):
        canvas = Image.new(picture.mode, (columns, rows))
        canvas.paste(picture, ((columns - size[0]) // 2, (rows - size[1]) // 2))
        picture = canvas
    return np.asarray(picture)


def _largest(aspect: tuple[int, int], bound: tuple[int, int]) -> tuple[int, int]:
    """The largest (width, height) of an aspect within a bound."""
    width, height = bound
    if aspect[0] * height >= width * aspect[1]:
        return width, max(1, round(aspect[1] * width / aspect[0]))
    return max(1, round(aspect[0] * height / aspect[1])), height


def _kept_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """(width, height) with the short side at the resolution."""
    longest = round(max(width, height) * resolution / min(width, height))
    if longest * resolution > MAX_PIXELS:
        raise UnreadablePictureError(
            f"{width}x{height} would become {longest} pixels long at its own aspect; crop it"
        )
    return (longest, resolution) if width > height else (resolution, longest)
