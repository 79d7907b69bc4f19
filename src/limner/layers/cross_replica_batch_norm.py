"""Batch normalization over the images of all processes, on any backend of torch.distributed."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limner.core import distributed
from limner.layers.gathering import gathered


def cross_replica_batch_norm(
    x: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    momentum: float,
    eps: float,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """F.batch_norm whose batch is that of all processes together.

    The processes' moments are gathered and joined by the pairwise formula of Chan et al. (1979),
    so every process computes the same bits and a large mean costs no precision. Differentiable any
    number of times; in training every process must call it, and its gradients, in the same order.
    In evaluation no process waits for another.

    Args:
        x: [N, C, H, W]; N may differ between processes.
        running_mean, running_var: [C], updated in training; the variance is the unbiased one of
            the global batch.
        training: take the batch's statistics, not the running ones.
        weight, bias: [C], scale and shift of the channels; none without.
    """
    if not training or distributed.world_size() == 1:
        return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    mean, var, count = global_moments(x)
    with torch.no_grad():
        unbiased = var * (count / (count - 1).clamp(min=1))
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    scale = torch.rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    # Keeps the input and two vectors for backward, as torch's own layer does.
    wide = x.to(scale.dtype)  # of lower precision, the result alone is rounded
    return torch.addcmul(shift[:, None, None], wide, scale[:, None, None]).to(x.dtype)


def global_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C], biased variance [C] and number of values a channel [] over all processes."""
    wide = x if x.dtype == torch.float64 else x.float()
    own_var, own_mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
    own_count = own_mean.new_tensor([x.numel() // x.shape[1]])
    rows = gathered(torch.cat([own_mean, own_var, own_count]))
    means, variances, counts = rows.split([x.shape[1], x.shape[1], 1], dim=1)
    count = counts.sum().detach()
    shares = counts.detach() / count
    mean = (shares * means).sum(0)
    var = (shares * (variances + (means - mean).square())).sum(0)
    return mean, var, count


class CrossReplicaBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d over all processes' images; the same parameters, buffers and names.

    With one process it is nn.BatchNorm2d, bit for bit. A condition is ignored, so that it can
    stand in the place of a conditional layer.
    """

    # what it has in the place of a conditional layer's gain and bias; see checkpoints.refill
    conditioned = ("weight", "bias", "num_batches_tracked")

    def forward(self, input: Tensor, condition: Tensor | None = None) -> Tensor:
        if not self.training or distributed.world_size() == 1:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        statistics = self.running_mean, self.running_var, True, self.momentum, self.eps
        return cross_replica_batch_norm(input, *statistics, self.weight, self.bias)
