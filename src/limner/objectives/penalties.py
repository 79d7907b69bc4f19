"""Penalties on the discriminator: on its gradients with respect to images, and on its scale."""

from typing import ClassVar

import torch
from torch import Tensor

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.ranges import Positive
from limner.core.schedules import Schedule, value_at
from limner.objectives.base import Memory, Pass, Term


def _image_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """d logits[n] / d images[n] as rows [N, C*H*W], itself differentiable."""
    if logits.ndim != 1:
        raise ConfigError(
            f"updates: a gradient penalty needs one logit an image, and got {list(logits.shape)}; "
            "leave it out, or give a discriminator that answers with one"
        )
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.flatten(1)


class GradientPenalty(Config, Term, frozen=True):
    """weight * E (|dD/dx| - target)^2 / target^2 on mixes x of reals and fakes.

    Gulrajani et al. 2017, eq. 3; the division by target^2 is that of Karras et al. 2018 (1 at the
    usual target of 1; R1 has the target 0). The mixed image is judged under the real image's label.
    Reals and fakes are paired by row, so a microbatch must hold as many of one as of the other.
    """

    weight: float | Schedule = 10.0
    target: Positive = 1.0

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        real, fake = batch.real.detach(), batch.fake.detach()
        if real.shape != fake.shape:
            raise ConfigError(
                f"GradientPenalty pairs reals {tuple(real.shape)} with fakes {tuple(fake.shape)}; "
                "leave num_latents of the discriminator's update unset"
            )
        mix = batch.noise.uniform("mix", (len(real), 1, 1, 1)).to(real.dtype)
        images = torch.lerp(real, fake, mix).requires_grad_(True)
        gradient = _image_gradient(batch.critic(images, batch.real_labels).logits, images)
        # vector_norm has the subgradient 0 at 0, so no epsilon is needed under its root.
        norm = torch.linalg.vector_norm(gradient, dim=1)
        weight = value_at(self.weight, batch.nimg)
        return (weight / self.target**2) * (norm - self.target).square().mean()


class R1(Config, Term, frozen=True):
    """gamma/2 * E |dD/dx|^2 at real images (Mescheder et al. 2018, eq. 9)."""

    reads: ClassVar[tuple[str, ...]] = ("real",)
    real_grad: ClassVar[bool] = True
    gamma: float | Schedule = 10.0

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        gradient = _image_gradient(batch.real_logits, batch.real)
        return 0.5 * value_at(self.gamma, batch.nimg) * gradient.square().sum(1).mean()


class R2(Config, Term, frozen=True):
    """gamma/2 * E |dD/dx|^2 at generated images (Mescheder et al. 2018, eq. 10)."""

    reads: ClassVar[tuple[str, ...]] = ("fake",)
    fake_grad: ClassVar[bool] = True
    gamma: float | Schedule = 10.0

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        gradient = _image_gradient(batch.fake_logits, batch.fake)
        return 0.5 * value_at(self.gamma, batch.nimg) * gradient.square().sum(1).mean()


class Drift(Config, Term, frozen=True):
    """weight * E D(real)^2: keeps a Wasserstein critic near zero (Karras et al. 2018, app. A.1)."""

    reads: ClassVar[tuple[str, ...]] = ("real",)
    weight: float | Schedule = 1e-3

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return value_at(self.weight, batch.nimg) * batch.real_logits.square().mean()
