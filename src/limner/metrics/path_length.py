"""Perceptual path length (Karras et al. 2019, section 4.1): how far an image moves for a small step
of the latent or of the styles, in the features of a network that has to be named."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from limner.core.errors import LimnerError
from limner.core.streams import stream
from limner.metrics.base import Figure, Metric, Rows, Side
from limner.metrics.features import DataClassifier, Extractor
from limner.metrics.features.pretrained import BATCH_SIZE, Pretrained, in_color

if TYPE_CHECKING:
    from limner.metrics.reference import Reference
    from limner.metrics.streams import ImageStream

EPSILON = 1e-4
DISCARDED = (1.0, 99.0)  # percentiles beyond which the few enormous lengths are left out
PAIRS_PER_BATCH = 32
NUM_MAX = 10_000

Where = Literal["full", "end"]
WHERE: tuple[Where, ...] = ("full", "end")


@runtime_checkable
class ReadsFloats(Protocol):
    """An extractor that also reads images whose steps are finer than the 256 of a picture."""

    def features_of_floats(self, images: Tensor) -> Tensor:
        """float [N, C, H, W] nominally in [-1, 1] to float [N, D]."""
        ...


def features_of_floats(extractor: Extractor) -> Callable[[Tensor], Tensor]:
    """How an extractor reads images that are not rounded to 256 steps, which hide a small step.

    Raises:
        LimnerError: it cannot.
    """
    if isinstance(extractor, ReadsFloats):
        return extractor.features_of_floats
    if isinstance(extractor, Pretrained) and not extractor.has_small_steps:
        raise LimnerError(
            f"path length: features '{extractor.name}' round too much for a step of {EPSILON:g}; "
            "take features in float32, inception for instance"
        )
    if isinstance(extractor, Pretrained):
        return functools.partial(_through, extractor)
    if isinstance(extractor, DataClassifier):
        return extractor.network.features
    if isinstance(extractor, nn.Module):
        return extractor
    raise LimnerError(
        f"path length: features '{extractor.name}' read pictures of 256 steps only, in which a "
        f"step of {EPSILON:g} is lost; give them features_of_floats(images), or take other features"
    )


def _through(extractor: Pretrained, images: Tensor) -> Tensor:
    rows = []
    for batch in in_color(images).split(BATCH_SIZE):
        prepared = extractor.prepare(batch.to(extractor.device) * 127.5 + 127.5)
        rows.append(extractor.rows_of_prepared(prepared)[0])
    return torch.cat(rows)


def interpolated(
    a: Float[Tensor, "n z"], b: Float[Tensor, "n z"], t: Float[Tensor, " n"]
) -> Float[Tensor, "n z"]:
    """Latents at the shares t of the ways from a to b, on great circles with lengths that go
    straight from one to the other. In double precision."""
    a, b, t = a.double(), b.double(), t.double()[:, None]
    straight = a + (b - a) * t
    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a, unit_b = a / length_a, b / length_b
    angle = (unit_a * unit_b).sum(dim=1, keepdim=True).clamp(-1, 1).arccos()
    circle = ((1 - t) * angle).sin() * unit_a + (t * angle).sin() * unit_b
    turned = circle / angle.sin() * (length_a + (length_b - length_a) * t)
    return torch.where(angle.sin().abs() < 1e-6, straight, turned)  # one line: no circle


@torch.no_grad()
def path_lengths(
    generate: Callable[[Tensor, Tensor | None, Tensor], Tensor],
    features: Callable[[Tensor], Tensor],
    num: int,
    z_dim: int,
    num_classes: int = 0,
    where: Where = "full",
    seed: int = 0,
    styles: Callable[[Tensor, Tensor | None], Tensor] | None = None,
) -> Float[Tensor, " num"]:
    """|f(G(z(t + epsilon))) - f(G(z(t)))|^2 / epsilon^2 for `num` ways between two latents.

    Args:
        generate: latents float32 [n, z_dim] (or styles), int64 labels [n] or None and numbers
            int64 [n] of the ways -> images [n, C, H, W]; see ImageStream.
        features: images as they are -> [n, D].
        num_classes: each way has one class, drawn evenly.
        where: "full" takes t from 0..1, "end" is t = 0.
        styles: makes ways straight ones between the styles of the two latents.
    """
    draws = stream("metrics", "path length", seed)
    a, b = (torch.randn(num, z_dim, generator=draws, dtype=torch.float64) for _ in range(2))
    t = torch.rand(num, generator=draws, dtype=torch.float64)
    y = torch.randint(num_classes, (num,), generator=draws) if num_classes else None
    t = t if where == "full" else torch.zeros_like(t)
    first, second = (interpolated(a, b, at).float() for at in (t, t + EPSILON))
    squares = []
    for begin in range(0, num, PAIRS_PER_BATCH):
        part = slice(begin, begin + PAIRS_PER_BATCH)
        pairs, labels = torch.cat([first[part], second[part]]), None if y is None else y[part]
        if styles is None:
            labels = None if labels is None else labels.repeat(2)
        else:
            start, end = (styles(z[part].float(), labels).double() for z in (a, b))
            shares = torch.stack([t[part], t[part] + EPSILON])[..., None, None]
            pairs, labels = (start + (end - start) * shares).flatten(0, 1).float(), None
        images = generate(pairs, labels, torch.arange(num)[part].repeat(2))
        before, after = features(images).cpu().double().chunk(2)
        squares.append((after - before).flatten(1).square().sum(dim=1))
    return torch.cat(squares) / EPSILON**2


def mean_path_length(lengths: Float[Tensor, " n"]) -> tuple[float, float]:
    """Mean and deviation of the lengths within the 1st and 99th percentile, both included.

    Raises:
        LimnerError: no length, or one that is not finite.
    """
    if not len(lengths) or not bool(torch.isfinite(lengths).all()):
        raise LimnerError("path length: there are lengths that are not finite; check the images")
    values = lengths.cpu().double().numpy()
    low = np.percentile(values, DISCARDED[0], method="lower")
    high = np.percentile(values, DISCARDED[1], method="higher")
    kept = values[(low <= values) & (values <= high)]
    return float(kept.mean()), float(kept.std())


class Ppl(Metric):
    """The perceptual path length; of a style generator also that in w ("ppl-w-end" is ppl2_wend of
    NVlabs/stylegan2-ada-pytorch, in other features)."""

    figures = ("ppl", "ppl-end", "ppl-w", "ppl-w-end")
    higher_is_better = False
    reads = "generator"
    alone = True
    named_by_features = True
    num_max = NUM_MAX
    spaces: ClassVar[tuple[Literal["z", "w"], ...]] = ("z", "w")
    where: ClassVar[tuple[Where, ...]] = WHERE

    def begin(self, side: Side) -> Rows:
        return Rows(replace(side, num=self.num_used(side.num, side.num)))

    def compare(self, fake: Rows, real: None) -> dict[str, Figure]:
        found = zip(self.figures, fake.rows.unbind(dim=1), strict=False)
        return {name: Figure(*mean_path_length(lengths)) for name, lengths in found}

    def check_generator(self, images: "ImageStream", reference: "Reference") -> None:
        if images.generate is None:
            raise LimnerError("metric 'ppl' needs a generator, and these are images")
        if "z" not in self.spaces and images.styles is None:
            raise LimnerError("path lengths in w need a generator of styles")
        features_of_floats(reference.extractor)

    def of_generator(self, images: "ImageStream", reference: "Reference", num: int) -> Tensor:
        """Lengths of `num` ways in z, and of a style generator in w, at each of `where`."""
        assert images.generate is not None
        features = features_of_floats(reference.extractor)
        settings = images.generate, features, num, images.z_dim, images.num_classes
        spaces = {"z": None, "w": images.styles}
        lengths = [
            path_lengths(*settings, where, reference.seed, spaces[space])
            for space in self.spaces
            if space == "z" or images.styles is not None
            for where in self.where
        ]
        return torch.stack(lengths, dim=1)

    def known_floors(self, reference: Any) -> dict[str, float]:
        return {}  # real images have no latents
