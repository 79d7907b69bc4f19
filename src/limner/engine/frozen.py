"""Parts of the networks that training leaves as they are."""

from collections.abc import Mapping, Sequence

from torch import nn

from limner.core.config import nearest
from limner.core.errors import ConfigError
from limner.core.protocols import is_fixed

PLAYERS = {"generator": "g", "discriminator": "d"}


def frozen_parameters(
    patterns: Sequence[str], networks: Mapping[str, nn.Module]
) -> list[nn.Parameter]:
    """The parameters that a run's `frozen` names: no gradient is computed for them, and the
    optimizer passes them over. Buffers (running statistics, singular vectors) still move.

    Args:
        patterns: dotted names of modules or parameters, as "discriminator.blocks.0".
        networks: by player, "g" and "d".

    Raises:
        ConfigError: nothing has that name; names the nearest.
    """
    found: dict[nn.Parameter, None] = {}
    for pattern in patterns:
        place, _, name = pattern.partition(".")
        if place not in PLAYERS:
            raise ConfigError(f"frozen: '{pattern}' names no network{nearest(place, PLAYERS)}")
        own = dict(networks[PLAYERS[place]].named_parameters())
        chosen = [p for key, p in own.items() if not name or f"{key}.".startswith(f"{name}.")]
        if not chosen:
            raise ConfigError(f"frozen: the {place} has no '{name}'{nearest(name, _parts(own))}")
        found.update(dict.fromkeys(chosen))
    return list(found)


def first_layers(number: int, discriminator: nn.Module) -> list[nn.Parameter]:
    """The parameters of the first layers of a discriminator, in the order that it declares, see
    `NetworkConfig`. They are frozen as those of `frozen_parameters`.

    Raises:
        ConfigError: it declares no order, or fewer layers.
    """
    order = getattr(discriminator, "freeze_order", ())
    if number > len(order):
        name = type(discriminator).__name__
        raise ConfigError(
            f"freeze_d: {number} layers, and {name} has {len(order)}; give {len(order)} or less"
            if order
            else f"freeze_d: {name} declares no order of layers; give 0, and name some in frozen"
        )
    return frozen_parameters([f"discriminator.{n}" for n in order[:number]], {"d": discriminator})


def fixed_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters of the parts that a network declares as frozen."""
    return [p for name, p in network.named_parameters() if is_fixed(network, name)]


def _parts(names: Mapping[str, nn.Parameter]) -> set[str]:
    """All modules that hold parameters, and the parameters."""
    words = [name.split(".") for name in names]
    return {".".join(parts[:i]) for parts in words for i in range(1, len(parts) + 1)}
