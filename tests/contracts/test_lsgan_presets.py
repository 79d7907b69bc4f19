"""LSGAN's, GGAN's and WGAN-GP's presets say what MMGeneration's configs say, row by row."""

import pytest
import torch

from limner import presets
from limner.core.config import decode, encode
from limner.engine import Adam, RunConfig
from limner.objectives import (
    GradientPenalty,
    HingeD,
    HingeG,
    LeastSquaresD,
    LeastSquaresG,
    WassersteinD,
    WassersteinG,
)

LOSSES = {"lsgan": (LeastSquaresD(), LeastSquaresG()), "ggan": (HingeD(), HingeG())}
# px, batch, rate of both, iterations, parameters of G and D
TABLE = {
    "lsgan-bedroom128": (128, 64, 1e-4, 160_000, 19_526_211, 4_340_225),
    "ggan-bedroom64": (64, 128, 1e-4, 160_000, 18_345_539, 1_046_017),
    "lsgan-celeba64": (64, 128, 1e-3, 100_000, 12_658_435, 11_036_289),
    "lsgan-bedroom64": (64, 128, 1e-4, 100_000, 12_658_435, 11_036_289),
    "lsgan-celeba128": (128, 64, 1e-4, 160_000, 12_786_563, 44_611_201),
    "ggan-celeba64": (64, 128, 1e-3, 100_000, 12_658_435, 11_036_289),
    "ggan-celeba128": (128, 64, 1e-4, 160_000, 12_786_563, 44_611_201),
}


def test_the_table_is_whole():
    assert list(TABLE) == [n for n in presets.PRESETS if n.startswith(("lsgan", "ggan"))]


@pytest.mark.parametrize("name", TABLE)
def test_rows(name: str):
    px, batch, rate, steps, g_size, d_size = TABLE[name]
    config = presets.get(name)()
    assert decode(RunConfig, encode(config)) == config
    assert (config.name, config.data.resolution, config.batch_size) == (name, px, batch)
    assert config.steps == steps
    assert config.optim.g == config.optim.d == Adam(lr=rate, betas=(0.5, 0.99), eps=1e-8)
    of_d, of_g = config.updates
    assert (of_d.terms[0], of_g.terms[0]) == LOSSES[name.partition("-")[0]]
    assert (of_d.player, of_g.player, of_d.forwards) == ("d", "g", "fake_then_real")
    assert config.controllers == ()
    with torch.device("meta"):
        networks = [part.build((3, px, px), 0) for part in (config.generator, config.discriminator)]
    assert [sum(p.numel() for p in n.parameters()) for n in networks] == [g_size, d_size]


@pytest.mark.parametrize(("name", "weight"), [("celeba128", 10.0), ("bedroom128", 50.0)])
def test_wgan_gp(name: str, weight: float):
    config = presets.get(f"wgan-gp-{name}")()
    assert decode(RunConfig, encode(config)) == config
    of_d, of_g = config.updates
    assert of_d.terms == (WassersteinD(), GradientPenalty(weight))
    assert (of_d.repeats, of_d.forwards, of_g.terms) == (5, "fake_then_real", (WassersteinG(),))
    assert config.optim.g == config.optim.d == Adam(lr=1e-4, betas=(0.5, 0.9), eps=1e-8)
    assert (config.batch_size, config.steps, config.controllers) == (64, 32_000, ())
    with torch.device("meta"):
        g, d = (part.build((3, 128, 128), 0) for part in (config.generator, config.discriminator))
    assert sum(p.numel() for p in g.parameters()) == 10_485_667
    assert sum(p.numel() for p in d.parameters()) == 11_272_545
