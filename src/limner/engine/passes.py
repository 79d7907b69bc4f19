"""One micro-batch as one player sees it: every forward runs on first use, once, for all terms."""

from collections.abc import Callable
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
        nimg: the clock as the step began.
        noise: this pass's `Draw`.
        real, fake: images [N, C, H, W] in [-1, 1]; reals exist only if the update reads them.
        real_labels, fake_labels: int64 [N] or float rows [N, classes]; None for an unconditional
            model.
        latents: z [N, z_dim].
        styles: [N, layers, w], a row for each layer of a generator that has styles, in the graph of
            `fake`.
        real_scores, fake_scores, real_logits, fake_logits: the discriminator's answers.
        critic: the discriminator applied to any (images, labels); as everywhere here, to what the
            run's augments make of them.
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
        augment: Callable[[Tensor, str], Tensor],
    ):
        self.nimg, self.noise = nimg, noise
        self._augment, self._num_asked = augment, 0
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
    def styles(self) -> Tensor:
        with torch.set_grad_enabled(self._update.player == "g"):
            return self._mixed(self._forwards.styles(self.latents, self.fake_labels, self._moves))

    def _mixed(self, styles: Tensor) -> Tensor:
        num_layers = styles.shape[1]
        cutoff = self.noise.mixing_cutoff(self._update.style_mixing, num_layers)
        if cutoff == num_layers:
            return styles
        z = self.noise.normal("mixed latents", tuple(self.latents.shape))
        others = self._forwards.styles(z, self.fake_labels, update_statistics=False)
        return torch.cat([styles[:, :cutoff], others[:, cutoff:]], dim=1)

    @lazy
    def fake(self) -> Tensor:
        learns = self._update.player == "g"
        with torch.set_grad_enabled(learns):
            if self._forwards.has_styles:
                images = self._forwards.synthesize(self.styles, self._moves)
            else:
                images = self._forwards.generate(self.latents, self.fake_labels, self._moves)
        wants_grad = any(term.fake_grad for term in self._update.terms)
        return images.requires_grad_() if wants_grad and not learns else images

    @property
    def _moves(self) -> bool:
        return self._update.statistics == "move"

    def critic(self, images: Tensor, labels: Tensor | None) -> Scores:
        self._num_asked += 1
        shown = self._augment(images, f"asked {self._num_asked}")
        return self._forwards.judge(shown, labels)

    def _judged_real(self) -> Scores:
        return self._forwards.judge(self._augment(self.real, "real"), self.real_labels)

    def _judged_fake(self) -> Scores:
        return self._forwards.judge(self._augment(self.fake, "fake"), self.fake_labels)

    @lazy
    def real_scores(self) -> Scores:
        if self._update.reads_both:
            return self._pair[1]
        return self._judged_real()

    @lazy
    def fake_scores(self) -> Scores:
        if self._update.reads_both:
            return self._pair[0]
        return self._judged_fake()

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
            return self._judged_fake(), self._judged_real()
        real = self._judged_real()
        return self._judged_fake(), real

    def _joint(self) -> tuple[Scores, Scores]:
        labels = None
        if self.fake_labels is not None and self.real_labels is not None:
            labels = torch.cat([self.fake_labels, self.real_labels])
        shown = [self._augment(self.fake, "fake"), self._augment(self.real, "real")]
        scores = self._forwards.judge(torch.cat(shown), labels)
        sizes = [len(self.fake), len(self.real)]
        logits = scores.logits.split(sizes)
        classes = (None, None)
        if scores.class_logits is not None:
            classes = scores.class_logits.split(sizes)
        return Scores(logits[0], classes[0]), Scores(logits[1], classes[1])
