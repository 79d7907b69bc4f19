"""Feature vectors of unit length, position by position."""

import torch
from jaxtyping import Float
from torch import Tensor

from limner.layers.precision import at_least_single


def pixel_norm(
    x: Float[Tensor, "n c ..."], eps: float = 1e-8, outside: bool = False
) -> Float[Tensor, "n c ..."]:
    """x / sqrt(mean over channels of x^2 + eps) (Karras et al. 2018, section 4.2).

    outside: x / (sqrt(mean of x^2) + eps), as MMGeneration has it.
    """
    if torch.is_inference_mode_enabled():  # one pass over x; its derivatives at 0 are none
        dtype = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=dtype)
        mean = norm.square() / x.shape[1]
    else:
        mean = at_least_single(x).square().mean(1, keepdim=True)
    scale = (mean.sqrt() + eps).reciprocal() if outside else mean.add(eps).rsqrt()
    return x * scale.to(x.dtype)
