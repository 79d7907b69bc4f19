"""One optimizer step of one player, as data."""

import inspect
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta
from torch import nn

from limner.core.config import Config
from limner.core.errors import ConfigError
from limner.core.protocols import StyleGenerator
from limner.core.ranges import PositiveInt, Share
from limner.objectives.base import Direct, Term

Player = Literal["g", "d"]
LabelRule = Literal["drawn", "balanced", "natural"]


class Update(Config, frozen=True, kw_only=True):
    """What one player minimizes, and how often.

    Attributes:
        player: "g" (generator) or "d" (discriminator).
        terms: the summands of the loss.
        direct: parts that add to the gradient itself, once, after accumulation and all-reduce. With
            no terms beside them every trained parameter counts as having a gradient, of zero.
        unreached: trained parameters that the loss does not reach: the optimizer shall "skip" them,
            or take their gradient as "zero", so that moments decay and the count of steps goes on.
        every: take part in each `every`-th step only, with the gradient multiplied by `every` (lazy
            regularization); the matching optimizer correction stands in the preset.
        repeats: optimizer steps in a row, each with reals and latents of its own.
        accumulate: micro-batches a step; the loss is their mean.
        num_latents: fakes a micro-batch over all processes; None takes the batch size.
        latent_share: the share of these that is made, rounded down, at least one a process.
        style_mixing: how likely the styles of the later layers come from other latents (Karras et
            al. 2019, section 3.1), one draw a micro-batch; needs a generator with styles.
        statistics: whether running statistics of the generator "move" or "keep" their values.
        reals: "next" draws real images; "same" takes those that the newest update of this step with
            "next" has drawn, micro-batch by micro-batch, and draws none.
        counts: whether the images that it draws move the clock.
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
    unreached: Literal["skip", "zero"] = "skip"
    every: PositiveInt = 1
    repeats: PositiveInt = 1
    accumulate: PositiveInt = 1
    num_latents: PositiveInt | None = None
    latent_share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    style_mixing: Share = 0.0
    statistics: Literal["move", "keep"] = "move"
    reals: Literal["next", "same"] = "next"
    counts: bool = True
    labels: LabelRule | Literal["real"] = "drawn"
    forwards: Literal["joint", "fake_then_real", "real_then_fake"] = "fake_then_real"

    def __post_init__(self) -> None:
        if not self.terms and not self.direct:
            raise ConfigError("terms is empty: an update needs a loss")
        if self.labels == "real" and not (self.num_latents is None and self.latent_share == 1.0):
            raise ConfigError(
                'labels: "real" gives every fake the label of one real image, so there must be as '
                "many of them: leave num_latents and latent_share out, or draw the labels"
            )

    @property
    def reads_real(self) -> bool:
        """Whether this update looks at real images."""
        return self.labels == "real" or any("real" in term.reads for term in self.terms)

    @property
    def draws_real(self) -> bool:
        """Whether it draws them, and does not look at those of an update before."""
        return self.reads_real and self.reals == "next"

    @property
    def reads_both(self) -> bool:
        """Whether terms look at real and at fake images, so that their forwards are one unit."""
        return all(any(side in term.reads for term in self.terms) for side in ("real", "fake"))


def require_styles(updates: Sequence[Update], generator: nn.Module) -> None:
    """Refuse updates that ask a generator for more than it can do.

    Raises:
        ConfigError: names the update's key and the remedy.
    """
    name, has_styles = type(generator).__name__, isinstance(generator, StyleGenerator)
    can_keep = has_styles or "update_statistics" in inspect.signature(generator.forward).parameters
    for index, update in enumerate(updates):
        if update.style_mixing and not has_styles:
            raise ConfigError(
                f"updates.{index}.style_mixing: {name} has no styles (a mapping and a synthesis); "
                "give 0, or a generator that has"
            )
        if any("styles" in term.reads for term in update.terms) and not has_styles:
            raise ConfigError(
                f"updates.{index}.terms: one reads styles, and {name} has none (a mapping and a "
                "synthesis); leave it out, or give a generator that has"
            )
        if update.statistics == "keep" and not can_keep:
            raise ConfigError(
                f'updates.{index}.statistics: "keep" needs a generator whose forward takes '
                f"update_statistics, and that of {name} does not; give move"
            )
