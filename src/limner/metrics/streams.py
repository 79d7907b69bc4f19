"""Images that are made or read part by part, and their rows, shared out over the processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from limner.core import distributed
from limner.core.errors import LimnerError
from limner.metrics.base import Accumulator

IMAGES_PER_PART = 512  # a multiple of the batches of sampling, so that parts change no batch
BYTES_PER_PART = 1 << 27


@dataclass(frozen=True)
class ImageStream:
    """Images that need not be in memory at once.

    Attributes:
        num: their number.
        image_shape: (C, H, W).
        part: (begin, end) -> those images, uint8 [end - begin, C, H, W] on the CPU. The same part
            is always the same images.
        generate: latents [n, z_dim] (or styles, and then no labels), labels [n] or None, and
            numbers int64 [n] -> float images [n, C, H, W] nominally in [-1, 1], where a generator
            makes them; for the path length. Noise that it draws is the same for equal numbers.
        z_dim: width of its latents.
        num_classes: of the labels that `generate` takes; 0 for a generator without classes.
        styles: latents and labels -> styles [n, layers, w], where the generator has them.
        moved: what `generate` takes and an inverse transform [3, 3] of the generator's input, in
            widths of the image -> images as `generate`'s, where it has such an input.
    """

    num: int
    image_shape: tuple[int, int, int]
    part: Callable[[int, int], Tensor]
    generate: Callable[[Tensor, Tensor | None, Tensor], Tensor] | None = None
    z_dim: int = 0
    num_classes: int = 0
    styles: Callable[[Tensor, Tensor | None], Tensor] | None = None
    moved: Callable[[Tensor, Tensor | None, Tensor, Tensor], Tensor] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (self.num, *self.image_shape)

    def __len__(self) -> int:
        return self.num

    def parts(self) -> Iterator[tuple[int, int]]:
        """Beginnings and ends of the parts; they depend on nothing but number and shape."""
        channels, height, width = self.image_shape
        size = min(max(BYTES_PER_PART // (channels * height * width), 1), IMAGES_PER_PART)
        size -= size % 64 if size > 64 else 0
        for begin in range(0, self.num, size):
            yield begin, min(begin + size, self.num)


def as_stream(images: UInt8[Tensor, "n c h w"] | ImageStream) -> ImageStream:
    """Images in memory as a stream of them."""
    if isinstance(images, ImageStream):
        return images
    channels, height, width = images.shape[1:]
    return ImageStream(
        len(images), (channels, height, width), lambda begin, end: images[begin:end].cpu()
    )


@dataclass(frozen=True)
class Wanted:
    """Rows that an accumulator is shown.

    Attributes:
        rows: uint8 images [n, C, H, W] -> their rows [n, ...].
        is_shared: `rows` is asked for others, too, and remembers its last answer: it is shown whole
            parts, also where only some of their rows are wanted.
    """

    accumulator: Accumulator
    rows: Callable[[Tensor], Tensor]
    is_shared: bool = False

    def show(self, images: Tensor, begin: int) -> bool:
        """The images from number `begin` on; whether any of them was wanted."""
        places = torch.arange(begin, begin + len(images))
        wanted = self.accumulator.places
        chosen = torch.ones(len(images)).bool() if wanted is None else torch.isin(places, wanted)
        if not bool(chosen.any()):
            return False
        if bool(chosen.all()):
            rows = self.rows(images)
        else:
            rows = self.rows(images)[chosen] if self.is_shared else self.rows(images[chosen])
        self.accumulator.add(rows.cpu(), places[chosen])
        return True


def read(stream: ImageStream, wanted: Sequence[Wanted]) -> list[str | None]:
    """Look at each image once and show it to all; for each, why it cannot have its rows, or None.

    With several processes each takes every so many-th part and all get everything. As parts are
    those of one process, so are the rows, bit for bit; sums agree to rounding in double precision.

    Raises:
        Interrupted: a process was; then all raise it.
    """
    number, count = distributed.rank(), distributed.world_size()
    seen, errors = [False] * len(wanted), dict[int, str]()
    with distributed.apart():
        for place, (begin, end) in enumerate(stream.parts()):
            if place % count != number or len(errors) == len(wanted):
                continue
            images = stream.part(begin, end)
            for i, want in enumerate(wanted):
                try:
                    seen[i] |= i not in errors and want.show(images, begin)
                except LimnerError as error:
                    errors[i] = str(error)
    for i, want in enumerate(wanted):
        if distributed.any_rank(i in errors):
            errors.setdefault(i, "another process could not read its images")
            continue
        if not seen[i]:  # there are fewer parts than processes
            rows = want.rows(stream.part(0, 1)).cpu()
            want.accumulator.add(rows[:0], torch.arange(0))
        want.accumulator.share()
    return [errors.get(i) for i in range(len(wanted))]
