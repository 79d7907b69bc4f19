"""The players' optimizers, and what loading their state needs."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from limner.engine.config import Adam


def adam(network: nn.Module, config: Adam) -> torch.optim.Adam:
    """The optimizer of a player's weights."""
    return torch.optim.Adam(
        network.parameters(), lr=config.lr, betas=config.betas, eps=config.eps, fused=True
    )


def lay_out(optimizer: Optimizer) -> None:
    """Give loaded moments their parameter's memory format: fused Adam pairs both by storage order,
    and a saved tensor comes back contiguous where its parameter may be channels_last."""
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
