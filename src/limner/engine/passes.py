"""One micro-batch as one player sees it: every forward runs on first use, once, for all terms."""

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limner.core.protocols import Scores
from limner.engine.noise import Draw
from limner.engine.precision import Forwards
from limner.engine.update import Update

# For the type checker a cached value is a read-only property, which is what terms may expect.
lazy = property if TYPE_CHECKING else cached_property


class Pass:
    """What terms may look at. While the discriminator trains, the generator runs without gradient
    but in training mode, so its running statistics move as in the reference systems.

    Attributes:
        nimg: the clock, with the reals of this pass counted.
        noise: this pass's `Draw`.
        real, fake: images [N, C, H, W] in [-1, 1]; reals exist only if the update reads them.
        real_labels, fake_labels: int64 [N] or float rows [N, classes]; None for an unconditional
            model.
        latents: z [N, z_dim].
        real_scores, fake_scores, real_logits, fake_logits: the discriminator's answers.
        critic: the discriminator applied to any (images, labels).
    """

    def __init__(
        self,
        update: Update,
        forwards: Forwards,
        noise: Draw,
        nimg: int,
        num_fakes: int,
        reals: tuple[Tensor, Tensor | None] | None,
        num_classes: int,
    ):
        self.nimg, self.noise = nimg, noise
        self._update, self._num_fakes, self._num_classes = update, num_fakes, num_classes
        self._forwards, self._reals = forwards, reals

    @lazy
    def real(self) -> Tensor:
        assert self._reals is not None, "a term reads reals that its `reads` does not declare"
        images = self._reals[0]
        wants_grad = any(term.real_grad for term in self._update.terms)
        return images.detach().requires_grad_() if wants_grad else images

    @property
    def real_labels(self) -> Tensor | None:
        assert self._reals is not None, "a term reads reals that its `reads` does not declare"
        return self._reals[1]

    @lazy
    def latents(self) -> Tensor:
        return self.noise.latents(self._num_fakes, self._forwards.z_dim)

    @lazy
    def fake_labels(self) -> Tensor | None:
        if not self._num_classes:
            return None
        if self._update.labels == "real":
            return self.real_labels
        return self.noise.labels(self._num_fakes, self._num_classes, self._update.labels)

    @lazy
    def fake(self) -> Tensor:
        if self._update.player == "g":
            return self._forwards.generate(self.latents, self.fake_labels)
        with torch.no_grad():
            images = self._forwards.generate(self.latents, self.fake_labels)
        wants_grad = any(term.fake_grad for term in self._update.terms)
        return images.requires_grad_() if wants_grad else images

    def critic(self, images: Tensor, labels: Tensor | None) -> Scores:
        return self._forwards.judge(images, labels)

    @lazy
    def real_scores(self) -> Scores:
        if self._update.reads_both:
            return self._pair[1]
        return self.critic(self.real, self.real_labels)

    @lazy
    def fake_scores(self) -> Scores:
        if self._update.reads_both:
            return self._pair[0]
        return self.critic(self.fake, self.fake_labels)

    @property
    def real_logits(self) -> Tensor:
        return self.real_scores.logits

    @property
    def fake_logits(self) -> Tensor:
        return self.fake_scores.logits

    @lazy
    def _pair(self) -> tuple[Scores, Scores]:
        """Scores of (fake, real), in the order that the update names."""
        order = self._update.forwards
        if order == "joint":
            return self._joint()
        if order == "fake_then_real":
            fake = self.critic(self.fake, self.fake_labels)
            return fake, self.critic(self.real, self.real_labels)
        real = self.critic(self.real, self.real_labels)
        return self.critic(self.fake, self.fake_labels), real

    def _joint(self) -> tuple[Scores, Scores]:
        labels = None
        if self.fake_labels is not None and self.real_labels is not None:
            labels = torch.cat([self.fake_labels, self.real_labels])
        scores = self.critic(torch.cat([self.fake, self.real]), labels)
        sizes = [len(self.fake), len(self.real)]
        logits = scores.logits.split(sizes)
        classes = (None, None)
        if scores.class_logits is not None:
            classes = scores.class_logits.split(sizes)
        return Scores(logits[0], classes[0]), Scores(logits[1], classes[1])
