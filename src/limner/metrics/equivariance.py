"""EQ-T and EQ-R (Karras et al. 2021, StyleGAN3, appendix E): in dB, how well the image moves or
turns as a whole when the input of the synthesis does.

The image operators are those of NVlabs/stylegan3, metrics/equivariance.py: windowed sincs, so that
the score is of the network and not of the comparison.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from limner.core.errors import LimnerError
from limner.core.streams import stream
from limner.layers import upfirdn
from limner.metrics.base import Figure, Metric, Rows, Side

if TYPE_CHECKING:
    from limner.metrics.reference import Reference
    from limner.metrics.streams import ImageStream

LARGEST_SHIFT = 0.125  # of the image's side
WINDOW, LARGEST_WINDOW, ALIASES = 3, 6, 64  # samples: of Lanczos, room for it turned, of the sinc
IMAGES_PER_BATCH = 4
UP = 4  # times as many samples while an image is turned
Kind = Literal["eq-t", "eq-t-frac", "eq-r"]
KINDS: tuple[Kind, ...] = ("eq-t", "eq-t-frac", "eq-r")
Images = Float[Tensor, "n c h w"]
Matrix = Float[Tensor, "3 3"]
Compared = tuple[Tensor, Tensor, Tensor]  # expected, got, where both are known


def translation(x: float, y: float) -> Matrix:
    """By shares of the image's width and height."""
    return torch.tensor([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def rotation(angle: float) -> Matrix:
    """In radians, from the x axis to the y axis."""
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])


@torch.no_grad()
def equivariance(
    synthesize: Callable[[Matrix], Images], kind: Kind, num: int, seed: int = 0
) -> float:
    """PSNR in dB over `num` batches; each is made twice, once with its input transformed.

    Args:
        synthesize: an inverse transform of the input [3, 3] -> images, nominally in [-1, 1]; the
            same images whenever it is asked between two identities. The identity comes first.
        kind: "eq-t" moves by whole pixels, "eq-t-frac" by any share, "eq-r" turns.
    """
    rows = [errors_of(synthesize, drawn, (kind,)) for drawn in _draws(num, seed)]
    return peak_ratio(torch.stack(rows))


def errors_of(
    synthesize: Callable[[Matrix], Images],
    drawn: tuple[float, float, float],
    kinds: Sequence[Kind] = KINDS,
) -> Float[Tensor, " figures"]:
    """Of one batch, for each kind the sum of squared differences and the number of values."""
    reference = synthesize(torch.eye(3))
    found = []
    for kind in kinds:
        expected, got, mask = COMPARE[kind](synthesize, reference, *drawn)
        error = (expected - got).square() * mask
        found += [error.sum(dtype=torch.float64), mask.expand_as(error).sum(dtype=torch.float64)]
    return torch.stack(found).cpu()


def peak_ratio(rows: Float[Tensor, "n 2"]) -> float:
    """In dB, of images of [-1, 1], from sums of squares and numbers of values."""
    squares, weights = rows.double().sum(0).tolist()
    return 20 * math.log10(2) - 10 * math.log10(squares / weights) if squares else math.inf


def _draws(num: int, seed: int) -> Iterator[tuple[float, float, float]]:
    """Two shifts in shares of the side, and an angle."""
    draws = stream("metrics", "equivariance", seed)
    for _ in range(num):
        a, b, angle = (torch.rand(3, generator=draws, dtype=torch.float64) * 2 - 1).tolist()
        yield a * LARGEST_SHIFT, b * LARGEST_SHIFT, angle * math.pi


def _whole(
    synthesize: Callable[[Matrix], Images], reference: Images, a: float, b: float, angle: float
) -> Compared:
    height, width = reference.shape[2:]
    x, y = round(a * width), round(b * height)
    expected, mask = shifted_by_pixels(reference, x, y)
    return expected, synthesize(translation(-x / width, -y / height)), mask


def _fractional(
    synthesize: Callable[[Matrix], Images], reference: Images, a: float, b: float, angle: float
) -> Compared:
    expected, mask = shifted(reference, a, b)
    return expected, synthesize(translation(-a, -b)), mask


def _turned(
    synthesize: Callable[[Matrix], Images], reference: Images, a: float, b: float, angle: float
) -> Compared:
    got = synthesize(rotation(-angle))
    expected, mask = rotated(reference, angle)
    pseudo, other = pseudo_rotated(got, angle)
    return expected, pseudo, mask * other


COMPARE = {"eq-t": _whole, "eq-t-frac": _fractional, "eq-r": _turned}


class Equivariance(Metric):
    """EQ-T, by whole pixels and by any share of them, and EQ-R of a generator whose input can be
    moved. Images come in batches of 4, each of one shift and one angle, as in the original."""

    figures = KINDS
    higher_is_better = True
    reads = "generator"
    alone = True
    num_published = 50_000
    side_min = 16

    def begin(self, side: Side) -> Rows:
        return Rows(replace(side, num=-(-side.num // IMAGES_PER_BATCH)))

    def check_generator(self, images: "ImageStream", reference: "Reference") -> None:
        if images.moved is None:
            raise LimnerError(
                "metric 'eq' needs a generator whose input can be moved and turned: a StyleGAN3"
            )

    def of_generator(self, images: "ImageStream", reference: "Reference", num: int) -> Tensor:
        assert images.moved is not None
        draws = stream("metrics", "equivariance", "latents", reference.seed)
        rows, moved, num_batches = [], images.moved, -(-num // IMAGES_PER_BATCH)
        for number, drawn in enumerate(_draws(num_batches, reference.seed)):
            numbers = torch.arange(
                number * IMAGES_PER_BATCH, min((number + 1) * IMAGES_PER_BATCH, num)
            )
            z = torch.randn(len(numbers), images.z_dim, generator=draws)
            y = numbers % images.num_classes if images.num_classes else None
            rows.append(errors_of(lambda matrix, b=(z, y, numbers): moved(*b, matrix), drawn))
        return torch.stack(rows)

    def compare(self, fake: Rows, real: None) -> dict[str, Figure]:
        pairs = fake.rows.unflatten(1, (-1, 2)).unbind(1)
        return {
            kind: Figure(peak_ratio(rows)) for kind, rows in zip(self.figures, pairs, strict=True)
        }

    def known_floors(self, reference: Any) -> dict[str, float]:
        return {}  # pictures have no input that could be moved


# --- operators --------------------------------------------------------------------


def shifted_by_pixels(x: Images, right: int, down: int) -> tuple[Tensor, Tensor]:
    """Images moved, zeros entering, and a mask of what was there before."""
    height, width = x.shape[2:]
    pads = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
    rows, columns = slice(max(-down, 0), None), slice(max(-right, 0), None)

    def moved(of: Tensor) -> Tensor:
        return F.pad(of, pads)[:, :, rows, columns][:, :, :height, :width]

    return moved(x), moved(torch.ones_like(x[:1, :1]))


def shifted(x: Images, right: float, down: float) -> tuple[Tensor, Tensor]:
    """The same by shares of the sides, between pixels by a windowed sinc whose reach the mask
    leaves out."""
    height, width = x.shape[2:]
    for share, side, axis in ((right, width, 3), (down, height, 2)):
        move = share * side
        whole = math.floor(move)
        places = torch.arange(2 * WINDOW, dtype=torch.float64) - (WINDOW - 1) - (move - whole)
        taps = torch.sinc(places) * torch.sinc(places / WINDOW)
        row = (taps / taps.sum()).to(x)[None]
        room = (WINDOW, WINDOW - 1)
        if axis == 3:
            x = upfirdn(x, row, padding=(*room, 0, 0))
            x = shifted_by_pixels(x, whole, 0)[0]
        else:
            x = upfirdn(x, row.t(), padding=(0, 0, *room))
            x = shifted_by_pixels(x, 0, whole)[0]
    mask = torch.zeros_like(x[:1, :1])
    left, top = math.floor(right * width), math.floor(down * height)
    mask[
        :,
        :,
        max(top + WINDOW, 0) : min(height + top - WINDOW + 1, height),
        max(left + WINDOW, 0) : min(width + left - WINDOW + 1, width),
    ] = 1
    return x, mask


def turning_filter(matrix: Float[Tensor, "2 2"], up: int) -> Float[Tensor, "side side"]:
    """What lets pass what both an image and the image under a matrix can hold, by Lanczos windows
    in both directions; for `up` times as many samples."""
    reach = ALIASES * up - 1
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64) / up
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)  # (x, y)
    other = grid @ matrix.to(grid).t()
    pass_both = _convolved(_sincs(grid), _sincs(other))
    window = _convolved(_windows(grid), _windows(other))
    cut = (ALIASES - LARGEST_WINDOW) * up
    kernel = (pass_both * window)[cut:-cut, cut:-cut]
    kernel = F.pad(kernel, (0, 1, 0, 1))
    side = len(kernel) // up
    phases = kernel.view(side, up, side, up)
    phases = phases / phases.sum((0, 2), keepdim=True) / up**2
    return phases.reshape(side * up, side * up)[:-1, :-1].float()


def _sincs(at: Tensor) -> Tensor:
    return torch.sinc(at[..., 0]) * torch.sinc(at[..., 1])


def _windows(at: Tensor) -> Tensor:
    inside = (at.abs() < WINDOW).all(-1)
    return torch.where(inside, torch.sinc(at / WINDOW).prod(-1), torch.zeros_like(at[..., 0]))


def _convolved(a: Tensor, b: Tensor) -> Tensor:
    """Circularly, both with their origin in the middle."""
    turned = [torch.fft.fft2(torch.fft.ifftshift(each)) for each in (a, b)]
    return torch.fft.fftshift(torch.fft.ifft2(turned[0] * turned[1]).real)


def rotated(x: Images, angle: float) -> tuple[Tensor, Tensor]:
    """Images turned, with a mask of where that is known."""
    height, width = x.shape[2:]
    matrix = rotation(angle)
    kernel = turning_filter(matrix[:2, :2], UP).to(x)
    pad = len(kernel) // 2
    first, second = (len(kernel) + UP - 1) // 2 + pad, (len(kernel) - UP) // 2 + pad
    large = upfirdn(x, kernel, up=UP, padding=(first, second, first, second), gain=UP**2)
    theta = torch.linalg.inv(matrix)[:2]
    theta[:, 2] += torch.tensor([1 / (UP * width), 1 / (UP * height)])
    theta[0] *= width / (width + 2 * pad / UP)
    theta[1] *= height / (height + 2 * pad / UP)
    grid = F.affine_grid(theta[None].to(x), [1, 1, height, width], align_corners=False)
    grid = grid.expand(len(x), -1, -1, -1)
    y = F.grid_sample(large, grid, "bilinear", "zeros", align_corners=False)
    known, edge = torch.zeros_like(large[:1, :1]), 2 * pad + 1
    known[:, :, edge:-edge, edge:-edge] = 1
    mask = F.grid_sample(known, grid[:1], "nearest", "zeros", align_corners=False)
    return y, mask


def pseudo_rotated(x: Images, angle: float) -> tuple[Tensor, Tensor]:
    """What a turned image loses, taken from one that is turned already; and a mask without edge."""
    kernel = turning_filter(rotation(-angle)[:2, :2], 1).to(x)
    pad = len(kernel) // 2
    y = upfirdn(x, kernel, padding=(pad, pad, pad, pad))
    mask = torch.zeros_like(x[:1, :1])
    mask[:, :, pad:-pad, pad:-pad] = 1
    return y, mask
