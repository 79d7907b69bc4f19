"""The relativistic pairing loss (Jolicoeur-Martineau 2018; Huang et al. 2024): own terms."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from limner.core.config import Config
from limner.objectives import Memory, Pass, Term


class RelativisticD(Config, Term, frozen=True):
    """E softplus(D(fake) - D(real)), pair by pair."""

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return F.softplus(batch.fake_logits - batch.real_logits).mean()


class RelativisticG(Config, Term, frozen=True):
    """E softplus(D(real) - D(fake)); it draws reals too, so a step shows two batches."""

    reads: ClassVar[tuple[str, ...]] = ("real", "fake")

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        return F.softplus(batch.real_logits - batch.fake_logits).mean()
