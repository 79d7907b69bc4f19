"""What a step's passes showed, kept for whoever looks; nothing here runs a network."""

from typing import NamedTuple

from torch import Tensor

from limner.core.devices import widest
from limner.core.protocols import Scores
from limner.engine.passes import Pass
from limner.engine.progress import Meters


class Seen(NamedTuple):
    """One micro-batch of the update at hand; `shown` holds its tensors by name, in their order."""

    indices: Tensor
    loss: Tensor
    shown: dict[str, Tensor]


class Watch:
    """Keeps the newest pictures and answers of a step; at most one batch of each side.

    Attributes:
        batches: the micro-batches of the update at hand; only the newest keeps its tensors.
        newest: "real" and "fake" -> (pictures [N, C, H, W], labels [N] or None).
    """

    def __init__(self) -> None:
        self.batches: list[Seen] = []
        self.newest: dict[str, tuple[Tensor, Tensor | None]] = {}

    def begin_step(self) -> None:
        """Forget the last step, so that what is seen does not depend on where a run resumed."""
        self.newest = {}

    def begin_update(self) -> None:
        """A new update begins."""
        self.batches = []

    def see(self, batch: Pass, indices: Tensor, loss: Tensor, terms: dict[str, Tensor]) -> None:
        """Take note of a micro-batch whose gradients have been taken."""
        values = vars(batch)
        fake, real = answers(batch)
        shown = {
            "the real pictures": values.get("real"),
            "the latents": values.get("latents"),
            "the generated pictures": values.get("fake"),
            "the answers to real pictures": real,
            "the answers to generated pictures": fake,
            **{f"the loss {name}": value for name, value in terms.items()},
        }
        self.batches = [seen._replace(shown={}) for seen in self.batches]
        present = {name: value.detach() for name, value in shown.items() if value is not None}
        self.batches.append(Seen(indices, loss, present))
        for side, labels in (("real", "real_labels"), ("fake", "fake_labels")):
            if values.get(side) is not None:
                self.newest[side] = (values[side].detach(), getattr(batch, labels))

    def count(self, player: str, batch: Pass, meters: Meters) -> None:
        """Mean answers, and how many of them bear the right sign while the discriminator learns."""
        for side, logits, sign in zip(("fake", "real"), answers(batch), (-1, 1), strict=True):
            if logits is not None:
                meters.add(f"{side}_logits", logits.mean())
                if player == "d":
                    meters.add(
                        f"signs_{side}", (logits * sign > 0).to(widest(logits.device)).mean()
                    )


def answers(batch: object) -> tuple[Tensor | None, Tensor | None]:
    """Logits of (fake, real), of those that a term asked for."""
    values = vars(batch)
    pair: tuple[Scores | None, Scores | None] = values.get("_pair") or (
        values.get("fake_scores"),
        values.get("real_scores"),
    )
    fake, real = (None if scores is None else scores.logits.detach() for scores in pair)
    return fake, real
