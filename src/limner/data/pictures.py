"""From any picture file to a uint8 square: rotation, bit depth, transparency, color, fit.

The rules, each chosen once for all sources:

- The rotation that EXIF asks for is done. Of an animation or a multi-page file the first is taken.
- 16-bit values are scaled to 8 bits (v / 257, rounded), never clipped; so are 32-bit integers up
  to 65535. Floats up to 1 count as 0..1, floats up to 255 as 0..255. Anything else has no known
  scale and is refused.
- Transparent pixels are laid on white, the page that most transparent pictures were made for.
- CMYK, YCbCr, HSV and palettes become RGB. Color profiles are not applied.
- A picture above MAX_PIXELS is refused before it is decoded: a file of some kilobytes can ask for
  gigabytes. Decoding and converting hold 4 bytes a pixel twice, so no file takes more than half a
  gigabyte; formats whose decoders hold four times that may have a fourth of the pixels.
"""

import io
import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from limner.core.limits import MAX_PIXELS

# Pillow logs what it also raises; without a handler Python prints that, a line beside the reason.
logging.getLogger("PIL").addHandler(logging.NullHandler())

MEMORY_SHARE = {"JPEG2000": 4, "AVIF": 4}
STRIP_PIXELS = 2**20  # what is computed in wider numbers goes strip by strip
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
    """Read a picture's header; the pixels follow in `to_eight_bits`.

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
            raise UnreadablePictureError("not a picture in a known format, or damaged") from None
    limit = MAX_PIXELS // MEMORY_SHARE.get(image.format or "", 1)
    if image.width * image.height > limit:
        image.close()
        raise UnreadablePictureError(
            f"{image.width}x{image.height} pixels are more than {limit}; shrink it first"
        )
    return image


def to_eight_bits(picture: Image.Image | np.ndarray) -> Image.Image | np.ndarray:
    """Decode: upright, 8 bits a value, opaque.

    Returns:
        A PIL image of mode L or RGB, or, for arrays with other than 1 or 3 channels, the uint8
        array [H, W, C] itself.

    Raises:
        Any of DECODE_ERRORS, with a reason.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with picture:  # closes the file, keeps the pixels
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
        return _opaque(picture)


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return _scaled(picture)
    if picture.has_transparency_data:
        return _on_white(picture)
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if picture.mode in ("1", "LA") else "RGB")


def _strips(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first row, part) from top to bottom; a whole picture is one part if it is small."""
    height = max(1, STRIP_PIXELS // picture.width)
    for top in range(0, picture.height, height):
        box = (0, top, picture.width, min(picture.height, top + height))
        yield top, picture.crop(box)


def _on_white(picture: Image.Image) -> Image.Image:
    result = Image.new("RGB", picture.size)
    for top, part in _strips(picture):
        layer = part.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        result.paste(Image.alpha_composite(white, layer).convert("RGB"), (0, top))
    return result


def _from_array(array: np.ndarray) -> Image.Image | np.ndarray:
    if array.dtype != np.uint8:
        raise UnreadablePictureError(f"array of {array.dtype}; convert it to uint8 first")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or array.size == 0:
        raise UnreadablePictureError(f"array of shape {array.shape} is no picture [H, W, C]")
    if array.ndim == 3 and array.shape[2] != 3:
        return array
    return Image.fromarray(np.ascontiguousarray(array))


def _scaled(picture: Image.Image) -> Image.Image:
    smallest, largest = math.inf, -math.inf
    for _, part in _strips(picture):
        values = np.asarray(part)
        if not np.isfinite(values).all():
            raise UnreadablePictureError("holds values that are not finite numbers")
        smallest = min(smallest, float(values.min()))
        largest = max(largest, float(values.max()))
    if picture.mode == "F":
        factor = 255.0 if largest <= 1 else 1.0 if largest <= 255 else 0.0
    else:
        factor = 1 / 257 if largest <= 65535 else 0.0
    if smallest < 0 or factor == 0:
        raise UnreadablePictureError(
            f"values from {smallest:g} to {largest:g} in mode {picture.mode} have no known scale"
        )
    result = Image.new("L", picture.size)
    for top, part in _strips(picture):
        values = np.rint(np.asarray(part).astype(np.float64) * factor).astype(np.uint8)
        result.paste(Image.fromarray(values), (0, top))
    return result


def fitted(
    picture: Image.Image | np.ndarray,
    resolution: int,
    channels: int | None,
    fit: Fit,
    resize_filter: str,
) -> np.ndarray:
    """The picture as uint8 [resolution, resolution, C], or with fit="keep" as [H, W, C] whose short
    side is the resolution.

    C is `channels`; with None it is 1 where the result is gray (equal channels), else 3. "crop"
    takes the largest centred square (CenterCropLongEdge and Resize of BigGAN-PyTorch), "pad"
    centres the whole picture on black. A picture that has the asked size already keeps its pixels
    exactly.

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
        return np.stack([_plane(plane, resolution, fit, resize_filter) for plane in planes], 2)
    if channels not in (None, 1, 3):
        raise UnreadablePictureError(f"a picture file has 1 or 3 channels, not {channels}")
    if channels == 1:
        return _plane(picture.convert("L"), resolution, fit, resize_filter)[:, :, None]
    if picture.mode == "L":
        pixels = _plane(picture, resolution, fit, resize_filter)[:, :, None]
        return pixels if channels is None else np.repeat(pixels, 3, axis=2)
    pixels = _plane(picture, resolution, fit, resize_filter)
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


def _plane(picture: Image.Image, resolution: int, fit: Fit, resize_filter: str) -> np.ndarray:
    width, height = picture.size
    size = (resolution, resolution)
    if fit == "keep":
        size = _kept_size(width, height, resolution)
    elif fit == "crop" and width != height:
        side = min(width, height)
        left, top = centred(width, side), centred(height, side)
        picture = picture.crop((left, top, left + side, top + side))
    elif fit == "pad" and width != height:
        longest = max(width, height)
        size = (
            max(1, round(width * resolution / longest)),
            max(1, round(height * resolution / longest)),
        )
    if picture.size != size:
        picture = picture.resize(size, FILTERS[resize_filter])
    if fit == "pad" and size != (resolution, resolution):
        canvas = Image.new(picture.mode, (resolution, resolution))
        canvas.paste(picture, ((resolution - size[0]) // 2, (resolution - size[1]) // 2))
        picture = canvas
    return np.asarray(picture)


def _kept_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """(width, height) with the short side at the resolution."""
    longest = round(max(width, height) * resolution / min(width, height))
    if longest * resolution > MAX_PIXELS:
        raise UnreadablePictureError(
            f"{width}x{height} would become {longest} pixels long at its own aspect; crop it"
        )
    return (longest, resolution) if width > height else (resolution, longest)
