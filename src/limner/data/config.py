"""What a training asks of its pictures: size, channels, labels and how they are brought there."""

from typing import Any, Literal

from limner.core.config import Config, encode
from limner.core.errors import ConfigError
from limner.core.ranges import NonNegativeInt, PositiveInt
from limner.data.pictures import Fit
from limner.data.sources.base import Source


class DataConfig(Config, frozen=True, kw_only=True):
    """The form that pictures are prepared in, and how batches are made of them. `flip`, `pad`,
    `in_memory` and `expected_classes` are no part of the prepared form's identity; change anything
    else, and the source is prepared anew.

    Fields:
        resolution: height and width in pixels of the prepared (square) pictures.
        channels: 1 gray, 3 color; None: 1 if every accepted picture is gray, else 3. Other numbers
            fit only sources of arrays that have exactly so many channels.
        labels: "classes" takes the source's classes (if it has any), "none" reads it unlabelled
            (a folder then recursively, as one set).
        max_label_size: keep the first so many columns of labels that are rows of numbers; classes
            become one-hot rows if they are more. 0 reads no labels; None keeps all (PGGAN's
            max_label_size).
        fit: "crop" the largest centred square, "squash" to a square, or "pad" with black.
        filter: the resize filter, antialiased when a picture shrinks.
        flip: mirror half of the pictures left-right while training.
        crop: "center", or "random": pictures keep their aspect in the prepared form (the short
            side at `resolution`), and training takes a square anywhere along the long one. Scores
            and sheets show the centred square.
        pad: take squares anywhere in the picture with so many black pixels around it while
            training (4 for CIFAR).
        in_memory: read the prepared pictures into memory once and not as they are needed; images
            do not change by it.
        expected_classes: classes of the data that the settings were made for, where sizes are
            shown before there is any (`limner presets NAME`). Training takes those of its data.
        source: how to read the data; None finds it out from the path. A user's own class goes
            here as {"type": "module:Class", ...}; its `path` is filled in from the data argument.
    """

    resolution: PositiveInt
    channels: PositiveInt | None = None
    labels: Literal["classes", "none"] = "classes"
    max_label_size: NonNegativeInt | None = None
    fit: Literal["crop", "squash", "pad"] = "crop"
    filter: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"] = "lanczos"
    flip: bool = False
    crop: Literal["center", "random"] = "center"
    pad: NonNegativeInt = 0
    in_memory: bool = False
    expected_classes: NonNegativeInt | None = None
    source: Source | None = None

    def __post_init__(self) -> None:
        if self.pad > self.resolution:
            raise ConfigError(f"pad: {self.pad} pixels; give 0 to {self.resolution} (resolution)")
        if self.crop == "random" and self.fit != "crop":
            raise ConfigError(f"crop: 'random' needs fit='crop'; fit is '{self.fit}'")

    @property
    def prepared_fit(self) -> Fit:
        """How a picture is fitted when it is prepared."""
        return "keep" if self.crop == "random" else self.fit

    @property
    def prepared_labels(self) -> Literal["classes", "none"]:
        """Whether labels are read when a source is prepared."""
        return "none" if self.max_label_size == 0 else self.labels

    def settings(self) -> dict[str, Any]:
        """The fields that decide the prepared pixels, as plain JSON values (not the source)."""
        plain = encode(self)
        names = ("resolution", "channels", "labels", "fit", "filter")
        settings = {name: plain[name] for name in names}
        settings |= {"labels": self.prepared_labels, "fit": self.prepared_fit}
        # Absent where nothing is cut, so that what was prepared before it existed is found again.
        if self.max_label_size is not None and self.prepared_labels == "classes":
            settings["max_label_size"] = self.max_label_size
        return settings
