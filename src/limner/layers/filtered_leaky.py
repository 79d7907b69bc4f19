"""Leaky relu between a doubling and a halving, which keeps out what the grid cannot hold."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from limner.layers.activation import LEAKY_GAIN, SLOPE
from limner.layers.fir import upfirdn


def filtered_leaky(
    x: Float[Tensor, "n c h w"],
    bias: Float[Tensor, " c"],
    up_filter: Float[Tensor, "..."] | None,
    down_filter: Float[Tensor, "..."] | None,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    gain: float = LEAKY_GAIN,
    slope: float = SLOPE,
    clamp: float | None = None,
    flip: bool = False,
) -> Float[Tensor, "n c new_h new_w"]:
    """Bias; `upfirdn` by `up` and `padding`, brightness kept; leaky relu, gain and clamp; `upfirdn`
    by `down` (Karras et al. 2021, section 3.2, in the words of NVlabs/stylegan3, filtered_lrelu).

    Filters are those of `upfirdn`; None changes nothing. The gain commutes with the leaky relu and
    so comes first.
    """
    x = x + bias.to(x.dtype)[:, None, None]
    if up_filter is None and up == 1:
        x = F.pad(x, padding) if any(padding) else x
        x = x if gain == 1.0 else x * gain
    else:
        kernel = x.new_ones(1, 1) if up_filter is None else up_filter
        x = upfirdn(x, kernel, up=up, padding=padding, gain=gain * up**2, flip=flip)
    x = x if slope == 1.0 else F.leaky_relu(x, slope)
    x = x if clamp is None else x.clamp(-clamp, clamp)
    if down_filter is None:
        return x[:, :, ::down, ::down]
    return upfirdn(x, down_filter, down=down, flip=flip)
