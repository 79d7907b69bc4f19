"""Pictures brought into shards."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from limner import data
from limner.api.notebooks import counter
from limner.api.preparing import PrepareOptions, as_asked, prepared_in
from limner.core.counting import Progress
from limner.core.errors import LimnerError
from limner.core.files import cache_directory, temporary_name
from limner.data.opening import standing


@dataclass(frozen=True)
class ShardOptions:
    """How pictures are put into shards.

    Attributes:
        megabytes: of a shard, at most (millions of bytes).
        encoding: of the pictures in it; "jpeg" changes their values a little.
        shuffle: write them in a random order, always the same, so that each shard holds all kinds.

    Examples:
        >>> limner.ShardOptions(megabytes=64).encoding
        'png'
    """

    megabytes: float = 256
    encoding: Literal["png", "jpeg"] = "png"
    shuffle: bool = True

    def __post_init__(self) -> None:
        if not 0.001 <= self.megabytes <= 100_000:
            raise LimnerError(f"--shard-size {self.megabytes:g}: give megabytes, such as 256")


@dataclass(frozen=True)
class ShardFacts:
    """What was written.

    Attributes:
        out: the folder or URL, which `--data` takes.
        num_bytes: of all shards.
        num_refused: pictures that could not be read.
    """

    out: str
    num_images: int
    num_shards: int
    num_bytes: int
    image_shape: tuple[int, int, int]
    num_classes: int
    num_refused: int


def shard_data(
    source: str,
    out: str | Path,
    options: PrepareOptions | None = None,
    sharding: ShardOptions | None = None,
    on_prepare: Progress | None = None,
    on_write: Progress | None = None,
    on_refused: Callable[[str, str], None] = lambda name, reason: None,
) -> ShardFacts:
    """Write a source's pictures as shards with an index: `limner data shard`.

    They are prepared first, in the cache's folder, unless they are so already.

    Args:
        source, options, on_prepare, on_write, on_refused: as for `prepare_data`.
        out: a folder to make, or a URL that fsspec writes, such as s3://bucket/faces.

    Raises:
        LimnerError: the source cannot be read, no picture of it can, or `out` exists or cannot be
            written.

    Examples:
        >>> options = limner.PrepareOptions(resolution=16)
        >>> facts = limner.shard_data("photos/", "shards/photos16", options)
        >>> facts.num_images, facts.num_shards
        (24, 1)
    """
    options, sharding = options or PrepareOptions(), sharding or ShardOptions()
    on_prepare, on_write = on_prepare or counter("preparing"), on_write or counter("writing")
    place = temporary_name(cache_directory() / "data" / "shard")
    try:
        found = standing(source)
        if found is None:
            found = prepared_in(source, options, place, on_prepare)
        else:
            found = as_asked(found, options)
        for entry in found.info["refused"]:
            on_refused(entry["name"], entry["reason"])
        size = round(sharding.megabytes * 10**6)
        shards = data.write_shards(found, out, size, sharding.encoding, sharding.shuffle, on_write)
        return ShardFacts(
            out=str(out),
            num_images=len(found),
            num_shards=len(shards),
            num_bytes=sum(shard.num_bytes for shard in shards),
            image_shape=found.image_shape,
            num_classes=found.num_classes,
            num_refused=found.info["num_refused"],
        )
    finally:
        shutil.rmtree(place, ignore_errors=True)
