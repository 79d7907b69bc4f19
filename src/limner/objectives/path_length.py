"""Path length regularization of generators with styles."""

from typing import ClassVar

import torch
from torch import Tensor

from limner.core.config import Config
from limner.core.ranges import NonNegative, Share
from limner.layers.gathering import gathered
from limner.objectives.base import Memory, Pass, Term


class PathLength(Config, Term, frozen=True):
    """weight * E (l - m)^2, l = |J^T y| the length of a step in styles (Karras et al. 2020, eq. 4).

    J^T y = d sum(image * y) / d styles with y normal / sqrt(H W); its square is summed over a style
    and averaged over the layers. m is the running mean of l, m + decay (E l - m), which starts at 0
    and through which the gradient passes (NVlabs/stylegan2-ada-pytorch, loss.py). Here the mean is
    over the images of all processes; the original keeps one a process.
    """

    reads: ClassVar[tuple[str, ...]] = ("fake", "styles")
    weight: NonNegative = 2.0
    decay: Share = 0.01

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        images, styles = batch.fake, batch.styles
        noise = batch.noise.normal("path length", tuple(images.shape)).to(images)
        product = (images * noise).sum() / (images.shape[2] * images.shape[3]) ** 0.5
        (gradient,) = torch.autograd.grad(product, styles, create_graph=True)
        lengths = gradient.square().sum(2).mean(1).sqrt()
        before = memory.get("mean", torch.zeros_like(lengths[0].detach()))
        mean = torch.lerp(before, gathered(lengths.mean()[None]).mean(), self.decay)
        memory["mean"] = mean.detach()
        return self.weight * (lengths - mean).square().mean()
