"""Sliced Wasserstein distance between patches of two sets of images, level by level of a Laplacian
pyramid (Karras et al. 2018, section 5; the constants are those of progressive_growing_of_gans)."""

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from limner.core.errors import LimnerError
from limner.core.streams import stream
from limner.metrics.base import NEARER, Figure, Metric, Rows

PATCH_SIDE, NUM_PATCHES = 7, 128  # patches an image and level
NUM_REPEATS, NUM_DIRECTIONS = 4, 128
SMALLEST_SIDE = 16  # of the last level
NUM_MAX = 16_384
SCALE = 1e3
PIXELS_PER_BATCH = 1 << 20
PROJECTIONS_PER_BATCH = 1 << 25  # 134 MB
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def sliced_wasserstein(
    a: UInt8[Tensor, "n c h w"], b: UInt8[Tensor, "n c h w"], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The distance x 1000 at each level, by the level's height ("64", "32", "16"), and their mean
    ("avg"), each with its standard deviation over four sets of directions.

    A level's figure says how alike the structures of that size are: "16" the coarse ones, the
    largest the finest detail. Gray images count as three equal channels. The number of images
    matters: of few ones the distance is larger. One level of n images takes 75 kB x n for each
    side (1.2 GB for 16,384).

    Raises:
        LimnerError: a side shorter than 16 pixels, or different shapes.
    """
    if a.shape != b.shape or min(a.shape[2:]) < SMALLEST_SIDE or len(a) == 0:
        raise LimnerError(
            f"sliced Wasserstein distance: images {list(a.shape)} and {list(b.shape)}; give "
            f"equally many of one size, at least {SMALLEST_SIDE} pixels a side"
        )
    sizes = level_sizes(*a.shape[2:])
    values = {str(height): _of_level(a, b, i, seed) for i, (height, _) in enumerate(sizes)}
    values["avg"] = torch.stack(list(values.values())).mean(dim=0)
    return {
        name: (float(repeats.mean()), float(repeats.std(unbiased=False)))
        for name, repeats in values.items()
    }


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Heights and widths of the pyramid's levels: halves (of odd sides, the larger) down to 16."""
    sizes = [(height, width)]
    while min(-(-height // 2), -(-width // 2)) >= SMALLEST_SIDE:
        height, width = -(-height // 2), -(-width // 2)
        sizes.append((height, width))
    return sizes


def _of_level(a: Tensor, b: Tensor, level: int, seed: int) -> Tensor:
    rows_a, rows_b = (
        normalized(_descriptors(images, level, stream("sliced wasserstein", seed, level, side)))
        for side, images in (("a", a), ("b", b))
    )
    distances = [
        projected_distance(rows_a, rows_b, _directions(rows_a.shape[1], seed, level, repeat))
        for repeat in range(NUM_REPEATS)
    ]
    return SCALE * torch.tensor(distances, dtype=torch.float64)


def _directions(width: int, seed: int, level: int, repeat: int) -> Float32[Tensor, "d k"]:
    draws = stream("sliced wasserstein", seed, level, "directions", repeat)
    directions = torch.randn(width, NUM_DIRECTIONS, generator=draws, dtype=torch.float64)
    return (directions / directions.norm(dim=0)).float()


def _descriptors(images: Tensor, level: int, draws: torch.Generator) -> Tensor:
    """Patches [images x 128, c, 49] of a level, from batches of images."""
    channels = 3 if images.shape[1] == 1 else images.shape[1]
    found = torch.empty(len(images), NUM_PATCHES, channels, PATCH_SIDE**2)
    size = max(PIXELS_PER_BATCH // (images.shape[2] * images.shape[3]), 1)
    for start in range(0, len(images), size):
        batch = images[start : start + size].float().expand(-1, channels, -1, -1)
        patches = _patches(laplacian_level(batch, level), draws)
        found[start : start + size] = patches.flatten(3)
    return found.flatten(0, 1)


def _patches(images: Tensor, draws: torch.Generator) -> Tensor:
    """[n, 128, c, 7, 7] at places that all lie within the image."""
    windows = images.unfold(2, PATCH_SIDE, 1).unfold(3, PATCH_SIDE, 1)
    shape = (len(images), NUM_PATCHES)
    top = torch.randint(windows.shape[2], shape, generator=draws)
    left = torch.randint(windows.shape[3], shape, generator=draws)
    return windows[torch.arange(len(images))[:, None], :, top, left]


def normalized(patches: Float32[Tensor, "n c p"]) -> Float32[Tensor, "n cp"]:
    """Each channel with mean 0 and deviation 1 over all patches, in place, as rows."""
    deviation, mean = torch.std_mean(patches, dim=(0, 2), keepdim=True, correction=0)
    return patches.sub_(mean).div_(deviation.clamp_min(1e-8)).flatten(1)


def projected_distance(
    a: Float32[Tensor, "n d"], b: Float32[Tensor, "n d"], directions: Float32[Tensor, "d k"]
) -> float:
    """The mean over directions of the distance |sorted a - sorted b| of the projections."""
    total = 0.0
    for some in directions.split(max(PROJECTIONS_PER_BATCH // len(a), 1), dim=1):
        ordered_a, ordered_b = ((some.T @ rows.T).sort(dim=1).values for rows in (a, b))
        total += float(ordered_a.sub_(ordered_b).abs_().sum(dim=1, dtype=torch.float64).sum())
    return total / (len(a) * directions.shape[1])


# --- the pyramid -----------------------------------------------------------


def laplacian_level(
    images: Float[Tensor, "n c h w"], level: int
) -> Float[Tensor, "n c level_h level_w"]:
    """One level: halved `level` times, less what its own half can tell unless it is the last."""
    num_levels = len(level_sizes(images.shape[2], images.shape[3]))
    for _ in range(level):
        images = halved(images)
    if level == num_levels - 1:
        return images
    return images - doubled(halved(images), images.shape[2], images.shape[3])


def halved(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c half_h half_w"]:
    """Smoothed by the binomial filter, mirrored at the border; every other pixel."""
    return _smoothed(images)[:, :, ::2, ::2]


def doubled(
    images: Float[Tensor, "n c half_h half_w"], height: int, width: int
) -> Float[Tensor, "n c h w"]:
    """Pixels set apart on zeros, smoothed with four times the filter."""
    apart = images.new_zeros(*images.shape[:2], height, width)
    apart[:, :, ::2, ::2] = images
    return 4.0 * _smoothed(apart)


def _smoothed(images: Tensor) -> Tensor:
    num, channels, height, width = images.shape
    line = images.new_tensor(BINOMIAL)
    padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
    flat = padded.reshape(num * channels, 1, height + 4, width + 4)
    flat = F.conv2d(F.conv2d(flat, line.view(1, 1, 5, 1)), line.view(1, 1, 1, 5))
    return flat.view(num, channels, height, width)


class Swd(Metric):
    """See `sliced_wasserstein`."""

    figures = ("swd-avg",)
    higher_is_better = False
    reads = "images"
    num_max = NUM_MAX
    equal_numbers = True
    num_usual = NUM_MAX
    num_published = NUM_MAX
    side_min = SMALLEST_SIDE
    under_floor = NEARER

    def compare(self, fake: Rows, real: Rows) -> dict[str, Figure]:
        values = sliced_wasserstein(fake.rows, real.rows, fake.side.seed)
        return {f"swd-{level}": Figure(*value) for level, value in values.items()}
