"""Latents and labels on the way from one image to another, and many such ways as one sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from limner.core.config import nearest
from limner.core.errors import LimnerError
from limner.core.protocols import Labels, NoiseMode
from limner.sampling.latents import TruncationMode, latents_from_seeds
from limner.sampling.looks import Look, Space, look_for

Along = Literal["z", "y", "zy"]


@dataclass(frozen=True)
class Walk:
    """From one (seed, class) to another; classes are None for a model without them."""

    first_seed: int
    last_seed: int
    first_class: int | None = None
    last_class: int | None = None


@dataclass(frozen=True)
class WalkStyle:
    """What is walked and how.

    Attributes:
        steps: images of a walk, both ends included, at least 2.
        along: "z" walks the latent and keeps the first class; "y" keeps the first latent and mixes
            the classes (straight line between their one-hot rows); "zy" does both.
        slerp: walk z on the great circle with interpolated length, not on the straight line, whose
            middle is shorter than any latent the generator was trained on.
        truncation, truncation_mode: of the latents of the ends, or of all styles on the way.
        space: "z" walks as said; "w" goes straight from the styles of the first image to those of
            the last. None takes "w" for a model with styles, unless `slerp` asks for circles.
        truncation_cutoff, noise: see `Model.sample`; all images of a walk have the noise of its
            first seed.
    """

    steps: int = 10
    along: Along = "zy"
    slerp: bool = False
    truncation: float | None = None
    truncation_mode: TruncationMode | None = None
    space: Space | None = None
    truncation_cutoff: int | None = None
    noise: NoiseMode | None = None

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise LimnerError(f"steps {self.steps}: a walk has at least 2 images")
        if self.along not in get_args(Along):
            raise LimnerError(
                f"along '{self.along}' is unknown{nearest(self.along, get_args(Along))}"
            )

    def look(self, generator: nn.Module) -> Look:
        """What the images of a generator are made with; see `look_for`."""
        return look_for(
            generator, self.truncation, self.truncation_mode, self.truncation_cutoff, self.noise
        )


def walk(
    walks: Sequence[Walk], z_dim: int, num_classes: int, style: WalkStyle
) -> tuple[Float32[Tensor, "n z"], Labels | None]:
    """Latents [walks x steps, z_dim] and labels of the walks in z, one after the other.

    Labels are None without classes, integers where none are mixed, else rows [n, num_classes].
    """
    ends = [seed for each in walks for seed in (each.first_seed, each.last_seed)]
    latents = latents_from_seeds(ends, z_dim, style.truncation, style.truncation_mode or "resample")
    share = torch.linspace(0, 1, style.steps)[:, None]
    pieces = [
        between(first, last, share, style.slerp)
        if "z" in style.along
        else first.repeat(len(share), 1)
        for first, last in latents.view(len(walks), 2, z_dim)
    ]
    return torch.cat(pieces), _labels(walks, num_classes, share, style)


def _labels(
    walks: Sequence[Walk], num_classes: int, share: Tensor, style: WalkStyle
) -> Tensor | None:
    if num_classes == 0:
        return None
    firsts = torch.tensor([each.first_class for each in walks])
    lasts = torch.tensor([each.last_class for each in walks])
    if "y" not in style.along or torch.equal(firsts, lasts):
        return firsts.repeat_interleave(style.steps)
    first, last = (
        torch.nn.functional.one_hot(ends, num_classes).float()[:, None] for ends in (firsts, lasts)
    )
    return (first + (last - first) * share).flatten(0, 1)


def between(
    first: Float[Tensor, " z"], last: Float[Tensor, " z"], share: Float[Tensor, "n 1"], slerp: bool
) -> Float[Tensor, "n z"]:
    """Latents at the shares 0..1 of the way; the ends are the given ones bit for bit."""
    straight = torch.lerp(first, last, share)
    if not slerp:
        return straight
    lengths = first.norm(), last.norm()
    a, b = first / lengths[0], last / lengths[1]
    angle = torch.arccos((a @ b).clamp(-1, 1))
    if angle.sin().abs() < 1e-6:  # the same or opposite directions: no great circle is singled out
        return straight
    circle = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / angle.sin()
    walked = circle * torch.lerp(lengths[0], lengths[1], share)
    walked[0], walked[-1] = first, last
    return walked


def neighbouring_walks(
    num: int, seed: int, num_classes: int, first_class: int | None = None
) -> list[Walk]:
    """`num` walks, the r-th from seed `seed + 2 r` to the next seed.

    The k-th end has the class (first_class + k) % num_classes; None begins at seed % num_classes.
    """
    ends = range(0, 2 * num, 2)
    if num_classes == 0:
        return [Walk(seed + k, seed + k + 1) for k in ends]
    base = seed if first_class is None else first_class
    return [
        Walk(seed + k, seed + k + 1, (base + k) % num_classes, (base + k + 1) % num_classes)
        for k in ends
    ]
