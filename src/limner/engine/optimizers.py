"""The players' optimizers, and what loading their state needs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limner.core.errors import ConfigError
from limner.core.protocols import without_frozen
from limner.engine.config import Adam


def adam(network: nn.Module, config: Adam) -> torch.optim.Adam:
    """The optimizer of a player's weights, but for those of parts that it declares as frozen."""
    trained = without_frozen(network, network.named_parameters()).values()
    return torch.optim.Adam(trained, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Give a player's weights a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def require_rate(optimizer: Optimizer, rate: float | None) -> None:
    """Refuse a rate that somebody else has set: it would be undone, for rates are a product.

    Raises:
        ConfigError: names the remedy.
    """
    if rate is not None and optimizer.param_groups[0]["lr"] != rate:
        raise ConfigError(
            "controllers: one of them sets a learning rate in the optimizer; give it a method "
            "rate(trainer, player, memory) that returns a factor, and leave the optimizer alone"
        )


def load_moments(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Take up what `state_dict` gave. Rates, betas and the like stay those of this optimizer: they
    follow from the config and the clock."""
    settings = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
    # Fused Adam pairs moment and parameter by storage order, and a saved tensor comes back
    # contiguous where its parameter may be channels_last.
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
