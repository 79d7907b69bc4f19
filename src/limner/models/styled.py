"""What generators of styles share: the half before the images."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from limner.core import distributed
from limner.core.protocols import Labels, LayerNoise
from limner.layers.mapping import MappingNetwork
from limner.models.common import check_latents


class StyledNetwork(nn.Module):
    """A generator with the fields z_dim, w_dim, num_mapping, mapping_rate and mean_style_decay; see
    core.protocols.StyleGenerator. A kind's `__init__` makes the layers of `synthesis`, and then the
    mapping.

    mean_style: running mean [w_dim] of the styles that training mode has seen.
    """

    mean_style: Tensor

    def __init__(self, config: Any):
        super().__init__()
        self.z_dim, self.config = config.z_dim, config

    def add_mapping(self, num_classes: int, num_styles: int) -> None:
        """Last of all parts, whose order is that of the optimizer's."""
        config = self.config
        self.num_styles = num_styles
        self.mapper = MappingNetwork(
            config.z_dim, num_classes, config.w_dim, config.num_mapping, config.mapping_rate
        )
        self.register_buffer("mean_style", torch.zeros(config.w_dim))

    def mapping(
        self, z: Float[Tensor, "n z"], y: Labels | None = None, update_statistics: bool = True
    ) -> Float[Tensor, "n layers w_dim"]:
        """Styles, the same for every layer; in training mode the running mean moves, by the mean
        over all processes (the original keeps one a process)."""
        check_latents(z, self.z_dim)
        w = self.mapper(z, y)
        if self.training and update_statistics:
            with torch.no_grad():
                mean = distributed.average(w.mean(0).to(self.mean_style.dtype))
                self.mean_style.copy_(mean.lerp(self.mean_style, self.config.mean_style_decay))
        return w[:, None].repeat(1, self.num_styles, 1)

    def synthesis(
        self,
        styles: Float[Tensor, "n layers w_dim"],
        update_statistics: bool = True,
        noise: LayerNoise = "random",
    ) -> Float[Tensor, "n c h w"]:
        """Images from styles."""
        raise NotImplementedError

    def forward(
        self,
        z: Float[Tensor, "n z"],
        y: Labels | None = None,
        update_statistics: bool = True,
        noise: LayerNoise = "random",
    ) -> Float[Tensor, "n c h w"]:
        styles = self.mapping(z, y, update_statistics)
        return self.synthesis(styles, update_statistics, noise)
