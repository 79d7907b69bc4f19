"""Batch normalization whose scale and shift come from a condition."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limner.layers.cross_replica_batch_norm import cross_replica_batch_norm


class PlainBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization in the place of a conditional one: the condition is ignored."""

    def forward(
        self, input: Float[Tensor, "n c h w"], condition: Shaped[Tensor, "n ..."] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """The normalized input."""
        return super().forward(input)


class Scale2d(nn.Module):
    """x * weight + bias per channel: what a batch norm leaves when it does not normalize."""

    def __init__(self, num_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(
        self, x: Float[Tensor, "n c h w"], condition: Shaped[Tensor, "n ..."] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """The condition is ignored."""
        return torch.addcmul(self.bias[:, None, None], x, self.weight[:, None, None])


class ConditionalBatchNorm2d(nn.Module):
    """BN(x) * (1 + gain(y)) + bias(y), per sample and channel (de Vries et al. 2017; BigGAN).

    `gain` and `bias` are modules from the condition y to [n, c]: a ClassTable on labels, or a
    linear layer on a shared embedding. Running statistics store the unbiased variance, as torch's
    own layer does. With `normalize=False` only the scale and shift remain, which leaves every
    sample independent of its batch. With `cross_replica=True` the batch is that of all processes.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        num_channels: int,
        gain: nn.Module,
        bias: nn.Module,
        eps: float = 1e-5,
        momentum: float = 0.1,
        normalize: bool = True,
        cross_replica: bool = False,
    ):
        super().__init__()
        self.cross_replica = cross_replica
        self.gain, self.bias = gain, bias
        self.eps, self.momentum, self.normalize = eps, momentum, normalize
        if normalize:
            self.register_buffer("running_mean", torch.zeros(num_channels))
            self.register_buffer("running_var", torch.ones(num_channels))

    def forward(
        self, x: Float[Tensor, "n c h w"], condition: Shaped[Tensor, "n ..."]
    ) -> Float[Tensor, "n c h w"]:
        """The condition is what `gain` and `bias` take."""
        if self.normalize:
            batch_norm = cross_replica_batch_norm if self.cross_replica else F.batch_norm
            x = batch_norm(
                x,
                self.running_mean,
                self.running_var,
                training=self.training,
                momentum=self.momentum,
                eps=self.eps,
            )
        gain, bias = self.gain(condition), self.bias(condition)
        return torch.addcmul(bias[:, :, None, None], x, 1.0 + gain[:, :, None, None])
