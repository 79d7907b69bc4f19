"""All randomness of a training step, as pure functions of (seed, purpose, step, call, row)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor

from limner.core.errors import ConfigError
from limner.core.streams import stream
from limner.engine.progress import salted
from limner.engine.update import Update


def drawn(
    total: int, counts: Int64[Tensor, " classes"], generator: torch.Generator
) -> Int64[Tensor, " {total}"]:
    """Labels, uniform over the classes."""
    return torch.randint(len(counts), (total,), generator=generator)


def balanced(
    total: int, counts: Int64[Tensor, " classes"], generator: torch.Generator
) -> Int64[Tensor, " {total}"]:
    """Each class total // classes times or once more, in any order."""
    classes = len(counts)
    whole = torch.arange(classes).repeat(total // classes)
    rest = torch.randperm(classes, generator=generator)[: total % classes]
    labels = torch.cat([whole, rest])
    return labels[torch.randperm(total, generator=generator)]


def natural(
    total: int, counts: Int64[Tensor, " classes"], generator: torch.Generator
) -> Int64[Tensor, " {total}"]:
    """Labels, each class in proportion to its count."""
    ends = counts.cumsum(0)
    places = torch.randint(int(ends[-1]), (total,), generator=generator)
    return torch.searchsorted(ends, places, right=True)


def natural_rows(
    total: int, rows: Float32[Tensor, "pictures columns"], generator: torch.Generator
) -> Float32[Tensor, "{total} columns"]:
    """Whole rows of the data's labels, those of pictures drawn uniformly."""
    return rows[torch.randint(len(rows), (total,), generator=generator)]


LABEL_RULES = {"drawn": drawn, "balanced": balanced, "natural": natural}


def checked_counts(
    updates: Sequence[Update],
    num_classes: int,
    counts: Sequence[int] | None,
    rows: Float32[Tensor, "pictures columns"] | None = None,
) -> Int64[Tensor, " classes"] | None:
    """The data's label counts for `Noise`; None where there are no classes or nobody gave them.

    Raises:
        ConfigError: an update draws labels as they occur, and nobody counted them; or it draws
            single classes, and the data's labels are rows of numbers.
    """
    if not num_classes:
        return None
    if rows is not None:
        for index, update in enumerate(updates):
            if update.labels not in ("natural", "real"):
                raise ConfigError(
                    f"updates.{index}.labels: '{update.labels}' needs one class a picture, and the "
                    f"data's labels are rows of {num_classes} numbers; set it to natural or real"
                )
        return None
    if counts is None:
        if any(update.labels == "natural" for update in updates):
            raise ConfigError(
                'updates: labels="natural" needs the number of pictures of each class: give the '
                "trainer label_counts"
            )
        return None
    return torch.tensor(counts, dtype=torch.int64)


class Draw:
    """The noise of one pass. A rank gets its rows of what a single process would draw."""

    def __init__(self, noise: "Noise", step: int, call: int, tag: str = ""):
        self._noise, self._step, self._call, self._tag = noise, step, call, tag

    def tagged(self, tag: str) -> "Draw":
        """Noise of the same pass for another use of it: its numbers are others for each tag."""
        return Draw(self._noise, self._step, self._call, f"{self._tag}{tag}: ")

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
        """Standard normal numbers; shape[0] counts this process's rows."""
        return self._rows(purpose, shape, torch.randn)

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Float[Tensor, "*shape"]:
        """Numbers in [0, 1); shape[0] counts this process's rows."""
        return self._rows(purpose, shape, torch.rand)

    def mixing_cutoff(self, probability: float, num_layers: int) -> int:
        """The first layer, from 1, whose style comes from other latents: with the probability one
        of those after the first, else `num_layers`. One draw for the rows of all processes."""
        if probability == 0.0:
            return num_layers
        numbers = torch.rand(2, generator=self._stream("style mixing")).tolist()
        mixes = numbers[0] < probability
        return 1 + int(numbers[1] * (num_layers - 1)) if mixes else num_layers

    def latents(self, num: int, z_dim: int) -> Float[Tensor, "{num} {z_dim}"]:
        """Latents, standard normal."""
        return self.normal("latents", (num, z_dim))

    def labels(
        self, num: int, num_classes: int, rule: str = "drawn"
    ) -> Shaped[Tensor, "{num} ..."]:
        """Labels by a rule of `LABEL_RULES`; each sees the rows of all processes. Integers, or
        rows of numbers where the data's labels are."""
        noise, total = self._noise, num * self._noise.world_size
        generator = self._stream("labels")
        if noise.label_rows is not None:
            assert rule == "natural", "the engine refuses other rules beforehand"
            rows = natural_rows(total, noise.label_rows, generator)
            return noise.own_rows(rows, num).to(noise.device)
        counts = torch.ones(num_classes, dtype=torch.int64)
        if rule == "natural":
            assert noise.label_counts is not None, "the engine asks for them beforehand"
            counts = noise.label_counts
        labels = LABEL_RULES[rule](total, counts, generator)
        return noise.own_rows(labels, num).to(noise.device)

    def _stream(self, purpose: str) -> torch.Generator:
        return self._noise.stream(f"{self._tag}{purpose}", self._step, self._call)

    def _rows(self, purpose: str, shape: tuple[int, ...], draw) -> Tensor:
        noise = self._noise
        generator = self._stream(purpose)
        values = draw((shape[0] * noise.world_size, *shape[1:]), generator=generator)
        return noise.own_rows(values, shape[0]).to(noise.device, noise.dtype)


class Noise:
    """Hands out a `Draw` for each call of a step; holds no state, so nothing has to be saved.

    Args:
        seed: the run's seed.
        rank, world_size: this process and their number.
        device, dtype: where and as what the numbers are returned; they are drawn as float32 on the
            CPU, so that every device and precision sees the same values.
        label_counts: how many pictures of each class the data has, for labels as they occur there.
        label_rows: the labels of all its pictures, where they are rows of numbers.

    Attributes:
        salt: how often the run has gone back to a checkpoint; each time the numbers are others.
    """

    salt: int = 0

    def __init__(
        self,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        label_counts: Int64[Tensor, " classes"] | None = None,
        label_rows: Float32[Tensor, "pictures columns"] | None = None,
    ):
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.device, self.dtype = torch.device(device), dtype
        self.label_counts, self.label_rows = label_counts, label_rows

    def draw(self, step: int, call: int) -> Draw:
        """The noise of the `call`-th pass of a step."""
        return Draw(self, step, call)

    def stream(self, *keys: int | str) -> torch.Generator:
        """The stream of the seed, the salt and the keys."""
        return stream(salted(self.seed, self.salt), *keys)

    def own_rows(
        self, values: Shaped[Tensor, " total *rest"], num: int
    ) -> Shaped[Tensor, " {num} *rest"]:
        """This process's block of `num` rows."""
        return values[self.rank * num : (self.rank + 1) * num]
