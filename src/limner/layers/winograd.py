"""3x3 convolutions of many channels by fewer multiplications, on a CPU in single precision.

The minimal algorithm F(2x2, 3x3) of Winograd as Lavin and Gray put it (2016, "Fast Algorithms for
Convolutional Neural Networks", equations 8 to 12): a tile of 2x2 pixels is
A^T [(G g G^T) * (B^T d B)] A, of a kernel g and a piece d of 4x4 pixels, tiles overlapping. That is
16 products a tile and pair of channels where the definition has 36, and as products of matrices
over the channels they run near the processor's peak. Its constants are 0, 1 and 1/2, and sums are
shorter: rounding is no more than the definition's (3e-7 against 1e-6 of the largest value, 256
channels). With few channels or few tiles the transforms cost what the products save.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Of each side at least, where products are made for one batch, and where they are kept.
CHANNELS, KEPT_CHANNELS = 192, 128
FEW_TILES = 64  # of an image, for each thread: with fewer a product of matrices is slow
TILES = 512  # of a strip, for each thread: what belongs to it stays in the cache
G = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])

Product = Callable[[Float[Tensor, "tiles i"], Tensor | None], Float[Tensor, "tiles o"]]


def has_many_channels(weight: Tensor, kept: bool = False) -> bool:
    """Whether it is of a convolution that is faster by this way where images are large enough."""
    least = KEPT_CHANNELS if kept else CHANNELS
    return weight.shape[2:] == (3, 3) and min(weight.shape[:2]) >= least


def suits(x: Tensor, weight: Tensor, kept: bool = False) -> bool:
    """Whether a convolution of stride 1 that keeps the resolution is faster by this way.

    kept: its products are made once and used often, on one image at a time; otherwise they are
    made for one batch, which must be worth it.
    """
    if x.ndim != 4 or x.shape[2] % 2 or x.shape[3] % 2 or not has_many_channels(weight, kept):
        return False
    tiles = x.shape[2] * x.shape[3] // 4
    least, num = (FEW_TILES, tiles) if kept else (2 * max(weight.shape[:2]), len(x) * tiles)
    single = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
    return single and num >= least * torch.get_num_threads()


def convolved(
    x: Float[Tensor, "n i h w"],
    products: Sequence[Product],
    bias: Float[Tensor, " o"] | None,
    num_channels: int,
    together: bool = True,
) -> Float[Tensor, "n o h w"]:
    """A 3x3 convolution with zeros around, in channels_last.

    Args:
        products: see `products_of`.
        num_channels: of the result.
        together: whether small images may share a product of matrices. Not where one image shall
            have the same bits in any batch.
    """
    num, _, height, width = x.shape
    # A^T m A spreads the number in row 1, column 1 over all four pixels: the bias' place.
    biases = [bias if place == 5 else None for place in range(16)]
    result = torch.empty(
        (num, num_channels, height, width), memory_format=torch.channels_last, device=x.device
    )
    out = result.permute(0, 2, 3, 1)
    for where, strip in _strips(x, together):
        into = out[where]
        shape = (-1, into.shape[1] // 2, width // 2, num_channels)
        each = zip(products, _pieces(strip), biases, strict=True)
        made = [product(piece, added).view(shape) for product, piece, added in each]
        _put_tiles(made, into)
    return result


def products_of(weight: Float[Tensor, "o i 3 3"]) -> list[Product]:
    """What the 16 numbers of all pieces are multiplied by: G g G^T for all pairs of channels."""
    spread = torch.kron(G, G).to(weight)
    kernels = weight.permute(0, 2, 3, 1).flatten(1, 2)
    factors = torch.einsum("pq,oqi->poi", spread, kernels).contiguous()
    if not torch.backends.mkldnn.is_available():
        return [partial(_multiplied, factor) for factor in factors]
    # oneDNN's, by a factor in its own order: 1.2 times as fast as torch's usual one
    sort = torch.ops.mkldnn._reorder_linear_weight
    return [partial(_multiplied_by_sorted, sort(factor, TILES)) for factor in factors]


def _multiplied(factor: Tensor, piece: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(piece, factor, bias)


def _multiplied_by_sorted(factor: Tensor, piece: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(piece, factor, bias, "none", [], "")


def weight_gradient(
    gradient: Float[Tensor, "n o h w"], x: Float[Tensor, "n i h w"]
) -> Float[Tensor, "o i 3 3"]:
    """Of such a convolution, by its result's gradient: G^T [sum of (A dy A^T) (B^T d B)^T] G."""
    gradient = gradient.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    total = x.new_zeros((16, gradient.shape[3], x.shape[1]))
    for where, strip in _strips(x, together=True):
        for sum_, piece, tile in zip(total, _pieces(strip), _tiles(gradient[where]), strict=True):
            sum_.addmm_(tile.t(), piece)
    spread = torch.kron(G, G).to(x)
    return torch.einsum("pq,poi->oqi", spread, total).unflatten(1, (3, 3)).permute(0, 3, 1, 2)


def _strips(
    x: Float[Tensor, "n c h w"], together: bool
) -> Iterator[tuple[tuple[slice, slice], Float[Tensor, "m tall wide c"]]]:
    """So many tiles at a time: which images and rows of pixels, and these with a margin of one."""
    num, _, height, width = x.shape
    most = TILES * torch.get_num_threads()
    rows = 2 * max(1, min(height // 2, most // (width // 2)))
    step = max(1, most // (height * width // 4)) if together else 1
    x = x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    for image in range(0, num, step):
        images = slice(image, image + step)
        padded = F.pad(x[images], (0, 0, 1, 1, 1, 1))
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            yield (images, slice(top, bottom)), padded[:, top : bottom + 2]


def _pieces(x: Float[Tensor, "n tall wide c"]) -> list[Float[Tensor, "tiles c"]]:
    """B^T d B, a matrix for each of its 16 places."""
    both = (part for row in _along(x, 1) for part in _along(row, 2))
    return [part.flatten(0, 2) for part in both]


def _along(x: Tensor, axis: int) -> tuple[Tensor, ...]:
    """B^T d along one axis: of pixels 0, 1, 2, 3 of each tile 0 - 2, 1 + 2, 2 - 1, 1 - 3."""
    even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
    num = even.shape[axis] - 1
    (p0, p2), (p1, p3) = ([each.narrow(axis, i, num) for i in (0, 1)] for each in (even, odd))
    return p0 - p2, p1 + p2, p2 - p1, p1 - p3


def _put_tiles(made: Sequence[Float[Tensor, "n tall wide c"]], out: Tensor) -> None:
    """A^T m A into pixels [n, h, w, c]."""
    columns = [_pair(*made[place::4]) for place in range(4)]
    for row in (0, 1):
        left, right = _pair(*(column[row] for column in columns))
        out[:, row::2, 0::2], out[:, row::2, 1::2] = left, right


def _pair(m0: Tensor, m1: Tensor, m2: Tensor, m3: Tensor) -> tuple[Tensor, Tensor]:
    """A^T m: 0 + 1 + 2 and 1 - 2 - 3."""
    return m0 + m1 + m2, m1 - m2 - m3


def _tiles(gradient: Float[Tensor, "n h w c"]) -> list[Float[Tensor, "tiles c"]]:
    """A dy A^T, a matrix for each of its 16 places."""
    both = (part for row in _four(gradient, 1) for part in _four(row, 2))
    return [part.flatten(0, 2) for part in both]


def _four(gradient: Tensor, axis: int) -> tuple[Tensor, ...]:
    even, odd = gradient.unflatten(axis, (-1, 2)).unbind(axis + 1)
    return even, even + odd, even - odd, -odd
