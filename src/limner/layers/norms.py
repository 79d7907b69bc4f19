"""Normalization whose scale and shift are learned, or come from a condition."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from limner.layers.class_table import ClassTable, lookup
from limner.layers.cross_replica_batch_norm import cross_replica_batch_norm
from limner.layers.prepared import FixedLinear, fixed

NormKind = Literal["batch", "moments", "cross_replica", "instance", "group", "none"]

WITH_STATISTICS = ("batch", "moments", "cross_replica")


class Norm2d(nn.Module):
    """Normalizes [N, C, H, W], without scale and shift; the two classes below add them.

    kind: "batch": over the batch of this process; the running variance is the unbiased one, as
        torch's own layer has it. "moments": the same, but the running variance is the biased one
        (BigGAN-PyTorch's `mybn`), and standing statistics can be summed. "cross_replica": over
        the batch of all processes. "instance": each channel of each image. "group": groups of
        about `channels_per_group` channels of each image (Wu & He 2018). "none": nothing, which
        leaves every image independent of its batch.

    The first three have the buffers running_mean and running_var [C]; the others have none, and
    do the same in training and in evaluation.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    accumulation_counter: Tensor

    def __init__(
        self,
        num_channels: int,
        kind: NormKind = "batch",
        eps: float = 1e-5,
        channels_per_group: int = 16,
    ):
        super().__init__()
        self.kind: NormKind = kind
        self.eps, self.momentum = eps, 0.1
        self.num_groups = num_groups(num_channels, channels_per_group)
        self.standing = False
        if kind in WITH_STATISTICS:
            self.register_buffer("running_mean", torch.zeros(num_channels))
            self.register_buffer("running_var", torch.ones(num_channels))
        if kind == "moments":
            self.register_buffer("accumulation_counter", torch.zeros(1))
        if kind == "cross_replica":
            self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.long))

    def start_standing(self) -> None:
        """Sum the statistics of the training forwards from now on; evaluation takes their mean.

        For "moments" only. The buffers hold plain sums and their number, as BigGAN-PyTorch's do.
        """
        assert self.kind == "moments"
        self.standing = True
        for buffer in (self.running_mean, self.running_var, self.accumulation_counter):
            buffer.zero_()

    def statistics(self) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Mean and variance of evaluation, of a kind that has them."""
        count = self.accumulation_counter if self.standing else 1.0
        return self.running_mean / count, self.running_var / count

    def normalize(
        self, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """(x - mean) / sqrt(var + eps), then * weight + bias [C] where they are given."""
        if self.kind in ("batch", "cross_replica"):
            return self._by_batch(x, weight, bias)
        if self.kind == "moments":
            return self._by_moments(x, weight, bias)
        if self.kind == "instance":
            return F.group_norm(x, x.shape[1], weight, bias, self.eps)
        if self.kind == "group":
            return F.group_norm(x, self.num_groups, weight, bias, self.eps)
        if weight is None or bias is None:
            return x
        return torch.addcmul(bias[:, None, None], x, weight[:, None, None])

    def _by_batch(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if self.kind == "cross_replica" and self.training:
            self.num_batches_tracked.add_(1)
        batch_norm = F.batch_norm if self.kind == "batch" else cross_replica_batch_norm
        options = {"training": self.training, "momentum": self.momentum, "eps": self.eps}
        return batch_norm(
            x, self.running_mean, self.running_var, weight=weight, bias=bias, **options
        )

    def _by_moments(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if not self.training:
            mean, var = self.statistics()
            return F.batch_norm(x, mean, var, weight, bias, eps=self.eps)
        # Momentum 1 leaves this batch's own moments in the two vectors.
        mean, unbiased = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        out = F.batch_norm(
            x, mean, unbiased, weight, bias, training=True, momentum=1.0, eps=self.eps
        )
        count = x.numel() // x.shape[1]
        self._store(mean, unbiased * ((count - 1) / count))
        return out

    @torch.no_grad()
    def _store(self, mean: Tensor, var: Tensor) -> None:
        if self.standing:
            self.running_mean.add_(mean)
            self.running_var.add_(var)
            self.accumulation_counter.add_(1.0)
        else:
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)


def num_groups(num_channels: int, channels_per_group: int) -> int:
    """The most groups of at least `channels_per_group` channels that divide them evenly; or 1."""
    groups = max(num_channels // channels_per_group, 1)
    while num_channels % groups:
        groups -= 1
    return groups


class PlainNorm2d(Norm2d):
    """Learned scale and shift of the channels; in the place of a conditional layer, whose condition
    it ignores."""

    conditioned = ("weight", "bias")  # what a conditional one has another form of

    def __init__(
        self,
        num_channels: int,
        kind: NormKind = "batch",
        eps: float = 1e-5,
        channels_per_group: int = 16,
    ):
        super().__init__(num_channels, kind, eps, channels_per_group)
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(
        self, x: Float[Tensor, "n c h w"], condition: Shaped[Tensor, "n ..."] | None = None
    ) -> Float[Tensor, "n c h w"]:
        return self.normalize(x, self.weight, self.bias)


class ConditionalNorm2d(Norm2d):
    """norm(x) * (center + gain(y)) + bias(y), per image and channel (de Vries et al. 2017; BigGAN).

    `gain` and `bias` are modules from the condition y to [n, c]: a ClassTable on labels, or a
    linear layer on a shared embedding (and a part of the latent vector).
    """

    conditioned = ("gain", "bias")

    def __init__(
        self,
        num_channels: int,
        gain: nn.Module,
        bias: nn.Module,
        kind: NormKind = "batch",
        eps: float = 1e-5,
        channels_per_group: int = 16,
        center: float = 1.0,
    ):
        super().__init__(num_channels, kind, eps, channels_per_group)
        self.gain, self.bias, self.center = gain, bias, center

    def forward(
        self, x: Float[Tensor, "n c h w"], condition: Shaped[Tensor, "n ..."]
    ) -> Float[Tensor, "n c h w"]:
        x = self.normalize(x)
        # Under autocast a table gives float32: without the cast the whole image would become that.
        gain = self.gain(condition).to(x.dtype)[:, :, None, None]
        bias = self.bias(condition).to(x.dtype)[:, :, None, None]
        return torch.addcmul(bias, x, self.center + gain)

    def prepare(self) -> nn.Module:
        gain, bias = table_of(self.gain), table_of(self.bias)
        return self if gain is None or bias is None else FixedNorm2d(self, gain, bias)


def table_of(layer: nn.Module) -> Float[Tensor, "rows c"] | None:
    """What a linear layer without bias, or a table of classes, multiplies rows by; others: None."""
    if isinstance(layer, ClassTable):
        return layer.weight
    if isinstance(layer, (nn.Linear, FixedLinear)) and layer.bias is None:
        return layer.weight.T
    return None


class FixedNorm2d(nn.Module):
    """A ConditionalNorm2d whose tensors stay as they are: what it does to an image of running
    statistics is one scale and shift, and these are one product with the condition."""

    def __init__(
        self,
        norm: ConditionalNorm2d,
        gain: Float[Tensor, "rows c"],
        bias: Float[Tensor, "rows c"],
    ):
        super().__init__()
        scale, shift = torch.ones_like(gain[0]), torch.zeros_like(gain[0])
        self.normalize = norm.normalize
        if norm.kind in WITH_STATISTICS:
            mean, var = norm.statistics()
            scale = torch.rsqrt(var + norm.eps)
            shift = -mean * scale
            self.normalize = None
        # x * scale + shift, and that * (center + gain) + bias
        self.table = fixed(torch.cat([gain * scale, gain * shift + bias], dim=1))
        self.constant = fixed(torch.cat([scale, shift]) * norm.center)

    def forward(
        self, x: Float[Tensor, "n c h w"], condition: Shaped[Tensor, "n ..."]
    ) -> Float[Tensor, "n c h w"]:
        x = x if self.normalize is None else self.normalize(x)
        rows = (lookup(condition, self.table) + self.constant).to(x.dtype)
        scale, shift = rows[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(shift, x, scale)
