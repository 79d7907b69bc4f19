"""Features of untrained convolutions, for data without labels.

They see noise, blur, shifts and few distinct images, but hardly a missing class (1.7 floors where a
classifier shows several), so they are a second opinion wherever labels exist.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limner.core.streams import stream
from limner.metrics.arrays import ImageSet
from limner.metrics.features.base import hash_of, in_batches, without_draws

NUM_NETWORKS = 3
WIDTHS = (16, 32, 32)


class RandomNetwork(nn.Module):
    """Convolutions with He's normal weights; the mean of each channel of each layer is a feature.

    Takes [N, C, H, W] in [-1, 1] and gives [N, D]. At most 8 x 8 pixels are left in the last.
    """

    def __init__(self, image_shape: tuple[int, int, int], generator: torch.Generator):
        super().__init__()
        channels, height, width = image_shape
        size = max(height, width)
        # above 64 pixels the first kernel grows with its stride, so that the cost does not
        stride = math.ceil(size / 64)
        self.layers = nn.ModuleList()
        for out in WIDTHS + WIDTHS[-1:] * (size > 32):
            kernel = 3 if stride <= 2 else 2 * stride + 1
            self.layers.append(without_draws(nn.Conv2d, channels, out, kernel, stride, kernel // 2))
            channels, stride = out, 2
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        rows = []
        for layer in self.layers:
            x = F.relu(layer(x))
            rows.append(x.mean(dim=(2, 3)))
        return torch.cat(rows, dim=1)


class RandomConv(nn.Module):
    """The extractor `random-conv`: three random networks side by side, from fixed seeds."""

    name = "random-conv"

    def __init__(self, data: ImageSet):
        super().__init__()
        self.networks = nn.ModuleList(
            RandomNetwork(data.image_shape, stream(seed, "random-conv"))
            for seed in range(NUM_NETWORKS)
        )
        self.requires_grad_(False)
        self.weights_sha256: str | None = hash_of(self.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([network(x) for network in self.networks], dim=1)

    def features(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] to float32 [N, 3 x the widths of the layers]."""
        return in_batches(self, images)
