"""What a training asks of its pictures: size, channels, labels and how they are brought there."""

from typing import Any, Literal

from limner.core.config import Config, encode
from limner.core.errors import ConfigError
from limner.core.ranges import NonNegativeInt, PositiveInt
from limner.data.pictures import Fit
from limner.data.sources.base import Labels, LabelsAsked, Source

SHARD_WINDOW = 8


class DataConfig(Config, frozen=True, kw_only=True):
    """The form that pictures are prepared in, and how batches are made of them. `flip`, `pad`,
    `in_memory`, `shard_window` and `expected_classes` are no part of the prepared form's identity;
    change anything else, and the source is prepared anew.

    Fields:
        resolution: the side in pixels of the prepared squares, or [height, width].
        channels: 1 gray, 3 color, 4 color and transparency (or a fourth band of a TIFF); None: 1 if
            every accepted picture is gray, else 3. Other numbers fit only sources of arrays that
            have exactly so many channels.
        labels: "classes" takes the source's classes (if it has any), "used" those of them that
            have pictures, numbered anew, "none" reads it unlabelled (a folder then recursively, as
            one set).
        max_label_size: keep the first so many columns of labels that are rows of numbers; classes
            become one-hot rows if they are more. 0 reads no labels; None keeps all (PGGAN's
            max_label_size).
        value_range: [low, high], the values that become black and white in pictures of more than 8
            bits (16-bit files, signed integers, floats), one range for all of them; None: what is
            usual for the kind, 0 to 65535 for 16 bits.
        fit: "crop" the largest centred part of the aspect, "squash" to it, or "pad" with black.
        filter: the resize filter, antialiased when a picture shrinks.
        flip: mirror half of the pictures left-right while training.
        crop: "center", or "random": pictures keep their aspect in the prepared form (the short
            side at `resolution`), and training takes a square anywhere along the long one. Scores
            and sheets show the centred square.
        pad: take squares anywhere in the picture with so many black pixels around it while
            training (4 for CIFAR).
        in_memory: read the prepared pictures into memory once and not as they are needed; images
            do not change by it.
        shard_window: of data in shards, how many of them have their pictures mixed; so many lie on
            the machine's disk, and as many are fetched ahead.
        expected_classes: classes of the data that the settings were made for, where sizes are
            shown before there is any (`limner presets NAME`). Training takes those of its data.
        source: how to read the data; None finds it out from the path. A user's own class goes
            here as {"type": "module:Class", ...}; its `path` is filled in from the data argument.
    """

    resolution: PositiveInt | tuple[PositiveInt, PositiveInt]
    channels: PositiveInt | None = None
    labels: LabelsAsked = "classes"
    max_label_size: NonNegativeInt | None = None
    value_range: tuple[float, float] | None = None
    fit: Literal["crop", "squash", "pad"] = "crop"
    filter: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"] = "lanczos"
    flip: bool = False
    crop: Literal["center", "random"] = "center"
    pad: NonNegativeInt = 0
    in_memory: bool = False
    shard_window: PositiveInt = SHARD_WINDOW
    expected_classes: NonNegativeInt | None = None
    source: Source | None = None

    def __post_init__(self) -> None:
        if self.pad > min(self.size):
            raise ConfigError(f"pad: {self.pad} pixels; give 0 to {min(self.size)} (resolution)")
        if self.value_range is not None and self.value_range[0] >= self.value_range[1]:
            low, high = self.value_range
            raise ConfigError(f"value_range: [{low:g}, {high:g}]; the second must be the larger")
        if self.crop == "random" and self.fit != "crop":
            raise ConfigError(f"crop: 'random' needs fit='crop'; fit is '{self.fit}'")
        if self.crop == "random" and self.size[0] != self.size[1]:
            height, width = self.size
            raise ConfigError(
                f"crop: 'random' takes squares; resolution is {height}x{width}: give one number"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the prepared pictures."""
        both = self.resolution
        return both if isinstance(both, tuple) else (both, both)

    @property
    def prepared_fit(self) -> Fit:
        """How a picture is fitted when it is prepared."""
        return "keep" if self.crop == "random" else self.fit

    @property
    def prepared_labels(self) -> LabelsAsked:
        """Whether labels are read when a source is prepared."""
        return "none" if self.max_label_size == 0 else self.labels

    @property
    def listed(self) -> Labels:
        """How a source is listed for it."""
        return "none" if self.prepared_labels == "none" else "classes"

    def settings(self) -> dict[str, Any]:
        """The fields that decide the prepared pixels, as plain JSON values (not the source)."""
        plain = encode(self)
        names = ("resolution", "channels", "labels", "fit", "filter")
        settings = {name: plain[name] for name in names}
        settings |= {"labels": self.prepared_labels, "fit": self.prepared_fit}
        if len(set(self.size)) == 1:
            settings["resolution"] = self.size[0]
        # Absent where nothing is cut, so that what was prepared before it existed is found again.
        if self.max_label_size is not None and self.prepared_labels != "none":
            settings["max_label_size"] = self.max_label_size
        if self.value_range is not None:
            settings["value_range"] = plain["value_range"]
        return settings
