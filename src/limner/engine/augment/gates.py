"""Changes that happen to a share of the images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from limner.objectives.base import Noise


@dataclass(frozen=True)
class Gates:
    """The numbers of one call: each change has a value for every image, and a gate that is open
    for some of them."""

    noise: Noise
    num: int
    p: float

    def uniform(self, name: str, *columns: int) -> Tensor:
        """The values of a change, in [0, 1); [n, *columns]."""
        return self.noise.uniform(f"{name} value", (self.num, *columns))

    def normal(self, name: str, *columns: int) -> Tensor:
        """The same, standard normal."""
        return self.noise.normal(f"{name} value", (self.num, *columns))

    def passed(self, name: str, chance: float, value: Tensor, closed: float) -> Tensor:
        """The value where the gate is open, so with this chance; else the one that changes nothing.
        One gate for all columns of an image."""
        drawn = self.noise.uniform(f"{name} gate", (self.num, *(1 for _ in value.shape[1:])))
        return torch.where(drawn < chance, value, closed)
