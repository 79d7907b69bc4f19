"""How large a config's networks are, and what training them holds in memory."""

from dataclasses import dataclass

from limner.core.protocols import NetworkConfig, without_frozen
from limner.core.undrawn import without_memory
from limner.engine import RunConfig
from limner.engine.controllers import Ema

USUAL_CHANNELS, USUAL_CLASSES = 3, 10  # where the data decide, and the config expects none


@dataclass(frozen=True)
class Sizes:
    """Of one config, for an image shape (C, H, W) and a number of classes.

    Attributes:
        num_generator, num_discriminator: their parameters.
        memory: bytes, see `memory_bytes`; activations come on top.
        assumed: which of channels and classes the data will decide: "3 channels", "10 classes".
    """

    num_generator: int
    num_discriminator: int
    memory: int
    image_shape: tuple[int, int, int]
    num_classes: int
    assumed: tuple[str, ...]


def sizes_of(config: RunConfig) -> Sizes:
    """Count both players, without memory for their weights.

    Where the config leaves channels or classes to the data, they are assumed: 3 channels, and as
    many classes as `data.expected_classes` says, or 10.

    Examples:
        >>> sizes = limner.sizes_of(limner.load_config("digits"))
        >>> sizes.image_shape, f"{sizes.memory / 1e6:.1f} MB"
        ((3, 32, 32), '...')
    """
    channels = config.data.channels or USUAL_CHANNELS
    num_classes = config.num_classes
    if num_classes is None:
        expected = config.data.expected_classes
        num_classes = USUAL_CLASSES if expected is None else expected
        num_classes = 0 if config.data.labels == "none" else num_classes
        if config.data.max_label_size is not None:
            num_classes = min(num_classes, config.data.max_label_size)
    shape = (channels, *config.data.size)
    num_generator = num_parameters(config.generator, shape, num_classes)
    num_discriminator = num_parameters(config.discriminator, shape, num_classes)
    assumed = [f"{channels} channels"] if config.data.channels is None else []
    if config.num_classes is None and num_classes > 1:
        assumed.append(f"{num_classes:,} classes")
    memory = memory_bytes(config, num_generator, num_discriminator)
    return Sizes(num_generator, num_discriminator, memory, shape, num_classes, tuple(assumed))


def num_parameters(
    network: NetworkConfig, image_shape: tuple[int, int, int], num_classes: int
) -> int:
    """Of a network for images (C, H, W), built without memory for its weights; those that it
    declares as frozen, which are not trained, do not count."""
    with without_memory():
        module = network.build(image_shape, num_classes)
    trained = without_frozen(module, module.named_parameters())
    return sum(parameter.numel() for parameter in trained.values())


def memory_bytes(config: RunConfig, num_generator: int, num_discriminator: int) -> int:
    """Weights, gradients and Adam's two moments of both players, and the generator's average."""
    averages = sum(isinstance(part, Ema) for part in config.controllers)
    bytes_each = 8 if config.precision == "float64" else 4
    return bytes_each * (4 * (num_generator + num_discriminator) + averages * num_generator)
