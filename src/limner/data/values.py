"""How numbers of more than 8 bits become 0..255: by one range for all pictures of a set."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from limner.data.findings import Finding, plural
from limner.data.pictures import UnreadablePictureError

STRIP_PIXELS = 2**20  # what is computed in wider numbers goes strip by strip
DARK = 64  # of 255
SIXTEEN, INTEGERS, FLOATS = "of 16 bits", "of integers", "of floats"
SIXTEEN_BITS = (0.0, 65535.0)
# The ranges that numbers are known to come in, the first that holds all of a set.
KNOWN_RANGES = {
    SIXTEEN: (SIXTEEN_BITS,),
    INTEGERS: ((0.0, 255.0), SIXTEEN_BITS),
    FLOATS: ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)),
}
Range = tuple[float, float]


def kind_of_values(picture: Image.Image | np.ndarray) -> str | None:
    """Which numbers a picture holds; None for those of 8 bits."""
    if isinstance(picture, np.ndarray):
        if picture.dtype == np.uint16:
            return SIXTEEN
        kinds = {"i": INTEGERS, "u": INTEGERS, "f": FLOATS}
        return None if picture.dtype == np.uint8 else kinds.get(picture.dtype.kind)
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        return SIXTEEN  # Pillow brings a PGM's own largest value to 65535
    return {"I": INTEGERS, "F": FLOATS}.get(picture.mode)


def strips(picture: Image.Image | np.ndarray) -> Iterator[np.ndarray]:
    """Parts of a picture from top to bottom; a whole picture is one part if it is small."""
    is_array = isinstance(picture, np.ndarray)
    height, width = picture.shape[:2] if is_array else picture.size[::-1]
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        end = min(height, top + rows)
        yield picture[top:end] if is_array else np.asarray(picture.crop((0, top, width, end)))


def extremes_of(picture: Image.Image | np.ndarray) -> Range:
    """The smallest and the largest value; UnreadablePictureError where one is not finite."""
    smallest, largest = math.inf, -math.inf
    for values in strips(picture):
        if not np.isfinite(values).all():
            raise UnreadablePictureError("holds values that are not finite numbers")
        smallest = min(smallest, float(values.min()))
        largest = max(largest, float(values.max()))
    return smallest, largest


@dataclass
class _Seen:
    """The pictures of a kind so far: the first, their extremes, the range that they were scaled by,
    their number, and how many have values beyond the range."""

    example: str
    smallest: float
    largest: float
    range: Range
    num: int = 0
    num_beyond: int = 0


class ValueRange:
    """The range of a set: as given, or the known one that holds all of its values."""

    def __init__(self, given: Range | None, extremes_of_set: Callable[[str], Range | None]):
        """Scale by a given range, or by what all pictures of a kind hold (None: not known, each
        picture then counts alone)."""
        self.given = given
        self._extremes_of_set = extremes_of_set
        self._of_set: dict[str, Range | None] = {}
        self._seen: dict[str, _Seen] = {}

    def to_bytes(self, picture: Image.Image | np.ndarray, kind: str) -> tuple[np.ndarray, Range]:
        """Values of a kind as uint8, [H, W] or [H, W, C], and their extremes.

        Raises:
            UnreadablePictureError: no range is given, and none is known that holds the set; or a
                value is not finite.
        """
        extremes = extremes_of(picture)
        low, high = self._range(kind, extremes)
        factor = 255 / (high - low)
        parts = [
            np.rint(((part.astype(np.float64) - low) * factor).clip(0, 255)).astype(np.uint8)
            for part in strips(picture)
        ]
        return np.concatenate(parts), extremes

    def saw(self, kind: str, extremes: Range, name: str) -> None:
        """Count a picture that was accepted."""
        low, high = self._range(kind, extremes)
        seen = self._seen.setdefault(kind, _Seen(name, *extremes, (low, high)))
        seen.smallest = min(seen.smallest, extremes[0])
        seen.largest = max(seen.largest, extremes[1])
        seen.num += 1
        seen.num_beyond += extremes[0] < low or extremes[1] > high

    def _range(self, kind: str, extremes: Range) -> Range:
        if self.given is not None:
            return self.given
        if kind not in self._of_set:
            alone = kind == SIXTEEN
            self._of_set[kind] = SIXTEEN_BITS if alone else self._extremes_of_set(kind)
        smallest, largest = self._of_set[kind] or extremes
        for low, high in KNOWN_RANGES[kind]:
            if low <= smallest and largest <= high:
                return low, high
        raise UnreadablePictureError(
            f"values from {smallest:g} to {largest:g} (in all pictures {kind}) have no known "
            f"scale; give the range that becomes black to white: {_asked(smallest, largest)}"
        )

    def findings(self) -> tuple[list[str], list[Finding]]:
        """Notes on what was assumed, and warnings of what probably is not meant."""
        notes: list[str] = []
        warnings: list[Finding] = []
        if self.given is not None and not self._seen:
            text = "value_range: no picture has more than 8 bits, so that it changes none"
            warnings.append(Finding("value_range", text))
        for kind, seen in self._seen.items():
            low, high = seen.range
            where = f"{plural(seen.num, 'picture')} {kind}"
            held = f"values {seen.smallest:g} to {seen.largest:g} in {where}"
            if seen.num_beyond:
                text = f"{held}: {seen.num_beyond} of them are cut to value_range {low:g},{high:g}"
                warnings.append(Finding("value_range", text))
            if seen.largest < (low + high) / 2:
                text = (
                    f"{held}, such as {seen.example}, while {low:g} to {high:g} become black to "
                    f"white: they come out dark, in 1/{_share(seen)} of the range; "
                    f"{_asked(low, _next_white(low, seen.largest))} is one range for all of them"
                )
                warnings.append(Finding("value_range", text))
            elif self.given is None and kind != SIXTEEN:
                text = f"{held}: {low:g} to {high:g} become black to white"
                notes.append(f"{text}; --value-range LOW,HIGH (data.value_range) changes that")
        return notes, warnings


def darkness(brightest: int, warnings: list[Finding]) -> list[Finding]:
    """A warning of a set whose brightest value is far from white, where no range explains it."""
    if brightest >= DARK or any(finding.kind == "value_range" for finding in warnings):
        return []
    text = (
        f"the brightest value of all pictures is {brightest} of 255: they are nearly black; store "
        "them over the whole range, or as floats from 0 to 1"
    )
    return [Finding("dark", text)]


def _share(seen: _Seen) -> int:
    low, high = seen.range
    return round((high - low) / max(seen.largest - low, (high - low) / 256))


def _next_white(low: float, largest: float) -> float:
    """The largest value of so many bits, as cameras and scanners have; above 1 and from 0 on."""
    if low < 0 or largest <= 1:
        return largest
    return float(2 ** math.ceil(math.log2(largest + 1)) - 1)


def _asked(low: float, high: float) -> str:
    low_text, high_text = (str(int(v) if v == int(v) else v) for v in (low, high))
    space = "=" if low < 0 else " "
    return f"--value-range{space}{low_text},{high_text} (data.value_range=[{low_text},{high_text}])"
