"""The geometric half of the ADA pipe: one affine map for each image, and images seen through it."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from limner.engine.augment.gates import Gates
from limner.engine.augment.transforms import Multipliers, Strengths
from limner.engine.augment.wavelets import SYM6

Images = Float[Tensor, "n c h w"]
Maps = Float[Tensor, "n 3 3"]
BORDER = len(SYM6) // 4  # pixels of the target beyond its edges that the filters see
EXTRA = len(SYM6) - 2  # places that they take more than they give, at twice the resolution


def inverse_maps(
    gates: Gates, of: Multipliers, to: Strengths, height: int, width: int
) -> Maps | None:
    """From the pixels of the changed images to those of the given ones, the origin at the center;
    None where no change is asked for."""
    steps = [
        *_whole_pixels(gates, of, to, height, width),
        *_any_pixels(gates, of, to, height, width),
    ]
    if not steps:
        return None
    maps = steps[0]
    for step in steps[1:]:
        maps = maps @ step
    return maps


def _whole_pixels(
    gates: Gates, of: Multipliers, to: Strengths, height: int, width: int
) -> list[Maps]:
    """Changes that move pixels onto pixels."""
    p, steps = gates.p, []
    if of.xflip:
        flips = gates.passed("xflip", of.xflip * p, (gates.uniform("xflip") * 2).floor(), 0.0)
        steps.append(scaling(1.0 - 2.0 * flips, torch.ones_like(flips)))
    if of.rotate90:
        value = (gates.uniform("rotate90") * 4).floor()
        turns = gates.passed("rotate90", of.rotate90 * p, value, 0.0)
        steps.append(rotation(turns * (math.pi / 2)))
    if of.xint:
        value = (gates.uniform("xint", 2) * 2 - 1) * to.xint
        x, y = gates.passed("xint", of.xint * p, value, 0.0).unbind(1)
        steps.append(translation(-(x * width).round(), -(y * height).round()))
    return steps


def _any_pixels(
    gates: Gates, of: Multipliers, to: Strengths, height: int, width: int
) -> list[Maps]:
    """Changes that move pixels anywhere."""
    p, steps = gates.p, []
    if of.scale:
        value = torch.exp2(gates.normal("scale") * to.scale)
        s = gates.passed("scale", of.scale * p, value, 1.0)
        steps.append(scaling(1.0 / s, 1.0 / s))
    # Either of the two rotations happens with the chance asked for.
    chance = 1.0 - math.sqrt(min(max(1.0 - of.rotate * p, 0.0), 1.0))
    if of.rotate:
        steps.append(_rotated(gates, "prerot", chance, to.rotate))
    if of.aniso:
        value = torch.exp2(gates.normal("aniso") * to.aniso)
        s = gates.passed("aniso", of.aniso * p, value, 1.0)
        steps.append(scaling(1.0 / s, s))
    if of.rotate:
        steps.append(_rotated(gates, "postrot", chance, to.rotate))
    if of.xfrac:
        value = gates.normal("xfrac", 2) * to.xfrac
        x, y = gates.passed("xfrac", of.xfrac * p, value, 0.0).unbind(1)
        steps.append(translation(-x * width, -y * height))
    return steps


def _rotated(gates: Gates, name: str, chance: float, strength: float) -> Maps:
    value = (gates.uniform(name) * 2 - 1) * (math.pi * strength)
    return rotation(gates.passed(name, chance, value, 0.0))


def scaling(x: Tensor, y: Tensor) -> Maps:
    """Along both axes, by [n] numbers each."""
    return _rows(x, 0.0, 0.0, 0.0, y, 0.0)


def rotation(angle: Tensor) -> Maps:
    """By [n] angles in radians, from x towards y."""
    sin, cos = angle.sin(), angle.cos()
    return _rows(cos, -sin, 0.0, sin, cos, 0.0)


def translation(x: Tensor, y: Tensor) -> Maps:
    """By [n] numbers of pixels each."""
    return _rows(1.0, 0.0, x, 0.0, 1.0, y)


def _rows(*entries: Tensor | float) -> Maps:
    given = next(entry for entry in entries if isinstance(entry, Tensor))
    columns = [*entries, 0.0, 0.0, 1.0]
    full = [e if isinstance(e, Tensor) else torch.full_like(given, e) for e in columns]
    return torch.stack(full, 1).view(-1, 3, 3)


# --- images through maps -------------------------------------------------------


def warped(images: Images, maps: Maps) -> Images:
    """Images seen through maps from their new pixels to their old ones, in pixels, the origin at
    the center. Beyond the edges they are mirrored, as far as the maps of the batch reach and at
    most once; what lies further is 0.

    Sampled bilinearly at twice the resolution, between sym6 filters that are each other's inverse
    (Karras et al. 2020, appendix B): maps that change nothing give the images, up to rounding.
    Pads, filters and resampling of an axis are one matrix, and matrix products are far faster than
    convolutions of few channels.
    """
    height, width = images.shape[2:]
    left, top, right, bottom = margins(maps, height, width)
    columns = _enlarging(width, left, right).to(images)
    rows = _enlarging(height, top, bottom).to(images)
    enlarged = rows.T @ (images @ columns)
    shift = torch.tensor([[1, 0, (left - right) / 2], [0, 1, (top - bottom) / 2], [0, 0, 1]])
    grid = _places(shift.to(maps) @ maps, enlarged.shape[2:], (height, width))
    seen = _Sampled.apply(enlarged, grid)
    return _reducing(height).to(images).T @ (seen @ _reducing(width).to(images))


def margins(maps: Maps, height: int, width: int) -> list[int]:
    """Pixels beyond the left, top, right and bottom edge that any of the maps looks at."""
    x, y = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor([[-x, x, x, -x], [-y, -y, y, y], [1, 1, 1, 1]]).to(maps)
    seen = maps[:, :2] @ corners
    beyond = torch.stack([-seen.amin((0, 2)), seen.amax((0, 2))])
    beyond = beyond + (2 * BORDER - torch.tensor([x, y]).to(maps))
    most = torch.tensor([width - 1, height - 1]).to(maps)
    return torch.minimum(beyond.clamp(min=0), most).ceil().int().flatten().tolist()


def _enlarging(size: int, before: int, after: int) -> Tensor:
    """Mirrors at both ends and doubles the resolution of a row: [size, 2 (size + pads)]."""
    rows = F.pad(torch.eye(size, dtype=torch.float64), (before, after), mode="reflect")
    taps = _taps() * 2
    padding = (len(SYM6) - 1) // 2
    return F.conv_transpose1d(rows[:, None], taps, stride=2, padding=padding)[:, 0]


def _reducing(size: int) -> Tensor:
    """Halves the resolution of a row and what it needs beyond its ends: [2 size + EXTRA, size]."""
    rows = torch.eye(2 * size + EXTRA, dtype=torch.float64)
    return F.conv1d(rows[:, None], _taps(), stride=2)[:, 0]


def _taps() -> Tensor:
    taps = torch.tensor(SYM6, dtype=torch.float64)
    return (taps / taps.sum())[None, None]


def _places(maps: Maps, source: torch.Size, target: tuple[int, int]) -> Tensor:
    """Where in an enlarged image each enlarged pixel of the target looks, from -1 to 1, for
    `grid_sample`: [n, 2 height + EXTRA, 2 width + EXTRA, 2]."""
    # At twice the resolution, whose pixels' centers lie a quarter of a pixel off.
    half = torch.full_like(maps[:1, 0, 0], 0.5)
    doubled = scaling(half * 4, half * 4) @ maps @ scaling(half, half)
    doubled = translation(-half, -half) @ doubled @ translation(half, half)
    ends = 2.0 / torch.tensor([source[1], source[0]]).to(maps)
    doubled = doubled[:, :2] * ends[:, None]
    y, x = (torch.arange(2 * size + EXTRA).to(maps) - (2 * size + EXTRA - 1) / 2 for size in target)
    along_x = x[None, None, :, None] * doubled[:, None, None, :, 0]
    along_y = y[None, :, None, None] * doubled[:, None, None, :, 1] + doubled[:, None, None, :, 2]
    return along_x + along_y


class _Sampled(Function):
    """`grid_sample`, bilinear with zeros outside. It is linear in images, so its derivative is its
    transpose, and so on; torch's own lacks the second one in older versions."""

    @staticmethod
    def forward(ctx, images: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = images.shape
        return torch.ops.aten.grid_sampler_2d(images, places, 0, 0, False)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return _Spread.apply(grads[0], places, ctx.size), None


class _Spread(Function):
    """The transpose of `_Sampled`."""

    @staticmethod
    def forward(ctx, grads: Tensor, places: Tensor, size: torch.Size) -> Tensor:
        ctx.save_for_backward(places)
        unused = grads.new_empty(size)
        return torch.ops.aten.grid_sampler_2d_backward(
            grads, unused, places, 0, 0, False, [True, False]
        )[0]

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return _Sampled.apply(grads[0], places), None, None
