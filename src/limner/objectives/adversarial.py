"""Adversarial losses, a class for each player. Every one is a mean over the microbatch.

The discriminator's logit is written D(x): no sigmoid is inside it.
"""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from limner.core.config import Config
from limner.objectives.base import Memory, Pass, Term


class NonSaturatingD(Config, Term, frozen=True):
    """E softplus(-D(real)) + E softplus(D(fake)): binary cross entropy (Goodfellow 2014, eq. 1)."""

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return F.softplus(-batch.real_logits).mean() + F.softplus(batch.fake_logits).mean()


class NonSaturatingG(Config, Term, frozen=True):
    """E softplus(-D(fake)): maximize log D(G(z)) (Goodfellow 2014, section 3)."""

    reads: ClassVar[tuple[str, ...]] = ("fake",)

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return F.softplus(-batch.fake_logits).mean()


class MinimaxD(Config, Term, frozen=True):
    """The discriminator of the original game: the same cross entropy as NonSaturatingD."""

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return F.softplus(-batch.real_logits).mean() + F.softplus(batch.fake_logits).mean()


class MinimaxG(Config, Term, frozen=True):
    """-E softplus(D(fake)): minimize log(1 - D(G(z))), the value of the game (Goodfellow 2014).

    Its gradient vanishes where the discriminator is sure, so it is seldom what one wants.
    """

    reads: ClassVar[tuple[str, ...]] = ("fake",)

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return -F.softplus(batch.fake_logits).mean()


class HingeD(Config, Term, frozen=True):
    """E max(0, 1 - D(real)) + E max(0, 1 + D(fake)) (Lim & Ye 2017; Miyato et al. 2018)."""

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return F.relu(1.0 - batch.real_logits).mean() + F.relu(1.0 + batch.fake_logits).mean()


class HingeG(Config, Term, frozen=True):
    """-E D(fake), the generator's side of the hinge loss."""

    reads: ClassVar[tuple[str, ...]] = ("fake",)

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return -batch.fake_logits.mean()


class WassersteinD(Config, Term, frozen=True):
    """E D(fake) - E D(real) (Arjovsky et al. 2017); needs a Lipschitz constraint beside it."""

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return batch.fake_logits.mean() - batch.real_logits.mean()


class WassersteinG(Config, Term, frozen=True):
    """-E D(fake) (Arjovsky et al. 2017)."""

    reads: ClassVar[tuple[str, ...]] = ("fake",)

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return -batch.fake_logits.mean()


class LeastSquaresD(Config, Term, frozen=True):
    """E (D(real) - b)^2 + E (D(fake) - a)^2 (Mao et al. 2017, eq. 2, without its factor 1/2)."""

    real_target: float = 1.0
    fake_target: float = 0.0

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        real = (batch.real_logits - self.real_target).square().mean()
        fake = (batch.fake_logits - self.fake_target).square().mean()
        return real + fake


class LeastSquaresG(Config, Term, frozen=True):
    """E (D(fake) - c)^2 (Mao et al. 2017, eq. 2, without its factor 1/2)."""

    reads: ClassVar[tuple[str, ...]] = ("fake",)
    target: float = 1.0

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return (batch.fake_logits - self.target).square().mean()
