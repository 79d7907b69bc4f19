"""The wavelets of the ADA pipe: taps, and filters that change single frequency bands."""

import functools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from limner.engine.augment.gates import Gates
from limner.engine.augment.transforms import Multipliers, Strengths

# Scaling filters of Daubechies' least asymmetric wavelets (symlets) of 2 and 6 vanishing moments,
# in the digits of stylegan2-ada-pytorch, training/augment.py.
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
NUM_BANDS = 4
MARGIN = 21  # pixels beyond an edge that the filters see
POWERS = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # of the bands in pictures (1/f^2)


@functools.cache
def filter_bank() -> Float[Tensor, "bands taps"]:
    """Filters of NUM_BANDS bands from low to high, an octave each, that add up to the identity."""
    low = torch.tensor(SYM2, dtype=torch.float64)
    high = low * torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    low, high = (_convolved(taps[None], taps.flip(0))[0] / 2 for taps in (low, high))
    bank = torch.eye(NUM_BANDS, 1, dtype=torch.float64)
    for band in range(1, NUM_BANDS):
        spread = torch.zeros(NUM_BANDS, 2 * bank.shape[1] - 1, dtype=torch.float64)
        spread[:, ::2] = bank
        bank = _convolved(spread, low)
        first = (bank.shape[1] - len(high)) // 2
        bank[band, first : first + len(high)] += high
    return bank


def _convolved(rows: Tensor, taps: Tensor) -> Tensor:
    return F.conv1d(rows[:, None], taps.flip(0)[None, None], padding=len(taps) - 1)[:, 0]


def band_gains(gates: Gates, of: Multipliers, to: Strengths) -> Float[Tensor, "n bands"]:
    """What each image's bands are multiplied by: one factor after the other, each weighed against
    all bands so that pictures keep their power on average."""
    factors = []
    for band, strength in enumerate(to.bands):
        value = torch.exp2(gates.normal(f"imgfilter {band}") * to.imgfilter)
        chance = of.imgfilter * gates.p * strength
        factors.append(gates.passed(f"imgfilter {band}", chance, value, 1.0))
    gains = torch.stack(factors, 1)
    powers = 1.0 + torch.tensor(POWERS, dtype=gains.dtype, device=gains.device) * (
        gains.square() - 1.0
    )
    return gains / powers.prod(1, keepdim=True).sqrt()


def filtered(
    images: Float[Tensor, "n c h w"], gains: Float[Tensor, "n bands"]
) -> Float[Tensor, "n c h w"]:
    """Images larger than MARGIN, their bands multiplied by the gains."""
    n, c, h, w = images.shape
    taps = (gains @ filter_bank().to(gains)).repeat_interleave(c, 0)[:, None, None]
    x = F.pad(images, [MARGIN] * 4, mode="reflect").reshape(1, n * c, h + 2 * MARGIN, -1)
    x = F.conv2d(x, taps, groups=n * c)
    x = F.conv2d(x, taps.transpose(2, 3), groups=n * c)
    return x.view(n, c, h, w)
