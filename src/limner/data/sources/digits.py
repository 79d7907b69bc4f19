"""The data set that limner ships: 1,797 scans of handwritten digits, 8x8 pixels.

Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, CC BY 4.0 (see NOTICE).
"""

import gzip
from pathlib import Path

import numpy as np

from limner.core.config import Config
from limner.core.files import sha256_of
from limner.data.sources.base import Item, Labels, Listing, Source

FILE = Path(__file__).resolve().parents[1] / "builtin" / "digits.csv.gz"


class Digits(Config, Source, frozen=True):
    """The scans; their values 0..16 are spread over 0..255. Ten classes, "0" to "9"."""

    path: str = "digits"

    def listing(self, labels: Labels) -> Listing:
        """See `Source.listing`."""
        with gzip.open(FILE, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.int64)
        scans = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
        digits = table[:, 64].tolist() if labels == "classes" else [None] * len(scans)
        return Listing(
            items=(
                Item(f"digits/{i}", digit, scan.copy)
                for i, (scan, digit) in enumerate(zip(scans, digits, strict=True))
            ),
            num_items=len(scans),
            class_names=[str(digit) for digit in range(10)] if labels == "classes" else [],
        )

    def identity(self) -> str:
        """The sha256 of the shipped file."""
        return sha256_of(FILE)
