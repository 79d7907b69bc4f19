"""A module of one's own with a part of each kind, as text: what a user writes beside limner."""

MODULE = """
from pathlib import Path

import numpy as np
import torch
from torch import nn

from limner.core.config import Config
from limner.core.protocols import NetworkConfig, Scores
from limner.data import DataConfig, Item, Listing, Source
from limner.core.schedules import Schedule
from limner.objectives import R1, Direct, HingeG, Term
from limner.engine import Adam, Intervals, Players, RunConfig, Update
from limner.engine.controllers import Controller, Ema

with open(Path(__file__).with_suffix(".imported"), "a") as file:
    file.write("x")


class MyLoss(Config, Term, frozen=True):
    margin: float = 1.0

    def __call__(self, batch, memory):
        memory["calls"] = memory.get("calls", torch.zeros(())) + 1
        real = torch.relu(self.margin - batch.real_logits).mean()
        return real + torch.relu(self.margin + batch.fake_logits).mean()


class MyDirect(Config, Direct, frozen=True):
    decay: float = 0.01

    def __call__(self, network, memory):
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach(), alpha=self.decay)


class MySchedule(Config, Schedule, frozen=True):
    most: float = 1.0

    def __call__(self, nimg):
        return min(nimg / 8, self.most)


class MyController(Config, Controller, frozen=True):
    factor: float = 0.9

    def rate(self, trainer, player, memory):
        return self.factor ** (trainer.progress.step + 1) if player == "g" else 1.0


class MyGenerator(Config, NetworkConfig, frozen=True):
    z_dim: int = 3

    def build(self, image_shape, num_classes):
        network = Network(self.z_dim, image_shape)
        network.z_dim = self.z_dim
        return network


class Network(nn.Module):
    def __init__(self, z_dim, image_shape):
        super().__init__()
        self.image_shape = image_shape
        self.dense = nn.Linear(z_dim, int(np.prod(image_shape)))

    def forward(self, z, y=None):
        return torch.tanh(self.dense(z)).view(-1, *self.image_shape)


class MyDiscriminator(Config, NetworkConfig, frozen=True):
    def build(self, image_shape, num_classes):
        return Critic(image_shape)


class Critic(nn.Module):
    def __init__(self, image_shape):
        super().__init__()
        self.dense = nn.Linear(int(np.prod(image_shape)), 1)

    def forward(self, x, y=None):
        return Scores(self.dense(x.flatten(1)).squeeze(1))


class MySource(Config, Source, frozen=True):
    path: str = ""

    def listing(self, labels):
        images = np.frombuffer(Path(self.path).read_bytes(), np.uint8).reshape(-1, 4, 4)
        return Listing(Item(f"{i}", None, lambda i=i: images[i]) for i in range(len(images)))


def config():
    return RunConfig(
        name="mine",
        generator=MyGenerator(),
        discriminator=MyDiscriminator(),
        data=DataConfig(resolution=4, channels=1, labels="none", source=MySource()),
        updates=(
            Update(player="d", terms=(MyLoss(margin=0.5), R1(gamma=MySchedule()))),
            Update(player="g", terms=(HingeG(),), direct=(MyDirect(),)),
        ),
        optim=Players(g=Adam(lr=1e-2), d=Adam(lr=1e-2)),
        controllers=(Ema(decay=0.5), MyController()),
        batch_size=4,
        steps=4,
        intervals=Intervals(log=1, sample=0, save=2),
    )


def no_config():
    return 3
"""
