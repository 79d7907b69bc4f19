"""The pictures of a set, decoded by one rule: rotation, bit depth, transparency, color.

The rules, each chosen once for all sources:

- The rotation that EXIF asks for is done. Of an animation or a multi-page file the first is taken.
- 16-bit values are scaled to 8 bits (v / 257, rounded), never clipped. Integers of other sizes and
  floats go by the known range that holds all pictures of the set (`values.KNOWN_RANGES`); others
  have no known scale and are refused. A range that is given takes the place of all that.
- Transparent pixels are laid on white, the page that most transparent pictures were made for; with
  four channels they stay. A fourth band that is no transparency is left out, or with four channels
  the fourth.
- CMYK, YCbCr, HSV and palettes become RGB. Color profiles are not applied.

Whatever of it happens is counted, and `findings` tells it.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from limner.core.errors import DataError
from limner.data.findings import Finding, plural
from limner.data.pictures import DECODE_ERRORS, UnreadablePictureError, as_image
from limner.data.sources.base import Item
from limner.data.values import SIXTEEN, STRIP_PIXELS, Range, ValueRange, extremes_of, kind_of_values

RGBA = 4
SAMPLE_FORMAT, SIGNED = 339, 2  # TIFF's
FRAMES, FRAME_TOTAL, ALPHA, OPAQUE = "frames", "frame total", "alpha", "opaque"
BANDS, MORE_BANDS = "bands", "more bands"
CONVERTED = ("CMYK", "LAB", "HSV", "YCbCr")
KEEP = "--channels 4 (data.channels=4) keeps the fourth channel"


@dataclass
class _Happened:
    """What was done to the picture that is being decoded, and the extremes of its values."""

    counts: Counter[str] = field(default_factory=Counter)
    values: dict[str, Range] = field(default_factory=dict)


class Decoder:
    """Decodes the pictures of one set and counts what was done to them."""

    def __init__(
        self,
        channels: int | None = None,
        value_range: Range | None = None,
        again: Callable[[], Iterable[Item]] | None = None,
    ):
        """Decode for a number of channels (4 keeps a fourth; None as for 1 or 3).

        Args:
            value_range: (low, high), which become 0 and 255 in pictures of more than 8 bits; None
                takes what is known for all that the set holds.
            again: the pictures of the set from the first on, looked through where their range
                decides; None takes each by itself.
        """
        self.channels = channels
        self.values = ValueRange(value_range, self._extremes_of_set)
        self._again = again
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._now = _Happened()

    def __call__(self, item: Item) -> Image.Image | np.ndarray:
        """Decode: upright, 8 bits a value.

        Returns:
            A PIL image of mode L or RGB (with four channels RGBA), or, for bands that are no
            colors, a uint8 array [H, W, C].

        Raises:
            Any of DECODE_ERRORS, with a reason.
        """
        self._now = _Happened()
        picture = item.open()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(picture, np.ndarray):
                decoded = self._from_array(picture)
            else:
                decoded = self._from_image(picture, item)
        self._counts += self._now.counts
        for kind in +self._now.counts:
            self._first.setdefault(kind, item.name)
        for kind, extremes in self._now.values.items():
            self.values.saw(kind, extremes, item.name)
        return decoded

    def findings(self) -> tuple[list[str], list[Finding]]:
        """What happened to the pictures: notes, and warnings of what was lost by it."""
        notes, found = self.values.findings()
        texts = {
            FRAMES: (
                "several frames or pages", "file", ": the first of each is taken; save the others "
                "as files of their own to use them",
            ),
            ALPHA: ("transparency", "picture", f": laid on white; {KEEP}"),
            BANDS: ("bands beside the colors", "picture", f": left out; {KEEP}"),
            MORE_BANDS: (
                "bands that fit no channels of a file", "picture", ": left out; store the pictures "
                "in an .npz as images [N, H, W, C] to use all",
            ),
            OPAQUE: (
                "no fourth channel", "picture", ": 255 is put there; --channels 3 "
                "(data.channels=3) leaves it out of all",
            ),
        }  # fmt: skip
        for kind, (what, noun, done) in texts.items():
            if num := self._counts[kind]:
                more = f", {self._counts[FRAME_TOTAL]} in all" if kind == FRAMES else ""
                text = f"{what} in {plural(num, noun)}{more}, such as {self._first[kind]}"
                found.append(Finding(kind, text + done))
        for mode in CONVERTED:
            if num := self._counts[mode]:
                which = plural(num, f"{mode} picture")
                notes.append(f"{which} became RGB; color profiles are not applied")
        return notes, found

    # --- files -------------------------------------------------------------

    def _from_image(self, picture: Image.Image, item: Item) -> Image.Image | np.ndarray:
        num_frames = _num_frames(picture)
        if num_frames > 1:
            self._now.counts[FRAMES], self._now.counts[FRAME_TOTAL] = 1, num_frames
            picture.close()
            again = item.open()  # to count them led away from the first
            assert isinstance(again, Image.Image)
            picture = again
        layout = _layout(picture)
        if layout.startswith("RGBX") and self.channels == RGBA:
            _relabel(picture, layout.replace("RGBX", "RGBA", 1), "RGBA")
            self._now.counts[MORE_BANDS] = "RGBXX" in layout
            return np.asarray(self._upright(picture, layout, item))
        self._now.counts[BANDS] = layout.startswith("RGBX")
        self._now.counts[MORE_BANDS] = layout.startswith("LX")
        return self._colors(self._upright(picture, layout, item))

    def _upright(self, picture: Image.Image, layout: str, item: Item) -> Image.Image:
        """Decoded and turned; colors of 16 bits as 8."""
        is_deep = ";16" in layout and len(picture.getbands()) > 1
        mode = picture.mode
        decoded = upright(picture)
        if not is_deep:
            return decoded
        pixels = np.asarray(decoded)
        colors = pixels[..., :3]
        if self.values.given is None:
            low, high = extremes_of(colors)  # Pillow takes the upper bytes
            self._now.values[SIXTEEN] = (257 * low, 257 * high)
            return decoded
        lower = np.asarray(_lower_bytes(item, layout, mode))
        deep = colors.astype(np.uint16) << 8 | lower[..., :3]
        scaled, extremes = self.values.to_bytes(deep, SIXTEEN)
        self._now.values[SIXTEEN] = extremes
        return Image.fromarray(np.concatenate([scaled, pixels[..., 3:]], 2))

    def _colors(self, picture: Image.Image) -> Image.Image:
        deep = _as_meant(picture)
        kind = kind_of_values(deep)
        if kind is not None:
            values, extremes = self.values.to_bytes(deep, kind)
            self._now.values[kind] = extremes
            picture = Image.fromarray(values)
        if picture.mode in CONVERTED:
            self._now.counts[picture.mode] = 1
        if self.channels == RGBA:
            self._now.counts[OPAQUE] = not picture.has_transparency_data
            return picture.convert("RGBA")
        if picture.has_transparency_data:
            return self._on_white(picture)
        if picture.mode in ("L", "RGB"):
            return picture
        return picture.convert("L" if picture.mode in ("1", "LA") else "RGB")

    def _on_white(self, picture: Image.Image) -> Image.Image:
        result = Image.new("RGB", picture.size)
        rows = max(1, STRIP_PIXELS // picture.width)
        for top in range(0, picture.height, rows):
            box = (0, top, picture.width, min(picture.height, top + rows))
            layer = picture.crop(box).convert("RGBA")
            self._now.counts[ALPHA] |= bool((np.asarray(layer.getchannel("A")) < 255).any())
            white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
            result.paste(Image.alpha_composite(white, layer).convert("RGB"), (0, top))
        return result

    # --- arrays ------------------------------------------------------------

    def _from_array(self, array: np.ndarray) -> Image.Image | np.ndarray:
        if array.ndim not in (2, 3) or array.size == 0:
            raise UnreadablePictureError(f"array of shape {array.shape} is no picture [H, W, C]")
        kind = kind_of_values(array)
        if kind is not None:
            array, extremes = self.values.to_bytes(array, kind)
            self._now.values[kind] = extremes
        elif array.dtype != np.uint8:
            raise UnreadablePictureError(f"array of {array.dtype}; store numbers, such as uint8")
        return as_image(array)

    def _extremes_of_set(self, kind: str) -> Range | None:
        found: list[Range] = []
        for item in () if self._again is None else self._again():
            try:
                picture = _as_meant(item.open())
                if kind_of_values(picture) == kind:
                    found.append(extremes_of(picture))
            except DataError:
                raise
            except DECODE_ERRORS:
                continue  # it is refused when its turn comes
        if not found:
            return None
        return min(low for low, _ in found), max(high for _, high in found)


def upright(picture: Image.Image) -> Image.Image:
    """The pixels, with the rotation that EXIF asks for. Raises any of DECODE_ERRORS."""
    with picture:  # closes the file, keeps the pixels
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _num_frames(picture: Image.Image) -> int:
    if picture.format == "MPO":  # a photograph, with a preview or a depth map behind it
        return 1
    try:
        return int(getattr(picture, "n_frames", 1)) if getattr(picture, "is_animated", 0) else 1
    except DECODE_ERRORS:
        return 2  # there are more, and they are damaged


def _layout(picture: Image.Image) -> str:
    """How the values lie in the file, as Pillow calls it: RGB;16B are colors of 16 bits."""
    tiles: list[Any] = getattr(picture, "tile", None) or [None]
    held = tiles[0][3] if tiles[0] is not None else ""
    held = held[0] if isinstance(held, tuple) and held else held
    return held if isinstance(held, str) else ""


def _relabel(picture: Image.Image, layout: str, mode: str) -> None:
    """Have the values of a file that was not decoded yet taken in another way."""
    tiles: list[Any] = getattr(picture, "tile")  # noqa: B009 - of files alone
    for i, (codec, box, offset, held) in enumerate(tiles):
        given = (layout, *held[1:]) if isinstance(held, tuple) else layout
        tiles[i] = (codec, box, offset, given)
    picture._mode = mode  # pyright: ignore[reportAttributeAccessIssue]


def _lower_bytes(item: Item, layout: str, mode: str) -> Image.Image:
    """The lower halves of colors of 16 bits, by reading them in the other order of bytes."""
    name, _, order = layout.partition(";16")
    picture = item.open()
    if not name.startswith("RGB") or isinstance(picture, np.ndarray):
        raise UnreadablePictureError(
            f"16 bits as {layout}, which no value range can be applied to; save it as RGB or gray"
        )
    other = {"B": "L", "L": "B"}.get(order, "B")
    name = name.replace("RGBX", "RGBA", 1) if mode == "RGBA" else name
    _relabel(picture, f"{name};16{other}", mode)
    return upright(picture)


def _as_meant(picture: Image.Image | np.ndarray) -> Image.Image | np.ndarray:
    """The bytes of a TIFF that are meant with a sign, which Pillow does not heed, as such."""
    if isinstance(picture, np.ndarray) or picture.mode != "L" or picture.format != "TIFF":
        return picture
    tags = getattr(picture, "tag_v2")  # noqa: B009 - of TIFF alone
    if tags.get(SAMPLE_FORMAT, (1,))[0] != SIGNED:
        return picture
    return np.asarray(picture).view(np.int8)
