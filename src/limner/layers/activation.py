"""Bias, activation, gain and clamp in one: what stands behind most layers of style networks."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor


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
