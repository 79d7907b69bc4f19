"""Presets say what train.py of NVlabs/stylegan2-ada-pytorch says, row by row."""

from typing import Any

import pytest
import torch

from limner import presets
from limner.core.config import decode, encode, override
from limner.core.facts import Machine, Pictures
from limner.engine import Adam, RunConfig
from limner.engine.augment import AdaPipe
from limner.engine.controllers import AdaptP, Ema
from limner.models import StyleGan2Discriminator, StyleGan2Generator
from limner.objectives import R1, NonSaturatingD, NonSaturatingG, PathLength

# preset: px, GPUs, kimg, batch, mbstd group, fmaps, rate, gamma, ema kimg, ramp-up, mapping layers
TABLE: dict[str, tuple[Any, ...]] = {
    "stylegan2": (1024, 8, 25000, 32, 4, 1, 0.002, 10, 10, None, 8),
    "stylegan2-paper256": (256, 8, 25000, 64, 8, 0.5, 0.0025, 1, 20, None, 8),
    "stylegan2-paper512": (512, 8, 25000, 64, 8, 1, 0.0025, 0.5, 20, None, 8),
    "stylegan2-paper1024": (1024, 8, 25000, 32, 4, 1, 0.002, 2, 10, None, 8),
    "stylegan2-cifar": (32, 2, 100000, 64, 32, 1, 0.0025, 0.01, 500, 0.05, 2),
}
# Of `--cfg=auto`: px, GPUs -> batch, gamma
AUTOMATIC = {
    (32, 1): (32, 0.0064),
    (32, 2): (64, 0.0032),
    (32, 4): (64, 0.0032),
    (32, 8): (64, 0.0032),
    (64, 1): (32, 0.0256),
    (64, 2): (64, 0.0128),
    (64, 8): (64, 0.0128),
    (128, 1): (32, 0.1024),
    (128, 2): (64, 0.0512),
    (128, 8): (64, 0.0512),
    (256, 1): (16, 0.8192),
    (256, 2): (32, 0.4096),
    (256, 4): (64, 0.2048),
    (256, 8): (64, 0.2048),
    (512, 1): (8, 6.5536),
    (512, 2): (16, 3.2768),
    (512, 4): (32, 1.6384),
    (512, 8): (64, 0.8192),
    (1024, 1): (4, 52.4288),
    (1024, 2): (8, 26.2144),
    (1024, 4): (16, 13.1072),
    (1024, 8): (32, 6.5536),
}


def row_of(resolution: int, gpus: int) -> tuple[Any, ...]:
    batch, gamma = AUTOMATIC[resolution, gpus]
    fmaps, rate = 1 if resolution >= 512 else 0.5, 0.002 if resolution >= 1024 else 0.0025
    group, ema = min(batch // gpus, 4), batch * 10 / 32
    return (resolution, gpus, 25000, batch, group, fmaps, rate, gamma, ema, 0.05, 2)


def names() -> list[str]:
    return [name for name in presets.PRESETS if name.startswith("stylegan2")]


ROWS = [*TABLE.items(), *(("stylegan2-auto", row_of(*place)) for place in AUTOMATIC)]


def config_of(name: str, px: int, gpus: int) -> RunConfig:
    if name != "stylegan2-auto":
        return presets.get(name)()
    pictures = Pictures(1000, px + 1 if px < 1024 else 3000)
    return presets.fit(name, pictures, Machine("cuda", gpus))[0]


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_rows_of_the_original(name: str, row: tuple[Any, ...]):
    px, gpus, kimg, batch, group, fmaps, rate, gamma, ema, rampup, num_mapping = row
    config = config_of(name, px, gpus)
    assert (config.data.resolution, config.kimg, config.batch_size) == (px, kimg, batch)
    sizes = {"channel_base": int(32768 * fmaps), "channel_max": 512, "clamp": 256.0}
    assert config.generator == StyleGan2Generator(
        z_dim=512, w_dim=512, num_mapping=num_mapping, architecture="skip", **sizes
    )
    plain = "orig" if name == "stylegan2-cifar" else "resnet"
    assert config.discriminator == StyleGan2Discriminator(
        group_size=group, features=1, num_mapping=8, architecture=plain, **sizes
    )
    assert group <= batch // gpus  # groups fit what one process sees
    g, d = 0.8, 16 / 17
    assert config.optim.g == Adam(lr=rate * g, betas=(0.0, 0.99**g), eps=1e-8)
    assert config.optim.d == Adam(lr=rate * d, betas=(0.0, 0.99**d), eps=1e-8)
    average = Ema(half_life_nimg=ema * 1000, rampup=rampup, after="step", buffers="copy")
    assert config.controllers == (average, AdaptP(target=0.6, every=4, kimg=500.0))
    assert config.augments == (AdaPipe(transforms="bgc"),)
    assert config.updates[-1].terms == (R1(gamma=pytest.approx(gamma)),)
    assert config.intervals.save * batch == pytest.approx(200_000, rel=1e-3)


@pytest.mark.parametrize("name", names())
def test_updates(name: str):
    config = presets.get(name)()
    assert config.name == name
    assert decode(RunConfig, encode(config)) == config
    mixing = 0.0 if name == "stylegan2-cifar" else 0.9
    for update in config.updates:
        assert update.accumulate == update.repeats == 1
        assert update.labels == "natural" or "fake" not in update.terms[0].reads
        assert update.style_mixing == (mixing if "fake" in update.terms[0].reads else 0.0)
    main_g, *lengths, main_d, penalty = config.updates
    assert (main_g.terms, main_g.player, main_g.every) == ((NonSaturatingG(),), "g", 1)
    assert (main_d.terms, main_d.player, main_d.every) == ((NonSaturatingD(),), "d", 1)
    assert main_d.forwards == "fake_then_real"
    assert (penalty.player, penalty.every, penalty.reals) == ("d", 16, "same")
    assert penalty.unreached == "zero"
    if name == "stylegan2-cifar":
        assert lengths == []
        return
    (length,) = lengths
    assert length.terms == (PathLength(weight=2.0, decay=0.01),)
    assert (length.player, length.every, length.latent_share) == ("g", 4, 0.5)
    assert length.unreached == "zero"


def test_every_preset_is_in_a_table():
    assert set(names()) == {name for name, _ in ROWS}


@pytest.mark.parametrize("name", names())
def test_two_more_resolutions_by_one_setting(name: str):
    config = presets.get(name)()
    first = config.data.resolution
    others = [size for size in (first // 4, first // 2, first * 2, first * 4) if size <= 1024]
    for size in [size for size in others if size >= 8][:2]:
        changed = override(config, [f"data.resolution={size}"])
        with torch.device("meta"):
            g = changed.generator.build((3, size, size), 0)
            d = changed.discriminator.build((3, size, size), 0)
            image = g(torch.empty(8, 512))
            assert image.shape == (8, 3, size, size)
            assert d(image).logits.shape == (8,)
