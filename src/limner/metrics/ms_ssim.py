"""Multi-scale structural similarity (Wang et al. 2003), a measure of variety: pairs of generated
images should be as unlike as pairs of real ones (Odena et al. 2017, Karras et al. 2018)."""

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor
from torch.nn import functional as F

from limner.core.errors import LimnerError
from limner.core.streams import stream
from limner.metrics.base import Figure, Metric, Rows

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
PIXELS_PER_BATCH = 1 << 19
NUM_MAX = 20_000  # progressive_growing_of_gans'


def ms_ssim(
    first: UInt8[Tensor, "n c h w"], second: UInt8[Tensor, "n c h w"]
) -> Float64[Tensor, " n"]:
    """The similarity of each pair, 0 (unlike) to 1 (equal).

    Five levels, each half of the one before. The Gaussian window has 11 pixels and sigma 1.5; at a
    level with a shorter side s it has s pixels and sigma 1.5 s / 11, as in the code that Karras et
    al. used (so every level below 11 pixels counts, and an image needs no 176 pixels). Sides that
    do not divide lose their last row or column. Below 16 pixels the levels end at one pixel; the
    weights of those that are left are scaled to the sum of all five (limner's own rule).

    Raises:
        LimnerError: different shapes.
    """
    if first.shape != second.shape:
        raise LimnerError(
            f"MS-SSIM: images {list(first.shape)} and {list(second.shape)}; give pairs of one size"
        )
    num_levels = min(len(WEIGHTS), min(first.shape[2:]).bit_length())
    scale = sum(WEIGHTS) / sum(WEIGHTS[:num_levels])
    x, y = first.double(), second.double()
    product = torch.ones(len(x), dtype=torch.float64)
    for level, weight in enumerate(WEIGHTS[:num_levels], start=1):
        whole, contrast = _similarities(x, y)
        value = whole if level == num_levels else contrast
        product *= value.clamp_min(0.0) ** (weight * scale)
        if level < num_levels:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return product


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the similarity, and of its part without the luminance, for each pair."""
    size = min(WINDOW, *x.shape[2:])
    means = _blurred(torch.cat([x, y, x * x, y * y, x * y]), size, SIGMA * size / WINDOW)
    mean_x, mean_y, of_xx, of_yy, of_xy = means.chunk(5)
    both = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    contrast = (2 * (of_xy - both) + C2) / (of_xx + of_yy - squares + C2)
    whole = (2 * both + C1) / (squares + C1) * contrast
    return whole.mean(dim=(1, 2, 3)), contrast.mean(dim=(1, 2, 3))


def _blurred(images: Tensor, size: int, sigma: float) -> Tensor:
    places = torch.arange(size, dtype=images.dtype) - (size - 1) / 2
    line = torch.exp(-(places**2) / (2 * sigma**2))
    line /= line.sum()
    flat = images.flatten(0, 1)[:, None]
    flat = F.conv2d(F.conv2d(flat, line.view(1, 1, size, 1)), line.view(1, 1, 1, size))
    return flat.view(*images.shape[:2], *flat.shape[2:])


def mean_ms_ssim(images: UInt8[Tensor, "n c h w"]) -> float:
    """The mean over the pairs of images 0 and 1, 2 and 3, ...; an odd last one is left out.

    Their order should be random: neighbours of one class are more alike than others.

    Raises:
        LimnerError: fewer than two images.
    """
    num_pairs = len(images) // 2
    if num_pairs == 0:
        raise LimnerError(f"MS-SSIM: {len(images)} images; give at least 2")
    size = max(PIXELS_PER_BATCH // images[0].numel(), 1)
    first, second = images[: 2 * num_pairs : 2], images[1::2]
    total = 0.0
    for pair in zip(first.split(size), second.split(size), strict=True):
        total += float(ms_ssim(*pair).sum())
    return total / num_pairs


class MsSsim(Metric):
    """See `mean_ms_ssim`, of pairs drawn at random."""

    figures = ("ms-ssim",)
    higher_is_better = False
    reads = "images"
    alone = True
    num_max = NUM_MAX
    num_usual = NUM_MAX
    num_min = 2
    under_floor = "pairs of images are less alike than pairs of real ones, as those of noise are"

    def compare(self, fake: Rows, real: None) -> dict[str, Figure]:
        # generated images come with their classes in turn: neighbours would never be of one class
        draws = stream("metrics", "pairs", fake.side.seed)
        order = torch.randperm(len(fake.rows), generator=draws)
        return {"ms-ssim": Figure(mean_ms_ssim(fake.rows[order]))}
