"""Sheets of pictures, and files of pictures that say where they come from."""

import json
import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from limner.core.errors import LimnerError
from limner.core.files import write_atomically
from limner.core.outputs import STILLS

SMALLEST_SIDE = 64  # a picture with a shorter side is enlarged by a whole factor up to about this
LARGEST_SHEET = 4096  # but not beyond this width or height of the sheet
MOST_MARGIN = 160  # pixels left of the rows for their headings
MOST_WEBP = 16_383  # pixels of a side
DESCRIPTION = 0x010E  # the EXIF field ImageDescription
PAPER = (255, 255, 255)
INK = (70, 70, 70)


def sheet(
    images: np.ndarray | Sequence[np.ndarray | Image.Image],
    columns: int | None = None,
    padding: int | None = None,
    labels: Sequence[str] | None = None,
    headings: Sequence[str] | None = None,
    scale: int | None = None,
    row_headings: Sequence[str] | None = None,
) -> Image.Image:
    """Pictures in rows on white, in the order given; of mode L where they are gray, else RGB.

    Args:
        images: uint8 [N, H, W, C], or a list of such pictures of one size. 1 channel is gray, 2
            gray with alpha, 3 RGB, 4 RGB with alpha (alpha on white); of 5 and more the first three
            are shown.
        columns: pictures a row; None makes the sheet about square.
        padding: white pixels around each picture; None takes a thirtieth of a picture.
        labels: one text a picture, written under it.
        headings: one text a column, written above it.
        scale: each pixel becomes scale x scale; None enlarges small pictures to about 64 pixels.
        row_headings: one text a row, written left of it.

    Raises:
        LimnerError: images of another shape or type, or a number of texts that does not fit.

    Examples:
        >>> limner.sheet(limner.load("runs/digits").sample(num=20), columns=10).save("sheet.png")
    """
    images = _pictures(images)
    num = len(images)
    columns = min(columns or math.ceil(math.sqrt(num)), num)
    rows = math.ceil(num / columns)
    _check_texts(labels, num, "labels for {} images")
    _check_texts(headings, columns, "headings for {} columns")
    _check_texts(row_headings, rows, "row headings for {} rows")
    scale = scale or _fitting_scale(images.shape[1:3], rows, columns)
    pictures = visible(images).repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = pictures.shape[1:3]
    gap = max(1, round(max(height, width) / 30)) if padding is None else padding
    font_size = _fitting_font([*(labels or ()), *(headings or ())], width)
    line = round(font_size * 1.4)
    top = line if headings is not None else 0
    left = _margin(row_headings, font_size, max(2 * width, MOST_MARGIN)) if row_headings else 0
    step_x, step_y = width + gap, height + gap + (line if labels is not None else 0)
    size = (top + gap + rows * step_y, left + gap + columns * step_x, 3)
    canvas = np.full(size, PAPER, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = top + gap + i // columns * step_y, left + gap + i % columns * step_x
        canvas[y : y + height, x : x + width] = picture
    paper = Image.fromarray(canvas)
    for i, text in enumerate(labels or ()):
        x, y = left + gap + i % columns * step_x, top + gap + i // columns * step_y + height
        _write(paper, text, (x, y, width, line), font_size)
    for i, text in enumerate(headings or ()):
        _write(paper, text, (left + gap + i * step_x, gap // 2, width, line), font_size)
    for i, text in enumerate(row_headings or ()):
        y = top + gap + i * step_y + (height - line) // 2
        _write(paper, text, (gap, y, left - gap, line), font_size)
    return paper.convert("L") if images.shape[3] <= 2 else paper


def class_sheet(
    images: np.ndarray, classes: Sequence[int], class_names: Sequence[str] = ()
) -> Image.Image:
    """One column a class with its name above; images [classes x seeds, H, W, C] are class-major."""
    num_classes = len(classes)
    if num_classes == 0 or len(images) % num_classes:
        raise LimnerError(f"{len(images)} images do not divide into {num_classes} classes")
    rows = len(images) // num_classes
    order = np.arange(len(images)).reshape(num_classes, rows).T.reshape(-1)
    names = [class_names[index] if class_names else str(index) for index in classes]
    return sheet(images[order], columns=num_classes, headings=names)


def _check_texts(texts: Sequence[str] | None, num: int, what: str) -> None:
    if texts is not None and len(texts) != num:
        raise LimnerError(f"{len(texts)} {what.format(num)}; give one for each")


def _pictures(given: np.ndarray | Sequence[np.ndarray | Image.Image]) -> np.ndarray:
    """uint8 [N, H, W, C] of an array or a list."""
    images = given if isinstance(given, np.ndarray) else _stacked(given)
    if images.ndim != 4 or images.dtype != np.uint8 or 0 in images.shape:
        raise LimnerError(
            f"pictures must be uint8 [N, H, W, C] and at least one; got {images.dtype} "
            f"{list(images.shape)}"
        )
    return images


def _stacked(given: Sequence[np.ndarray | Image.Image]) -> np.ndarray:
    pictures = [np.asarray(picture) for picture in given]
    sizes = {picture.shape for picture in pictures}
    if len(sizes) > 1:
        raise LimnerError(f"a sheet's pictures must have one size; got {sorted(sizes)[:3]}")
    stacked = np.stack(pictures) if pictures else np.zeros((0, 1, 1, 1), np.uint8)
    return stacked[..., None] if stacked.ndim == 3 else stacked


def visible(images: np.ndarray) -> np.ndarray:
    """RGB uint8 [N, H, W, 3] for any number of channels."""
    channels = images.shape[3]
    if channels in (2, 4):
        color, alpha = (
            images[..., :-1].astype(np.float32),
            images[..., -1:].astype(np.float32) / 255,
        )
        images = np.rint(color * alpha + 255 * (1 - alpha)).astype(np.uint8)
    if images.shape[3] == 1:
        return images.repeat(3, axis=3)
    return images[..., :3]


def _fitting_scale(size: tuple[int, ...], rows: int, columns: int) -> int:
    wanted = max(1, round(SMALLEST_SIDE / min(size)))
    largest = max(1, min(LARGEST_SHEET // (size[0] * rows), LARGEST_SHEET // (size[1] * columns)))
    return min(wanted, largest)


def _fitting_font(texts: Sequence[str], width: int) -> int:
    """The largest readable size at which every text fits the width, else the smallest."""
    for size in range(14, 9, -1):
        font = ImageFont.load_default(size)
        if all(font.getlength(text) <= width for text in texts):
            return size
    return 10


def _margin(texts: Sequence[str], size: int, most: int) -> int:
    font = ImageFont.load_default(size)
    return min(math.ceil(max(font.getlength(text) for text in texts)) + size, most)


def _write(paper: Image.Image, text: str, box: tuple[int, int, int, int], size: int) -> None:
    """Centre one line in the box (x, y, width, height); a text that is too long is cut."""
    x, y, width, height = box
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(paper)
    shown = text = " ".join(text.split())
    while shown and draw.textlength(shown, font=font) > width and len(text) > 1:
        text = text[:-1]
        shown = text.rstrip() + "…"
    draw.text((x + width / 2, y + height / 2), shown, fill=INK, font=font, anchor="mm")


# --- files -----------------------------------------------------------------


def save_png(
    image: Image.Image | np.ndarray, path: Path, text: Mapping[str, str] | None = None
) -> None:
    """Write a picture, whole or not at all, with text that image programs can show: a PNG, or a
    JPEG or a WebP without loss where the name ends so.

    Args:
        image: a picture, or uint8 [H, W, C] with 1 to 4 channels; a LimnerError with others, and
            where the format does not hold such a picture.
        path: its folder is made.
        text: keyword -> value, see Model.describe; in the chunks of a PNG, else all of it as JSON
            in the EXIF field ImageDescription.

    Examples:
        >>> model = limner.load("runs/digits")
        >>> limner.save_png(model.sample(seeds=7, classes=3)[0], "three.png", {"seed": "7"})
    """
    picture = image if isinstance(image, Image.Image) else _picture(image)
    form = STILLS.get(Path(path).suffix.lower(), "PNG")
    if form == "JPEG" and picture.mode not in ("L", "RGB"):
        raise LimnerError(f"{path}: a JPEG has no transparency; give FILE.png or FILE.webp")
    if form == "WEBP" and max(picture.size) > MOST_WEBP:
        raise LimnerError(f"{path}: a WebP has at most {MOST_WEBP} pixels a side; give FILE.png")
    buffer = BytesIO()
    if form == "PNG":
        chunks = PngInfo()
        for key, value in (text or {}).items():
            chunks.add_text(key, value)
        picture.save(buffer, form, pnginfo=chunks)
    else:
        exif = Image.Exif()
        if text:
            exif[DESCRIPTION] = json.dumps(dict(text), ensure_ascii=False)
        picture.save(buffer, form, exif=exif, quality=95, lossless=True)
    write_atomically(Path(path), buffer.getvalue())


def _picture(image: np.ndarray) -> Image.Image:
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[2] not in (1, 2, 3, 4):
        raise LimnerError(
            f"a PNG holds uint8 [H, W, 1 to 4 channels], not {image.dtype} {list(image.shape)}; "
            "save an .npz"
        )
    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
