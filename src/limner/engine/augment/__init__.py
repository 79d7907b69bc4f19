"""Augments of what the discriminator sees: one file each, one line here."""

from limner.core.parts import table
from limner.engine.augment.base import Augment
from limner.engine.augment.diffaugment import DiffAugment

AUGMENTS: dict[str, type[Augment]] = table(
    DiffAugment,
)

__all__ = ["AUGMENTS", "Augment", "DiffAugment"]
