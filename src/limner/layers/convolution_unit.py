"""Convolution, batch norm and activation of networks that others trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvolutionUnit(nn.Module):
    """Convolution, batch norm with running statistics, activation (in place).

    The parts are called `conv` and `bn`, as in the published files.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        activation: Callable[[Tensor], Tensor] = F.relu_,
        **options: Any,
    ):
        super().__init__()
        self.conv: Any = nn.Conv2d(in_channels, out_channels, kernel, bias=False, **options)
        self.bn: Any = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.bn(self.conv(x)))

    def fold(self) -> None:
        """The norm's scale and shift into the convolution's weights: a pass over memory less."""
        self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


def make_fast(network: nn.Module) -> None:
    """Evaluation mode, norms folded, weights in channels_last."""
    network.eval().requires_grad_(False)
    for module in list(network.modules()):
        if isinstance(module, ConvolutionUnit):
            module.fold()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
