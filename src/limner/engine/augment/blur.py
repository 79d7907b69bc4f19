"""Blur that fades as training goes on."""

import torch
from jaxtyping import Float
from torch import Tensor

from limner.core.config import Config
from limner.core.ranges import NonNegative
from limner.core.schedules import Schedule, value_at
from limner.engine.augment.base import Augment
from limner.layers import upfirdn
from limner.objectives.base import Memory, Noise

Images = Float[Tensor, "n c h w"]


class Blur(Config, Augment, frozen=True):
    """All images blurred by 2^-(k / sigma)^2, k pixels from -3 sigma to 3 sigma; zeros outside.

    With a sigma that falls to 0 a discriminator does not look at details first (Karras et al. 2021,
    StyleGAN3, appendix G, for the networks that turn).

    Attributes:
        sigma: pixels, a number or a schedule; below 1/3 nothing is blurred.
    """

    sigma: NonNegative | Schedule

    def __call__(self, images: Images, noise: Noise, nimg: int, memory: Memory) -> Images:
        sigma = value_at(self.sigma, nimg)
        reach = int(sigma * 3)
        if reach < 1:
            return images
        places = torch.arange(-reach, reach + 1, dtype=torch.float32, device=images.device)
        taps = torch.exp2(-(places / sigma).square())
        row = (taps / taps.sum())[None]
        wide, high = (reach, reach, 0, 0), (0, 0, reach, reach)
        return upfirdn(upfirdn(images, row, padding=wide), row.t(), padding=high)
