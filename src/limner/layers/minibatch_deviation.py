"""How much the images of a group differ, as one more feature map."""

import torch
from jaxtyping import Float
from torch import Tensor

from limner.layers.precision import at_least_single


def group_size_of(batch: int, largest: int | None) -> int:
    """Images that are compared with each other: the largest divisor of the batch up to `largest`;
    None: all of them.

    A group of one would see no difference, so where only 1 divides (a batch of 7, groups of up to
    4) it is the next larger divisor. Karras et al. need batches that min(batch, largest) divides,
    and there the size is theirs.
    """
    if largest is None:
        return batch
    divisors = [size for size in range(2, batch + 1) if batch % size == 0]
    fitting = [size for size in divisors if size <= largest]
    return max(fitting, default=min(divisors, default=1))


def minibatch_deviation(
    x: Float[Tensor, "n c h w"], largest: int | None = 4, eps: float = 1e-8, features: int = 1
) -> Float[Tensor, "n c+{features} h w"]:
    """x and `features` maps more: the standard deviation in a group, averaged over positions and
    over that many equal parts of the maps.

    Image n is in group n mod M of M groups (Karras et al. 2018, section 3, and its code; parts of
    the maps as in NVlabs/stylegan2-ada-pytorch). The deviation is sqrt(biased variance + eps), in
    single precision at least.
    """
    num, _, height, width = x.shape
    groups = at_least_single(x).unflatten(0, (group_size_of(num, largest), -1))
    variance = (groups - groups.mean(0)).square().mean(0)
    parts = (variance + eps).sqrt().unflatten(1, (features, -1))
    deviation = parts.mean((2, 3, 4)).to(x.dtype)
    maps = deviation.repeat(num // len(deviation), 1)[:, :, None, None]
    return torch.cat([x, maps.expand(-1, -1, height, width)], dim=1)
