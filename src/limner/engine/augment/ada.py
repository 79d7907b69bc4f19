"""The augmentation pipe of StyleGAN2-ADA, which R3GAN has too."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.ranges import NonNegative
from limner.core.schedules import Schedule, value_at
from limner.engine.augment.base import Augment
from limner.engine.augment.color import recolored
from limner.engine.augment.gates import Gates
from limner.engine.augment.geometry import inverse_maps, warped
from limner.engine.augment.transforms import SETS, Multipliers, Strengths
from limner.engine.augment.wavelets import MARGIN, band_gains, filtered
from limner.objectives.base import Memory, Noise

Images = Float[Tensor, "n c h w"]
# The keys of SETS.
Single = Literal["blit", "geom", "color", "filter", "noise", "cutout"]
Whole = Literal["bg", "bgc", "bgcf", "bgcfn", "bgcfnc", "r3gan"]


class AdaPipe(Config, Augment, frozen=True, kw_only=True):
    """Each of up to 15 transforms applied to each image with a chance of its own (Karras et al.
    2020, "Training GANs with limited data"; NVlabs/stylegan2-ada-pytorch, training/augment.py).

    Every image has its own numbers, also the same over any number of processes. Only how far
    images are mirrored beyond their edges is agreed on by the images of a process: pixels whose
    filters reach further then differ, by less than 1e-4 (measured). See `warped`.

    Attributes:
        p: the chance of a transform whose multiplier is 1, as a number or a schedule (R3GAN: a
            cosine from 0 to 0.3); more than 1 acts as 1. `AdaptP` starts from a number and moves
            it.
        transforms: a set of them by name, blit, geom, color, filter, noise, cutout, and from the
            first letters bg to bgcfnc; "r3gan"; or multipliers of your own.
        strengths: how far they go.
    """

    p: NonNegative | Schedule = 0.0
    transforms: Single | Whole | Multipliers = "bgc"
    strengths: Strengths = Strengths()

    def __call__(self, images: Images, noise: Noise, nimg: int, memory: Memory) -> Images:
        of, to = self.multipliers, self.strengths
        p = float(memory["p"]) if "p" in memory else value_at(self.p, nimg)
        _require_fitting(images, of)
        if p == 0.0:
            return images
        gates = Gates(noise, len(images), p)
        maps = inverse_maps(gates, of, to, *images.shape[2:])
        if maps is not None:
            images = warped(images, maps)
        images = recolored(images, gates, of, to)
        if of.imgfilter:
            images = filtered(images, band_gains(gates, of, to))
        if of.noise:
            deviation = gates.normal("noise").abs() * to.noise
            deviation = gates.passed("noise", of.noise * p, deviation, 0.0)[:, None, None, None]
            images = images + noise.normal("noise image", tuple(images.shape)) * deviation
        if of.cutout:
            images = _cut_out(images, gates, of.cutout, to.cutout)
        return images

    @property
    def multipliers(self) -> Multipliers:
        """Those of the set by its name, or one's own."""
        return (
            self.transforms if isinstance(self.transforms, Multipliers) else SETS[self.transforms]
        )


def _cut_out(images: Images, gates: Gates, multiplier: float, size: float) -> Images:
    center = gates.noise.uniform("cutout center", (gates.num, 2))
    sizes = torch.full_like(center[:, :1], size)
    reach = gates.passed("cutout", multiplier * gates.p, sizes, 0.0) / 2
    columns, rows = (
        ((torch.arange(length).to(center) + 0.5) / length - center[:, i, None]).abs() < reach
        for i, length in enumerate((images.shape[3], images.shape[2]))
    )
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _require_fitting(images: Images, of: Multipliers) -> None:
    channels, side = images.shape[1], min(images.shape[2:])
    colors = (of.brightness, of.contrast, of.lumaflip, of.hue, of.saturation)
    if channels not in (1, 3) and any(colors):
        raise ConfigError(
            f"augments: AdaPipe changes colors of 1 or 3 channels, and the pictures have "
            f"{channels}; give transforms=bg, which leaves colors as they are"
        )
    if of.imgfilter and side <= MARGIN:
        raise ConfigError(
            f"augments: AdaPipe's imgfilter needs pictures larger than {MARGIN} pixels, and these "
            f"have {side}; give transforms=bgc, which is without it, or a larger resolution"
        )
