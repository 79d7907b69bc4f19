"""Augments of what the discriminator sees: one file each, one line here."""

from limner.core.parts import table
from limner.engine.augment.ada import AdaPipe
from limner.engine.augment.base import Augment
from limner.engine.augment.blur import Blur
from limner.engine.augment.diffaugment import DiffAugment
from limner.engine.augment.transforms import Multipliers, Strengths

AUGMENTS: dict[str, type[Augment]] = table(
    AdaPipe,
    Blur,
    DiffAugment,
)

__all__ = ["AUGMENTS", "AdaPipe", "Augment", "Blur", "DiffAugment", "Multipliers", "Strengths"]
