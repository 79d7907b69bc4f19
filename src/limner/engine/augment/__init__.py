"""Augments of what the discriminator sees: one file each, one line here."""

from limner.engine.augment.base import Augment

AUGMENTS: dict[str, type[Augment]] = {}

__all__ = ["AUGMENTS", "Augment"]
