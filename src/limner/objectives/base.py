"""What a term is, and what it sees."""

from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn

from limner.core.config import Part
from limner.core.protocols import Scores


class Memory(dict[str, Tensor]):
    """Tensors that a part keeps between steps; the Trainer owns and saves them."""


@runtime_checkable
class Noise(Protocol):
    """Random numbers of one step: this rank's rows of a global batch, on the network's device."""

    def uniform(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Numbers in [0, 1); the first dimension of `shape` is the (local) batch."""
        ...

    def normal(self, purpose: str, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers; the first dimension of `shape` is the (local) batch."""
        ...


class Pass(Protocol):
    """One microbatch as one player sees it; everything is computed on first use and shared.

    Images are [N, C, H, W] in [-1, 1], labels None, int64 [N] or float rows [N, classes].
    """

    @property
    def nimg(self) -> int: ...

    @property
    def noise(self) -> Noise: ...

    @property
    def latents(self) -> Tensor: ...

    @property
    def styles(self) -> Tensor: ...

    @property
    def real(self) -> Tensor: ...

    @property
    def real_labels(self) -> Tensor | None: ...

    @property
    def fake(self) -> Tensor: ...

    @property
    def fake_labels(self) -> Tensor | None: ...

    @property
    def real_scores(self) -> Scores: ...

    @property
    def fake_scores(self) -> Scores: ...

    @property
    def real_logits(self) -> Tensor: ...

    @property
    def fake_logits(self) -> Tensor: ...

    def critic(self, images: Tensor, labels: Tensor | None) -> Scores:
        """One more forward of the discriminator, on any images."""
        ...


class Term(Part):
    """Marker of loss terms: frozen hyperparameters and a pure function of a pass.

    `reads` names what the term looks at: images ("real", "fake"), and the "styles" of generated
    ones. `real_grad` / `fake_grad` say that it differentiates with respect to the images: then the
    pass makes them require a gradient before the shared forward. A term returns a scalar, a mean
    over the microbatch.
    """

    table = "limner.objectives:TERMS"
    reads: ClassVar[tuple[str, ...]] = ("real", "fake")
    real_grad: ClassVar[bool] = False
    fake_grad: ClassVar[bool] = False

    def __call__(self, batch: Pass, memory: Memory) -> Tensor:
        raise NotImplementedError


class Direct(Part):
    """Marker of parts that add to the gradients of a player themselves, once an update."""

    table = "limner.objectives:DIRECTS"

    def __call__(self, network: nn.Module, memory: Memory) -> None:
        raise NotImplementedError
