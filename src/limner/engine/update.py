"""One optimizer step of one player, as data."""

from typing import Literal

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.objectives.base import Direct, Term

Player = Literal["g", "d"]
LabelRule = Literal["drawn", "balanced", "natural"]


class Update(Config, frozen=True, kw_only=True):
    """What one player minimizes, and how often.

    Attributes:
        player: "g" (generator) or "d" (discriminator).
        terms: the summands of the loss.
        direct: parts that add to the gradient itself, once, after accumulation and all-reduce.
        every: take part in each `every`-th step only, with the loss multiplied by `every` (lazy
            regularization); the matching optimizer correction stands in the preset.
        repeats: optimizer steps in a row, each with reals and latents of its own.
        accumulate: micro-batches a step; the loss is their mean.
        num_latents: fakes a micro-batch over all processes; None takes the batch size.
        labels: labels of the fakes: "drawn" uniformly; "balanced", each class equally often in a
            micro-batch (over all processes), up to one; "natural", as often as in the data; or
            those of the "real" batch. Where the data's labels are rows of numbers only the last
            two: "natural" then draws whole rows of the data.
        forwards: how the discriminator sees both sides when the terms read both: "joint" runs once
            over cat[fake, real], else one after the other. Batch and spectral normalization make
            the order part of the algorithm.
    """

    player: Player
    terms: tuple[Term, ...]
    direct: tuple[Direct, ...] = ()
    every: int = 1
    repeats: int = 1
    accumulate: int = 1
    num_latents: int | None = None
    labels: LabelRule | Literal["real"] = "drawn"
    forwards: Literal["joint", "fake_then_real", "real_then_fake"] = "fake_then_real"

    def __post_init__(self) -> None:
        for name in ("every", "repeats", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.terms and not self.direct:
            raise ConfigError("terms is empty: an update needs a loss")
        if self.num_latents is not None and self.num_latents < 1:
            raise ConfigError(f"num_latents must be at least 1, got {self.num_latents}")

    @property
    def reads_real(self) -> bool:
        """Whether this update draws real images (and so moves the clock)."""
        return self.labels == "real" or any("real" in term.reads for term in self.terms)

    @property
    def reads_both(self) -> bool:
        """Whether terms look at real and at fake images, so that their forwards are one unit."""
        return all(any(side in term.reads for term in self.terms) for side in ("real", "fake"))
