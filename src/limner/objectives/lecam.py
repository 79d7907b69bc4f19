"""LeCam regularization, for few pictures."""

import torch
from torch import Tensor

from limner.core import distributed
from limner.core.config import Config
from limner.core.ranges import NonNegative, NonNegativeInt, Share
from limner.objectives.base import Memory, Pass, Term


class LeCam(Config, Term, frozen=True):
    """weight * (E relu(D(real) - a_fake)^2 + E relu(a_real - D(fake))^2) (Tseng et al. 2021).

    The anchors a_real and a_fake are moving averages of the mean logits over all processes, moved
    before they are used (google/lecam-gan). Until `from_nimg` they are the means themselves and the
    loss is zero.

    Attributes:
        weight: 0.3 for BigGAN on CIFAR; 3e-7 for StyleGAN2-ADA, there with `debias`.
        decay: of the anchors, a call.
        from_nimg: when it begins.
        debias: start the averages at zero and divide them by 1 - decay^calls, as Adam does.
    """

    weight: NonNegative = 0.3
    decay: Share = 0.9
    from_nimg: NonNegativeInt = 0
    debias: bool = False

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        begun = batch.nimg >= self.from_nimg
        means = [logits.detach().mean() for logits in (batch.real_logits, batch.fake_logits)]
        real, fake = self._anchors(distributed.average(torch.stack(means)), begun, memory)
        over = torch.relu(batch.real_logits - fake).square().mean()
        under = torch.relu(real - batch.fake_logits).square().mean()
        return (self.weight if begun else 0.0) * (over + under)

    def _anchors(self, means: Tensor, begun: bool, memory: Memory) -> Tensor:
        decay = self.decay if begun else 0.0
        before = memory.get("means", torch.zeros_like(means) if self.debias else means)
        memory["means"] = torch.lerp(means, before, decay)
        if not self.debias:
            return memory["means"]
        share = memory.get("share", torch.zeros_like(means[0]))
        memory["share"] = 1.0 - decay * (1.0 - share)
        return memory["means"] / memory["share"]
