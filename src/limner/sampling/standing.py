"""Batch norm statistics that belong to a truncation: accumulated anew, or interpolated from sets.

A truncated latent meets activations that the running statistics do not describe. Brock et al.
(2018, appendix) average the statistics of some training-mode passes over latents of the same
truncation ("standing statistics"); the published TF-Hub modules hold 51 such sets.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from limner.core.errors import LimnerError
from limner.core.protocols import z_dim_of
from limner.core.streams import stream
from limner.sampling.generate import evaluating, random_state_kept
from limner.sampling.latents import TruncationMode, latents_from_seeds

Statistics = dict[str, Tensor]  # name of a running buffer -> its values
FIRST_SEED = 1 << 40  # beyond any image's, so that no image is drawn from a latent of a pass
AT_A_SET = 1e-9  # of the distance between two sets: nearer, a truncation is that of the set


@dataclass(frozen=True)
class StandingSets:
    """The sets of a model folder; see ModelConfig.

    Attributes:
        truncations: ascending, one a row.
        tensors: name of a running buffer -> [rows, *shape of the buffer].
        rule: see `at`.
    """

    truncations: tuple[float, ...]
    tensors: Mapping[str, Tensor]
    rule: Literal["linear", "huggingface"] = "linear"
    _last: dict[float, Statistics] = field(default_factory=dict, init=False, compare=False)

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest truncation that can be asked for."""
        return self.truncations[0], self.truncations[-1]

    def check(self, truncation: float | None) -> float:
        """The truncation itself, or a LimnerError with the bounds that it is outside of."""
        low, high = self.bounds
        if truncation is None or truncation <= 0 or not low <= truncation <= high:
            given = "none was given" if truncation is None else f"{truncation:g} is outside"
            above = "above 0" if low == 0 else f"{low:g}"
            raise LimnerError(
                f"truncation: {given}; this model has statistics for {above} to {high:g}"
            )
        return truncation

    def at(self, truncation: float | None) -> Statistics:
        """The statistics for a truncation, by the model's rule.

        "linear": rows i and i + 1 with the weights 1 - w and w, w being the share of the way.
        "huggingface": what pytorch-pretrained-BigGAN computes: w is the fraction of
        truncation / step in floating point, the weights are w and 1 - w, and row i alone is taken
        where w is 0; so between two rows it interpolates towards the wrong one, and at 0.14, 0.28,
        0.56, 0.58 and 0.94 on the grid of 0.02 rounding makes it take a neighbour's row.
        """
        truncation = self.check(truncation)
        if truncation not in self._last:  # the same tensors: what was prepared of them still stands
            self._last.clear()
            self._last[truncation] = self._at(truncation)
        return dict(self._last[truncation])

    def _at(self, truncation: float) -> Statistics:
        if self.rule == "huggingface":
            first, of_first = self._swapped(truncation)
        else:
            first, of_first = self._linear(truncation)
        second = min(first + 1, len(self.truncations) - 1)
        return {
            name: rows[first] * of_first + rows[second] * (1.0 - of_first)
            if of_first != 1.0
            else rows[first].clone()
            for name, rows in self.tensors.items()
        }

    def _linear(self, truncation: float) -> tuple[int, float]:
        """A row, and the weight of it against the next."""
        last = len(self.truncations) - 1
        row = min(bisect_right(self.truncations, truncation) - 1, last)
        if row == last:
            return row, 1.0
        low, high = self.truncations[row : row + 2]
        share = (truncation - low) / (high - low)
        if share > 1.0 - AT_A_SET:
            return row + 1, 1.0
        return row, 1.0 if share < AT_A_SET else 1.0 - share

    def _swapped(self, truncation: float) -> tuple[int, float]:
        low, high = self.bounds
        if len(self.truncations) == 1:
            return 0, 1.0
        share, row = math.modf((truncation - low) / ((high - low) / (len(self.truncations) - 1)))
        return int(row), 1.0 if share == 0.0 else share


# --- accumulation ----------------------------------------------------------


@dataclass(frozen=True)
class StandingPlan:
    """How many training-mode passes to average, and the latents of each.

    BigGAN-PyTorch makes 16 by default, 32 in a comment of its sampling script.

    Examples:
        >>> str(limner.StandingPlan(num_passes=16, batch_size=64))
        '16x64'
    """

    num_passes: int = 16
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_passes < 1 or self.batch_size < 2:
            raise LimnerError(
                f"standing statistics of {self.num_passes} passes over {self.batch_size} latents: "
                "give at least 1 pass and 2 latents"
            )

    def __str__(self) -> str:
        return f"{self.num_passes}x{self.batch_size}"

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> "StandingPlan":
        """From "PASSES" or "PASSESxBATCH", for example 16 or 32x256.

        Raises:
            LimnerError: another text, or numbers too small.
        """
        passes, cross, batch = text.partition("x")
        if not passes.isdecimal() or (cross and not batch.isdecimal()):
            raise LimnerError(
                f"standing '{text}': write PASSES or PASSESxBATCH, for example 16 or 32x256"
            )
        return cls(int(passes), int(batch) if cross else 64, seed)

    def batches(
        self,
        z_dim: int,
        num_classes: int,
        truncation: float | None = None,
        mode: TruncationMode = "resample",
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Latents [batch, z_dim] of the truncation, and labels drawn evenly, pass after pass."""
        for number in range(self.num_passes):
            first = FIRST_SEED + (self.seed * self.num_passes + number) * self.batch_size
            seeds = range(first, first + self.batch_size)
            z = latents_from_seeds(seeds, z_dim, truncation, mode)
            draws = stream("standing labels", self.seed, number)
            size = (self.batch_size,)
            y = torch.randint(num_classes, size, generator=draws) if num_classes else None
            yield z, y


def standing_statistics(
    generator: nn.Module,
    plan: StandingPlan,
    num_classes: int,
    truncation: float | None = None,
    mode: TruncationMode = "resample",
) -> Statistics:
    """`accumulate` over the plan's latents and labels at a truncation."""
    batches = plan.batches(z_dim_of(generator), num_classes, truncation, mode)
    return accumulate(generator, batches)


def accumulate(generator: nn.Module, batches: Iterable[tuple[Tensor, Tensor | None]]) -> Statistics:
    """The plain average of the batch statistics of training-mode passes, one a batch of latents
    [n, z_dim] and labels.

    The variance is the one that each norm stores (biased or unbiased). The generator, with its
    modes, all buffers (singular vectors too) and the random state, is afterwards as it was.

    Returns:
        name of each running buffer -> its average, on the buffer's device.

    Raises:
        LimnerError: the generator has no norm with running statistics, or it came to values that
            are not finite.
    """
    norms = _norms(generator)
    if not norms:
        raise LimnerError(
            "standing statistics: this generator has no batch norm with running statistics"
        )
    like = next(generator.parameters())
    sums: Statistics = {}
    num_passes = 0
    with _undisturbed(generator, like.device), torch.no_grad():
        generator.train()
        torch.manual_seed(0)  # for a network that drops out or draws noise
        for norm in norms.values():
            norm.momentum = 1.0  # a buffer then holds the statistics of the last batch alone
        for z, y in batches:
            for norm in norms.values():
                norm.running_mean.zero_()
                norm.running_var.zero_()
            labels = None if y is None else y.to(like.device)
            generator(z.to(like.device, like.dtype), labels)
            num_passes += 1
            for name, value in _running(norms):
                sums[name] = sums.get(name, 0.0) + value.cpu().double()
    assert num_passes > 0, "no passes"
    averages = {
        name: (total / num_passes).to(like.device, like.dtype) for name, total in sums.items()
    }
    bad = [name for name, value in averages.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise LimnerError(f"standing statistics: '{bad[0]}' came out not finite")
    return averages


def _norms(generator: nn.Module) -> dict[str, Any]:
    """Modules by name that keep running statistics with a momentum."""
    return {
        name: module
        for name, module in generator.named_modules()
        if isinstance(getattr(module, "running_mean", None), Tensor)
        and isinstance(getattr(module, "running_var", None), Tensor)
        and hasattr(module, "momentum")
    }


def _running(norms: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, norm in norms.items():
        prefix = f"{name}." if name else ""
        yield f"{prefix}running_mean", norm.running_mean
        yield f"{prefix}running_var", norm.running_var


@contextmanager
def _undisturbed(generator: nn.Module, device: torch.device) -> Iterator[None]:
    buffers = {name: buffer.clone() for name, buffer in generator.named_buffers()}
    momenta = [(norm, norm.momentum) for norm in _norms(generator).values()]
    try:
        with evaluating(generator), random_state_kept(device):
            yield
    finally:
        for norm, momentum in momenta:
            norm.momentum = momentum
        put_statistics(generator, buffers)


def put_statistics(generator: nn.Module, statistics: Mapping[str, Tensor]) -> None:
    """Write statistics into the generator's buffers."""
    buffers = dict(generator.named_buffers())
    with torch.no_grad():
        for name, values in statistics.items():
            buffers[name].copy_(values)


@contextmanager
def using_statistics(generator: nn.Module, statistics: Mapping[str, Tensor]) -> Iterator[None]:
    """The generator's buffers hold these statistics inside, and their own values afterwards."""
    buffers = dict(generator.named_buffers())
    own = {name: buffers[name].clone() for name in statistics}
    put_statistics(generator, statistics)
    try:
        yield
    finally:
        put_statistics(generator, own)
