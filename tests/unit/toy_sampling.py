"""A small conditional generator whose images show its latent and label, for the sampling tests."""

import torch
from torch import nn

from limner.checkpoints import ModelConfig
from limner.core.config import Config
from limner.core.protocols import NetworkConfig
from limner.sampling import Model


class ToyGenerator(nn.Module):
    """Batch norm, dropout and drawn noise: everything that eval mode and random state can touch."""

    def __init__(self, image_shape, num_classes, z_dim):
        super().__init__()
        self.z_dim, self.image_shape, self.num_classes = z_dim, image_shape, num_classes
        channels, height, width = image_shape
        self.linear = nn.Linear(z_dim, channels * height * width)
        self.norm = nn.BatchNorm1d(channels * height * width)
        self.drop = nn.Dropout(0.5)
        self.embed = nn.Linear(num_classes, channels * height * width) if num_classes else None

    def forward(self, z, y=None):
        torch.rand(1)  # a network may draw noise even in eval mode
        h = self.drop(self.norm(self.linear(z)))
        if self.embed is not None:
            rows = y if y.is_floating_point() else torch.eye(self.num_classes)[y]
            h = h + self.embed(rows)
        return torch.tanh(h).view(-1, *self.image_shape) * 1.2


class ToyNetwork(Config, NetworkConfig, frozen=True):
    z_dim: int = 6

    def build(self, image_shape, num_classes):
        return ToyGenerator(image_shape, num_classes, self.z_dim)


def toy_generator(num_classes=0, image_shape=(3, 8, 8)) -> ToyGenerator:
    torch.manual_seed(5)
    generator = ToyGenerator(image_shape, num_classes, 6)
    generator(
        torch.randn(32, 6), torch.zeros(32, dtype=torch.int64)
    )  # moves the running statistics
    return generator


def toy_description(num_classes=0, image_shape=(3, 8, 8)) -> ModelConfig:
    names = tuple(f"kind {i}" for i in range(num_classes))
    return ModelConfig(
        generator=ToyNetwork(),
        image_shape=image_shape,
        num_classes=num_classes,
        class_names=names,
    )


def toy_model(num_classes=0, image_shape=(3, 8, 8)) -> Model:
    return Model(toy_description(num_classes, image_shape), toy_generator(num_classes, image_shape))
