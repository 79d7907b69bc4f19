"""The relativistic pairing loss: each real image against its generated partner."""

import torch.nn.functional as F
from torch import Tensor

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.objectives.base import Memory, Pass, Term


def _difference(batch: Pass) -> Tensor:
    """D(real) - D(fake) [N], row by row."""
    real, fake = batch.real_logits, batch.fake_logits
    if real.shape != fake.shape or real.ndim != 1:
        raise ConfigError(
            f"updates: a relativistic loss pairs rows, one logit an image, and got real logits "
            f"{list(real.shape)} and fake logits {list(fake.shape)}; leave num_latents and "
            "latent_share out, and give a discriminator with one logit an image"
        )
    return real - fake


class RelativisticD(Config, Term, frozen=True):
    """E softplus(-(D(real) - D(fake))) (Jolicoeur-Martineau 2018; Huang et al. 2024, R3GAN, eq. 2).

    Rows are paired, so in a run with classes the fakes have the labels of the real batch.
    """

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return F.softplus(-_difference(batch)).mean()


class RelativisticG(Config, Term, frozen=True):
    """E softplus(D(real) - D(fake)): the generator's side."""

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return F.softplus(_difference(batch)).mean()
