"""The auxiliary classifier: the discriminator also says which classes an image is of."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import Labels, Scores
from limner.core.schedules import Schedule, value_at
from limner.layers.class_table import check_labels
from limner.objectives.base import Memory, Pass, Term


def _cross_entropy(scores: Scores, labels: Labels | None) -> Tensor:
    """Mean over images of -sum_c y_c log softmax(class logits)_c.

    y is one-hot, soft, or marks several attributes; its rows need not sum to 1.
    """
    logits = scores.class_logits
    if logits is None or labels is None:
        raise ConfigError(
            "updates: an auxiliary classifier needs data with classes, and a discriminator that "
            "answers with class logits (pggan); give labels, or leave the term out"
        )
    check_labels(labels, logits.shape[1])
    if labels.is_floating_point():
        labels = labels.to(logits.dtype)
    return F.cross_entropy(logits, labels)


class AuxiliaryClassifierD(Config, Term, frozen=True):
    """weight * (cross entropy of reals + that of fakes) (Odena et al. 2017, as Karras et al. 2018).

    Softmax over the classes. Integer labels, one-hot rows, or rows with several attributes.
    """

    weight: float | Schedule = 1.0

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        real = _cross_entropy(batch.real_scores, batch.real_labels)
        fake = _cross_entropy(batch.fake_scores, batch.fake_labels)
        return value_at(self.weight, batch.nimg) * (real + fake)


class AuxiliaryClassifierG(Config, Term, frozen=True):
    """weight * cross entropy of fakes: make what was asked for recognizable."""

    reads: ClassVar[tuple[str, ...]] = ("fake",)
    weight: float | Schedule = 1.0

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        fake = _cross_entropy(batch.fake_scores, batch.fake_labels)
        return value_at(self.weight, batch.nimg) * fake
