"""A small generator of styles, conditional or not, whose images show all that can be asked of it:
latent, label, style of each layer, and noise."""

import torch
from torch import nn

from limner.checkpoints import ModelConfig
from limner.core.config import Config
from limner.core.protocols import NetworkConfig
from limner.sampling import Model

Z, W, LAYERS = 6, 5, 3


class StyledNetwork(nn.Module):
    """The mapping looks at a latent's direction alone; each layer scales channels by its style and
    adds noise."""

    def __init__(self, image_shape, num_classes, noise_strength=0.3):
        super().__init__()
        self.z_dim, self.num_classes, self.noise_strength = Z, num_classes, noise_strength
        channels, height, width = image_shape
        self.to_style = nn.Linear(Z, W)
        self.embed = nn.Linear(num_classes, W) if num_classes else None
        self.constant = nn.Parameter(torch.randn(W, height, width))
        self.layers = nn.ModuleList(nn.Linear(W, W) for _ in range(LAYERS))
        self.last = nn.Conv2d(W, channels, 1)
        self.register_buffer("mean_style", torch.randn(W) / 4)
        self.register_buffer("maps", torch.randn(LAYERS, height, width))

    def mapping(self, z, y=None, update_statistics=True):
        h = self.to_style(z / z.square().mean(1, keepdim=True).sqrt())
        if self.embed is not None:
            rows = y if y.is_floating_point() else torch.eye(self.num_classes).to(h)[y]
            h = h + self.embed(rows)
        style = torch.tanh(h)
        if self.training and update_statistics:
            self.mean_style.lerp_(style.detach().mean(0), 0.1)
        return style[:, None].repeat(1, LAYERS, 1)

    def synthesis(self, styles, update_statistics=True, noise="random"):
        h = self.constant.expand(len(styles), -1, -1, -1)
        shape = (len(styles), 1, *h.shape[2:])
        for i, layer in enumerate(self.layers):
            h = h * (1 + layer(styles[:, i]))[..., None, None]
            if callable(noise):
                h = h + self.noise_strength * noise(shape)
            elif noise != "none":
                drawn = torch.randn(shape) if noise == "random" else self.maps[i]
                h = h + self.noise_strength * drawn
            h = torch.tanh(h)
        return self.last(h)

    def forward(self, z, y=None):
        return self.synthesis(self.mapping(z, y))


class StyledGenerator(Config, NetworkConfig, frozen=True):
    noise_strength: float = 0.3

    def build(self, image_shape, num_classes):
        return StyledNetwork(image_shape, num_classes, self.noise_strength)


def styled_model(num_classes=0, image_shape=(3, 8, 8), noise_strength=0.3) -> Model:
    torch.manual_seed(3)
    config = ModelConfig(
        generator=StyledGenerator(noise_strength),
        image_shape=image_shape,
        num_classes=num_classes,
        class_names=tuple(f"kind {i}" for i in range(num_classes)),
    )
    network = config.generator.build(image_shape, num_classes)
    return Model(config, network.eval().requires_grad_(False))
