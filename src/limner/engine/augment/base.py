"""Augments stand before the discriminator. They are frozen: what they keep stands in a Memory."""

from torch import Tensor

from limner.core.config import Part
from limner.objectives.base import Memory, Noise


class Augment(Part):
    """Marker of augments: a differentiable map of all images that the discriminator sees, real and
    generated, in the updates of both players. Penalties differentiate through it.

    A controller that sets its strength writes into its memory, `trainer.memory("augment.NAME")`.
    """

    table = "limner.engine.augment:AUGMENTS"

    def __call__(self, images: Tensor, noise: Noise, nimg: int, memory: Memory) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] as the discriminator shall see them, in that shape.

        Args:
            images: what a term asks the discriminator about.
            noise: other numbers for every forward of the discriminator.
            nimg: the clock, for schedules.
            memory: what it keeps between steps.
        """
        raise NotImplementedError
