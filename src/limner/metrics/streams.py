"""Images that are made or read part by part, and their rows, shared out over the processes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from limner.core import distributed
from limner.metrics.frechet import Gaussian, RunningMoments
from limner.metrics.results import Sums

IMAGES_PER_PART = 512  # a multiple of the batches of sampling, so that parts change no batch
BYTES_PER_PART = 1 << 27
MIN_IMAGES_A_FEATURE = 2


@dataclass(frozen=True)
class ImageStream:
    """Images that need not be in memory at once.

    Attributes:
        num: their number.
        image_shape: (C, H, W).
        part: (begin, end) -> those images, uint8 [end - begin, C, H, W] on the CPU. The same part
            is always the same images.
        generate: latents [n, z_dim] and labels [n] or None -> float images [n, C, H, W] nominally
            in [-1, 1], where a generator makes them; for the path length.
        z_dim: width of its latents.
        num_classes: of the labels that `generate` takes; 0 for a generator without classes.
    """

    num: int
    image_shape: tuple[int, int, int]
    part: Callable[[int, int], Tensor]
    generate: Callable[[Tensor, Tensor | None], Tensor] | None = None
    z_dim: int = 0
    num_classes: int = 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W), as of a tensor."""
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
    """What is kept of one kind of rows.

    Attributes:
        rows: uint8 images [n, C, H, W] -> their rows [n, ...].
        places: int64; the images whose rows are kept, in this order; None keeps all in theirs.
        sum_up_beside: keep mean and covariance only, if of these images and of so many real ones
            there are at least `MIN_IMAGES_A_FEATURE` a feature: fewer make a covariance that lacks
            rank, whose root needs rows. None keeps rows.
        sums: keep no rows but these sums of all of them.
        is_shared: `rows` is asked for others, too, and remembers its last answer: it is shown whole
            parts, also where only some of their rows are kept.
    """

    rows: Callable[[Tensor], Tensor]
    places: Tensor | None = None
    sum_up_beside: int | None = None
    sums: Sums | None = None
    is_shared: bool = False


Kept = Tensor | Gaussian | Sums


def read(stream: ImageStream, wanted: Mapping[str, Wanted]) -> dict[str, Kept]:
    """Look at each image once and keep what is wanted of it.

    With several processes each takes every so many-th part and all get everything. As parts are
    those of one process, so are the rows, bit for bit; sums agree to rounding in double precision.

    Raises:
        Interrupted: a process was; then all raise it.
    """
    keepers = {name: _Keeper(stream.num, want) for name, want in wanted.items()}
    number, count = distributed.rank(), distributed.world_size()
    with distributed.apart():
        for place, (begin, end) in enumerate(stream.parts()):
            if place % count == number and keepers:
                images = stream.part(begin, end)
                for keeper in keepers.values():
                    keeper.add(images, begin)
    return {name: keeper.shared(stream) for name, keeper in keepers.items()}


class _Keeper:
    """What one kind of rows leaves behind."""

    def __init__(self, num: int, want: Wanted):
        self.want = want
        places = torch.arange(num) if want.places is None else want.places
        self.num_kept = len(places)
        self.target = torch.full((num,), -1)
        self.target[places] = torch.arange(len(places))
        self.kept: Tensor | RunningMoments | None = None

    def begin(self, rows: Tensor) -> None:
        """Learn from the first rows what there will be to keep."""
        fewest = min(self.num_kept, self.want.sum_up_beside or 0)
        if rows.ndim == 2 and fewest >= MIN_IMAGES_A_FEATURE * rows.shape[1]:
            self.kept = RunningMoments()
        else:
            self.kept = torch.zeros(self.num_kept, *rows.shape[1:], dtype=rows.dtype)

    def add(self, images: Tensor, begin: int) -> None:
        target = self.target[begin : begin + len(images)]
        chosen = target >= 0
        if not bool(chosen.any()):
            return
        if bool(chosen.all()):
            rows = self.want.rows(images).cpu()
        elif self.want.is_shared:
            rows = self.want.rows(images).cpu()[chosen]
        else:
            rows = self.want.rows(images[chosen]).cpu()
        if self.want.sums is not None:
            self.want.sums.add(rows, begin)
            return
        if self.kept is None:
            self.begin(rows)
        if isinstance(self.kept, RunningMoments):
            self.kept.add(rows)
        elif self.kept is not None:
            self.kept[target[chosen]] = rows

    def shared(self, stream: ImageStream) -> Kept:
        """Everything, on every process."""
        if self.want.sums is not None:
            self.want.sums.share()
            return self.want.sums
        if self.kept is None:  # there are fewer parts than processes
            self.begin(self.want.rows(stream.part(0, 1)))
        if isinstance(self.kept, RunningMoments):
            return _merged(self.kept).gaussian()
        assert self.kept is not None
        return distributed.summed(self.kept)


def _merged(own: RunningMoments) -> RunningMoments:
    """The moments of all processes, in the order of their numbers."""
    if distributed.world_size() == 1:
        return own
    width = int(distributed.largest(len(own.mean)))
    merged = RunningMoments()
    for number in range(distributed.world_size()):
        is_mine = number == distributed.rank() and own.num > 0
        packed = torch.zeros(width * width + width + 1, dtype=torch.float64)
        if is_mine:
            packed = torch.cat([torch.tensor([float(own.num)]), own.mean, own.scatter.flatten()])
        num, mean, scatter = distributed.summed(packed).split([1, width, width * width])
        merged.merge(int(num), mean, scatter.view(width, width))
    return merged
