"""How strongly images are augmented, from how far the discriminator overfits."""

import torch

from limner.core import distributed
from limner.core.config import Config
from limner.core.devices import widest
from limner.core.errors import ConfigError, nearest
from limner.core.ranges import Positive, PositiveInt
from limner.engine.controllers.base import Controller, TrainerView
from limner.engine.naming import numbered
from limner.engine.watch import answers
from limner.objectives.base import Memory, Pass


class AdaptP(Config, Controller, frozen=True, kw_only=True):
    """Moves an augment's p so that the mean sign r of the discriminator's answers to real images
    stays at a target (Karras et al. 2020, "Training GANs with limited data", section 3.1): up while
    it is surer of them than that, else down, never below 0.

    r is over all answers that the discriminator's updates of the last `every` steps asked for, lazy
    ones too, and over all processes.

    Attributes:
        target: of r, from -1 to 1; 0 stands for a discriminator that cannot tell.
        every: steps between two moves.
        kimg: thousands of real images in which p moves by 1 (100 for a network that is fine-tuned).
        augment: whose p it moves, as the log calls it without "augment."; p starts where the
            augment says.
    """

    target: float = 0.6
    every: PositiveInt = 4
    kimg: Positive = 500.0
    augment: str = "AdaPipe"

    def begin(self, trainer: TrainerView, memory: Memory) -> None:
        augments = trainer.config.augments
        named = dict(zip(numbered(type(a).__name__ for a in augments), augments, strict=True))
        if self.augment not in named:
            raise ConfigError(
                f"controllers: AdaptP moves p of '{self.augment}', which is no augment of this run"
                f"{nearest(self.augment, named)}; give one, or leave AdaptP out"
            )
        p = getattr(named[self.augment], "p", None)
        if not isinstance(p, float):
            raise ConfigError(
                f"controllers: AdaptP moves a p that starts as a number, and that of "
                f"{self.augment} is {p}; give a number, or leave AdaptP out"
            )
        self._moved(trainer).setdefault("p", torch.tensor(p, dtype=torch.float64))

    def before_step(self, trainer: TrainerView, memory: Memory) -> None:
        memory.setdefault("nimg", torch.tensor(trainer.progress.nimg))

    def after_pass(self, trainer: TrainerView, player: str, batch: Pass, memory: Memory) -> None:
        real = answers(batch)[1]
        if player == "d" and real is not None:
            signs = real.sign().to(widest(real.device))
            counted = torch.stack([signs.sum(), torch.full_like(signs.sum(), signs.numel())])
            before = memory.get("signs")
            memory["signs"] = counted if before is None else counted + before.to(counted.device)

    def after_step(self, trainer: TrainerView, memory: Memory) -> None:
        progress = trainer.progress
        if progress.step % self.every:
            return
        counted = memory.pop("signs", torch.zeros(2)).cpu()
        signs, count = distributed.summed(counted).tolist()
        images = progress.nimg - int(memory["nimg"])
        memory["nimg"] = torch.tensor(progress.nimg)
        if not count:
            return
        memory["r"] = torch.tensor(signs / count, dtype=torch.float64)
        over = (signs / count > self.target) - (signs / count < self.target)
        moved = self._moved(trainer)
        p = max(0.0, float(moved["p"]) + over * images / (self.kimg * 1000))
        moved["p"] = torch.tensor(p, dtype=torch.float64)

    def figures(self, trainer: TrainerView, memory: Memory) -> dict[str, float]:
        p = {"augment_p": float(self._moved(trainer)["p"])}
        return p | ({"mean_sign": float(memory["r"])} if "r" in memory else {})

    def _moved(self, trainer: TrainerView) -> Memory:
        return trainer.memory(f"augment.{self.augment}")
