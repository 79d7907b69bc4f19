"""Presets say what train.py of NVlabs/stylegan3 says, and its advice on gamma and batches."""

import pytest
import torch

from limner import presets
from limner.core.config import decode, encode, override
from limner.core.facts import Machine, Pictures
from limner.core.schedules import Linear
from limner.engine import Adam, RunConfig
from limner.engine.augment import AdaPipe, Blur
from limner.engine.controllers import AdaptP, Ema
from limner.models import StyleGan2Discriminator, StyleGan3Generator
from limner.objectives import R1, NonSaturatingD, NonSaturatingG

# px, GPUs -> gamma, images at once over all GPUs of t and of r
ROWS = {
    (64, 1): (0.125, 16, 16),
    (128, 1): (0.5, 16, 16),
    (128, 2): (0.5, 32, 32),
    (256, 1): (2.0, 16, 8),
    (256, 8): (2.0, 32, 32),
    (512, 1): (8.0, 8, 4),
    (512, 8): (8.0, 32, 32),
    (1024, 1): (32.0, 4, 4),
    (1024, 8): (32.0, 32, 32),
}
NAMES = ["stylegan3-t", "stylegan3-r"]


def config_of(name: str, px: int, gpus: int) -> RunConfig:
    return presets.fit(name, Pictures(1000, px, is_final=True), Machine("cuda", gpus))[0]


def test_the_table_is_whole():
    assert [name for name in presets.PRESETS if name.startswith("stylegan3")] == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ROWS)
def test_rows(name: str, place: tuple[int, int]):
    px, gpus = place
    gamma, *at_once = ROWS[place]
    config = config_of(name, px, gpus)
    turns = name == "stylegan3-r"
    assert (config.name, config.data.resolution, config.kimg) == (name, px, 25_000)
    rounds = 32 // at_once[turns]
    assert config.batch_size == at_once[turns]
    assert [update.accumulate for update in config.updates] == [rounds] * 3
    assert config.generator == StyleGan3Generator(
        z_dim=512,
        w_dim=512,
        num_mapping=2,
        channel_base=65536 if turns else 32768,
        channel_max=1024 if turns else 512,
        kernel=1 if turns else 3,
        radial=turns,
        magnitude_decay=pytest.approx(0.99889158, abs=1e-8),
        mean_style_decay=0.998,
    )
    assert config.discriminator == StyleGan2Discriminator(
        channel_base=32768, channel_max=512, group_size=4, num_mapping=8, clamp=256.0
    )
    main_g, main_d, penalty = config.updates
    assert (main_g.terms, main_g.statistics) == ((NonSaturatingG(),), "keep")
    assert (main_d.terms, main_d.statistics) == ((NonSaturatingD(),), "move")
    assert penalty.terms == (R1(gamma=gamma),)
    assert (penalty.every, penalty.reals, penalty.unreached) == (16, "same", "skip")
    eps = 1e-8 / rounds
    assert config.optim.g == Adam(lr=2.5e-3, betas=(0.0, 0.99), eps=eps)
    assert config.optim.d == Adam(lr=2e-3 * 16 / 17, betas=(0.0, 0.99 ** (16 / 17)), eps=eps)
    average = Ema(half_life_nimg=10_000.0, rampup=0.05, after="step", buffers="copy")
    assert config.controllers == (average, AdaptP(target=0.6, every=4, kimg=500.0))
    blur = (Blur(sigma=Linear(10.0, 0.0, until_nimg=200_000)),) if turns else ()
    assert config.augments == (*blur, AdaPipe(transforms="bgc"))


@pytest.mark.parametrize("name", NAMES)
def test_presets_come_back_from_json_and_take_other_sizes(name: str):
    config = presets.get(name)()
    assert decode(RunConfig, encode(config)) == config
    for size in (64, 512):
        changed = override(config, [f"data.resolution={size}"])
        with torch.device("meta"):
            g = changed.generator.build((3, size, size), 0)
        assert g.layers[-1].weight.shape[0] == 3
