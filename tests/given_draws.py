"""Draws whose numbers a test names."""

import torch
from torch import Tensor

from limner.engine.noise import Draw, Noise


class GivenDraws(Draw):
    """The draws of one pass; those that have a value here give it in every row.

    Attributes:
        asked: purpose -> what was handed out.
    """

    def __init__(self, values: dict[str, float] | None = None, dtype: torch.dtype = torch.float32):
        super().__init__(Noise(seed=0, dtype=dtype), 0, 0)
        self._values = values or {}
        self.asked: dict[str, Tensor] = {}

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        return self._given(purpose, super().normal(purpose, shape))

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        return self._given(purpose, super().uniform(purpose, shape))

    def _given(self, purpose: str, drawn: Tensor) -> Tensor:
        assert purpose not in self.asked, f"{purpose} is asked twice"
        if purpose in self._values:
            drawn = torch.full_like(drawn, self._values[purpose])
        self.asked[purpose] = drawn
        return drawn
