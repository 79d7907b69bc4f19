"""What the rooms agree on about networks."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

from limner.core.config import Part

Of = TypeVar("Of")

# Classes of n images: integers, or rows of weights (one-hot, or soft) that may mix classes.
Labels = Int[Tensor, " n"] | Float[Tensor, "n classes"]

# The noise that layers of a synthesis add: maps drawn anew from torch's generator, those stored
# with the layers, or nothing.
NoiseMode = Literal["random", "const", "none"]
# Or a function that is asked once a layer, in their order: (n, 1, height, width) -> such maps.
LayerNoise = NoiseMode | Callable[[tuple[int, int, int, int]], Float[Tensor, "n 1 h w"]]


class Scores(NamedTuple):
    """What a discriminator returns: logits, one an image or [n, k] of k places, and, with an
    auxiliary classifier, those of classes."""

    logits: Float[Tensor, " n"] | Float[Tensor, "n k"]
    class_logits: Float[Tensor, "n classes"] | None = None


@runtime_checkable
class Generator(Protocol):
    """From latents, and labels if there are classes, to images nominally in [-1, 1]."""

    z_dim: int

    def __call__(
        self, z: Float[Tensor, "n z"], y: Labels | None = None
    ) -> Float[Tensor, "n c h w"]: ...


@runtime_checkable
class StyleGenerator(Protocol):
    """A generator in two halves, whose forward is synthesis(mapping(z, y)). Both take
    `update_statistics=False` and then leave running statistics as they are.

    It also has the buffer `mean_style` [w], see `mean_style_of`: the running mean of the styles.
    """

    z_dim: int

    def mapping(
        self, z: Float[Tensor, "n z"], y: Labels | None = None, update_statistics: bool = True
    ) -> Float[Tensor, "n layers w_dim"]:
        """Styles, a row for each layer that reads one."""
        ...

    def synthesis(
        self,
        styles: Float[Tensor, "n layers w_dim"],
        update_statistics: bool = True,
        noise: LayerNoise = "random",
    ) -> Float[Tensor, "n c h w"]:
        """Images nominally in [-1, 1] from styles."""
        ...


def frozen_parts(network: nn.Module) -> tuple[str, ...]:
    """The submodules that a network declares as fixed (`frozen_parts = ("features",)`), as one that
    was trained elsewhere: they get no gradient, no optimizer and no place in a checkpoint."""
    return tuple(getattr(network, "frozen_parts", ()))


def is_fixed(network: nn.Module, name: str) -> bool:
    """Whether a parameter or buffer belongs to the frozen parts of its network."""
    return any(name.startswith(f"{part}.") for part in frozen_parts(network))


def without_frozen(network: nn.Module, named: Iterable[tuple[str, Of]]) -> dict[str, Of]:
    """Of what belongs to names of a network's parameters or buffers, that of its own parts."""
    return {name: each for name, each in named if not is_fixed(network, name)}


def z_dim_of(generator: nn.Module) -> int:
    """The width of a generator's latents, from the attribute that every generator has."""
    z_dim = generator.z_dim
    assert isinstance(z_dim, int), "a generator's module has the attribute z_dim"
    return z_dim


def mean_style_of(generator: nn.Module) -> Float[Tensor, " w_dim"]:
    """The running mean of a style generator's styles."""
    # No member of the protocol: from Python 3.12 on isinstance does not see a module's buffers.
    mean_style = generator.mean_style
    assert isinstance(mean_style, Tensor), "a generator of styles has the buffer mean_style"
    return mean_style


class NetworkConfig(Part):
    """Marker of network configs. Image shape and number of classes come from the data, never
    from the config, so that a preset fits any data set.

    `build(image_shape, num_classes)` takes (channels, height, width) and the number of classes
    (0: unconditional) and returns an initialized module. A generator's module has the attribute
    `z_dim` and the forward of `Generator`; a discriminator's forward(x [N, C, H, W], y) returns
    `Scores`. A generator of styles also keeps to `StyleGenerator`; a network with parts that were
    trained elsewhere names them, see `frozen_parts`. A discriminator may name its layers in the
    order in which fine-tuning freezes them, from the images on (`freeze_order`, a tuple of dotted
    names of modules).
    """

    table = "limner.models:NETWORKS"

    def build(self, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """A new module on the CPU (or the surrounding device context), freshly initialized."""
        raise NotImplementedError
