"""Options of `limner train` that are short for keys of the config."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from limner.core.config import override
from limner.core.errors import ConfigError

if TYPE_CHECKING:
    from limner.engine import RunConfig


@dataclass(frozen=True)
class Shorthands:
    """What was typed, and `said`: what it came to, a line each."""

    batch_size: int | None = None
    resolution: str | None = None
    lr: float | None = None
    epochs: float | None = None
    total_batch: int | None = None
    said: list[str] = field(default_factory=list)

    def before(self) -> list[str]:
        """The assignments that depend on nothing; --set comes after them."""
        made = []
        if self.batch_size is not None and self.total_batch is not None:
            raise ConfigError("give either --batch-size or --total-batch, not both")
        if self.batch_size is not None:
            made.append(f"batch_size={self.batch_size}")
            self._say(f"--batch-size {self.batch_size}", made)
        if self.resolution is not None:
            sides = self.resolution.split("x")
            if len(sides) > 2 or not all(side.isdecimal() for side in sides):
                raise ConfigError(f"--resolution {self.resolution}: give pixels, as 64 or 48x80")
            value = sides[0] if len(sides) == 1 else f"[{','.join(sides)}]"
            made.append(f"data.resolution={value}")
            self._say(f"--resolution {self.resolution}", made[-1:])
        return made

    def kimg(self, data: str, steps: int | None, kimg: float | None) -> float | None:
        """--kimg, or what --epochs is for so many pictures.

        Raises:
            ConfigError: two lengths. DataError: the pictures cannot be found.
        """
        if self.epochs is None:
            return kimg
        if steps is not None or kimg is not None:
            raise ConfigError("give one of --epochs, --steps and --kimg")
        from limner.data.facts import facts_of

        num = facts_of(data).num
        kimg = self.epochs * num / 1000
        self._say(f"--epochs {self.epochs:g}", [f"kimg={kimg:g}"], f", for {num:,} pictures")
        return kimg

    def with_rates(self, config: "RunConfig", assignments: Sequence[str]) -> "RunConfig":
        """The config with --lr, unless the assignments give a rate themselves: the discriminator's
        stays in its ratio to the generator's."""
        if self.lr is None:
            return config
        adam = config.optim
        ratio = adam.d.lr / adam.g.lr if adam.g.lr else 1.0
        made = [f"optim.g.lr={self.lr:g}", f"optim.d.lr={self.lr * ratio:.6g}"]
        self._say(f"--lr {self.lr:g}", made, "" if ratio == 1 else ", in the preset's ratio")
        given = [item for item in assignments if item.strip().startswith("optim.")]
        return override(config, [*made, *given])

    def with_total_batch(self, config: "RunConfig", device: str, run: Path | None) -> "RunConfig":
        """The config with --total-batch, split to fit the memory of the device."""
        if self.total_batch is None:
            return config
        from limner.api.batching import split

        config, why = split(config, self.total_batch, device, run)
        parts = config.updates[0].accumulate
        made = [f"batch_size={config.batch_size}"]
        made += [f"updates.{i}.accumulate={parts}" for i in range(len(config.updates))]
        self._say(f"--total-batch {self.total_batch}", made, f", {why}")
        return config

    def _say(self, option: str, assignments: Sequence[str], why: str = "") -> None:
        self.said.append(f"{option} is --set {' --set '.join(assignments)}{why}")
