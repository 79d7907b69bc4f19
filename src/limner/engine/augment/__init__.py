"""Augments of what the discriminator sees: one file each, one line here."""

from limner.core.parts import table
from limner.engine.augment.base import Augment

AUGMENTS: dict[str, type[Augment]] = table()

__all__ = ["AUGMENTS", "Augment"]
