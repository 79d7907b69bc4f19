"""Bias, activation, gain and clamp in one: what stands behind most layers of style networks."""

import math
from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SLOPE = 0.2  # of every leaky relu in style networks
LEAKY_GAIN = math.sqrt(2.0)  # behind each of them


def biased_activation(
    x: Float[Tensor, "n c ..."],
    bias: Float[Tensor, " c"] | None,
    activation: Callable[[Tensor], Tensor],
    gain: float = 1.0,
    clamp: float | None = None,
) -> Float[Tensor, "n c ..."]:
    """gain * activation(x + bias), clamped to [-clamp, clamp].

    A leaky relu commutes with its gain, so layers rather have the gain in their weights and bias.
    """
    if bias is not None:
        x = x + bias.to(x.dtype).view(-1, *[1] * (x.ndim - 2))
    x = activation(x)
    x = x if gain == 1.0 else x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def leaky(x: Float[Tensor, "n c ..."], clamp: float | None = None) -> Float[Tensor, "n c ..."]:
    """Leaky relu, its gain being in x already, and the clamp."""
    return biased_activation(x, None, lambda x: F.leaky_relu(x, SLOPE), clamp=clamp)
