"""`limner train --init MODEL --data DIR` without a preset: what comes from the model, what from the
recipe of its family, and what is said of it."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from limner import presets
from limner.api.finetuning import NAME, _grown, finetuned
from limner.api.training import resolved
from limner.checkpoints import ModelConfig, ModelRecord, RunDirectory, write_model
from limner.cli.main import main
from limner.core.errors import ConfigError
from limner.data import DataConfig, open_data, prepare
from limner.engine import RunConfig
from limner.engine.controllers import Ema, Growth
from limner.engine.trainer import Trainer
from limner.models import (
    BigGanDeepDiscriminator,
    BigGanDeepGenerator,
    BigGanDiscriminator,
    BigGanGenerator,
    DcganDiscriminator,
    DcganGenerator,
    FastGanGenerator,
    PgganDiscriminator,
    PgganGenerator,
    R3ganDiscriminator,
    R3ganGenerator,
    SaganDiscriminator,
    SaganGenerator,
    SnganDiscriminator,
    SnganGenerator,
    StyleGan2Discriminator,
    StyleGan2Generator,
    StyleGan3Generator,
)
from limner.objectives import R1, HingeD, NonSaturatingD, RelativisticD, WassersteinD

TINY = {"width": 2, "multipliers": (1, 2)}
BIGGAN = (BigGanGenerator(z_dim=4, **TINY), BigGanDiscriminator(**TINY))
PLAIN = (
    BigGanGenerator(z_dim=4, spectral_norm=False, **TINY),
    BigGanDiscriminator(spectral_norm=False, **TINY),
)
GROWING = (
    PgganGenerator(z_dim=4, fmap_base=16, fmap_max=4),
    PgganDiscriminator(fmap_base=16, fmap_max=4),
)
# networks, the side that they make, and the discriminator's loss of their family
FAMILIES = {
    "dcgan": (
        (DcganGenerator(width=2, z_dim=4), DcganDiscriminator(width=2)), 16, NonSaturatingD,
    ),
    "sngan": ((SnganGenerator(z_dim=4, **TINY), SnganDiscriminator(**TINY)), 8, HingeD),
    "sagan": (
        (
            SaganGenerator(z_dim=4, attention=(), **TINY),
            SaganDiscriminator(attention=(), **TINY),
        ),
        8,
        HingeD,
    ),
    "biggan": (BIGGAN, 8, HingeD),
    "photos": (PLAIN, 8, RelativisticD),
    "biggan-deep": (
        (
            BigGanDeepGenerator(z_dim=4, shared_dim=4, width=4, depth=1, multipliers=(1, 2)),
            BigGanDeepDiscriminator(width=4, depth=1, multipliers=(1, 2)),
        ),
        8,
        HingeD,
    ),
    "pggan": (GROWING, 8, WassersteinD),
    "r3gan": (
        (
            R3ganGenerator(z_dim=4, widths=(4,), group_widths=(2,), blocks=(1,)),
            R3ganDiscriminator(widths=(4,), group_widths=(2,), blocks=(1,)),
        ),
        8,
        RelativisticD,
    ),
    "stylegan2": (
        (
            StyleGan2Generator(z_dim=4, w_dim=4, num_mapping=1, channel_base=32, channel_max=4),
            StyleGan2Discriminator(channel_base=32, channel_max=4),
        ),
        8,
        NonSaturatingD,
    ),
    "stylegan3": (
        (
            StyleGan3Generator(z_dim=4, w_dim=4, channel_base=64, channel_max=4, num_layers=3),
            StyleGan2Discriminator(channel_base=32, channel_max=4),
        ),
        8,
        NonSaturatingD,
    ),
}  # fmt: skip


def model(folder, networks, side=8, channels=3, num_classes=0, discriminator=True):
    torch.manual_seed(1)
    shape = (channels, side, side)
    g, d = networks
    config = ModelConfig(
        generator=g,
        discriminator=d if discriminator else None,
        image_shape=shape,
        num_classes=num_classes,
    )
    critic = d.build(shape, num_classes).state_dict() if discriminator else None
    record = ModelRecord(config, g.build(shape, num_classes).state_dict(), discriminator=critic)
    return str(write_model(folder / "model", record))


def pictures(folder, classes=("",), num=12, gray=False, side=20):
    for number in range(num):
        place = folder / classes[number % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        shape = (side, side) if gray else (side, side, 3)
        pixels = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels).save(place / f"{number:02}.png")
    return folder


def said(choices):
    return {choice.what: f"{choice.value} ({choice.why})" for choice in choices}


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_model_takes_the_recipe_of_its_family(kind, tmp_path):
    networks, side, loss = FAMILIES[kind]
    folder, data = model(tmp_path, networks, side), pictures(tmp_path / "mine")
    config, choices = finetuned(folder, data, tmp_path / "run", device="cpu")
    assert (config.generator, config.discriminator) == networks
    assert (config.data.resolution, config.data.channels) == (side, 3)
    assert any(isinstance(term, loss) for update in config.updates for term in update.terms)
    assert config.name == NAME
    assert (config.kimg, config.intervals.sample) == (100, 200)
    assert config.batch_size <= 128
    assert sum(controller.averages for controller in config.controllers) == 1
    assert kind in said(choices)["recipe"]
    assert set(said(choices)) == {"start", "recipe"}
    prepared = open_data(data, config.data)
    run = resolved(config, prepared)
    Trainer(run.replace(batch_size=2), prepared.image_shape, 0, lambda: pytest.fail("drawn"))


def test_a_penalty_follows_the_size(tmp_path):
    def gamma(side):
        folder = model(tmp_path / str(side), FAMILIES["r3gan"][0], side)
        config, _ = finetuned(folder, pictures(tmp_path / "mine"), tmp_path / "run", device="cpu")
        (found,) = (t for u in config.updates for t in u.terms if type(t) is R1)
        return found.gamma

    assert gamma(32) == presets.r3gan_cifar10().updates[0].terms[1].gamma
    assert gamma(64) == presets.r3gan_ffhq64().updates[0].terms[1].gamma


def test_what_has_grown_does_not_grow_again(tmp_path):
    data = pictures(tmp_path / "mine")
    folder = model(tmp_path, GROWING, 32)
    config, _ = finetuned(folder, data, tmp_path / "run", device="cpu")
    assert not any(isinstance(part, Growth) for part in config.controllers)
    assert config.batch_size == 64  # the schedule's at 32 px
    own = presets.get("pggan-v2-1gpu")()
    grown = _grown(own, 1024)
    assert own.intervals.sample == 0  # but by ticks, which are the growth's
    assert grown.intervals.sample == 200
    assert (grown.batch_size, grown.optim.g.lr, grown.optim.d.lr) == (4, 1.5e-3, 1.5e-3)
    assert [type(part) for part in grown.controllers] == [Ema]
    assert _grown(presets.digits(), 32) == presets.digits()


def test_gray_pictures_and_new_classes_are_said_in_a_line_each(tmp_path):
    def lines(data, **about):
        folder = model(tmp_path / str(len(list(tmp_path.iterdir()))), BIGGAN, **about)
        config, choices = finetuned(folder, data, tmp_path / "run", device="cpu")
        return config, said(choices)

    gray = pictures(tmp_path / "gray", gray=True)
    color = pictures(tmp_path / "color", side=6)
    two = pictures(tmp_path / "two", ("cat", "dog"))
    config, told = lines(gray)
    assert told["channels"] == "gray to color (each is read as equal channels)"
    assert open_data(gray, config.data).image_shape == (3, 8, 8)
    config, told = lines(color, channels=1)
    assert told["channels"] == "color to gray (the model has one channel)"
    assert told["size"].startswith("6 px enlarged to 8")
    assert open_data(color, config.data).image_shape == (1, 8, 8)
    config, told = lines(two, num_classes=3)
    assert told["classes"] == "3 -> 2 (what belongs to them is made anew)"
    assert config.data.labels == "classes"
    _, told = lines(two, num_classes=2)
    assert told["classes"] == "2 (as many as the model has, taken as they are)"
    config, told = lines(gray, num_classes=3)
    assert told["classes"].startswith("3 -> none")
    assert config.data.labels == "none"
    config, told = lines(two)
    assert told["classes"] == "none (as in the model; the 2 of the pictures are one set)"
    assert config.data.labels == "none"
    assert "channels" not in told


def test_without_a_discriminator_the_familys_is_taken(tmp_path):
    folder = model(tmp_path, BIGGAN, num_classes=2, discriminator=False)
    data = pictures(tmp_path / "two", ("cat", "dog"))
    config, _ = finetuned(folder, data, tmp_path / "run", device="cpu")
    assert config.discriminator == presets.get("biggan-ladder-batch256")().discriminator


def test_settings_of_the_user_and_of_prepared_pictures_have_the_last_word(tmp_path):
    folder, data = model(tmp_path, BIGGAN), pictures(tmp_path / "mine")
    prepare(data, tmp_path / "fits", DataConfig(resolution=8, channels=3, fit="squash"))
    words = ["optim.g.lr=3e-4"]
    config, _ = finetuned(folder, tmp_path / "fits", tmp_path / "run", words, steps=7, seed=3)
    assert (config.steps, config.kimg, config.seed) == (7, None, 3)
    assert (config.optim.g.lr, config.data.fit) == (3e-4, "squash")
    assert len(open_data(tmp_path / "fits", config.data)) == 12
    prepare(data, tmp_path / "other", DataConfig(resolution=16))
    with pytest.raises(
        ConfigError, match=r"prepared as 3x16x16, and .* makes 3x8x8.*--resolution 8"
    ):
        finetuned(folder, tmp_path / "other", tmp_path / "run")


def test_networks_without_a_recipe_are_refused_by_name(tmp_path):
    g = FastGanGenerator(width=2, z_dim=4)
    state = g.build((3, 128, 128), 0).state_dict()
    config = ModelConfig(generator=g, image_shape=(3, 128, 128))
    folder = str(write_model(tmp_path / "model", ModelRecord(config, state)))
    with pytest.raises(ConfigError, match="no recipe is known for FastGanGenerator"):
        finetuned(folder, pictures(tmp_path / "mine"), tmp_path / "run")


def events(run):
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [(line["event"], line["message"]) for line in lines]


def test_the_command_trains_and_goes_on_with_the_recipe_of_a_run(tmp_path, capsys):
    folder = model(tmp_path, BIGGAN, channels=1, num_classes=3)
    two = pictures(tmp_path / "two", ("cat", "dog"), gray=True)
    words = ["train", "--init", folder, "--data", str(two), "--device", "cpu"]
    small = ["--set", "batch_size=4", "--set", "metrics=[]", "--set", "intervals.save=1"]
    run = tmp_path / "run"
    assert main([*words, *small, "--run", str(run), "--steps", "1"]) == 0, capsys.readouterr()
    out, err = capsys.readouterr()
    assert "3 -> 2 (what belongs to them is made anew)" in out + err
    assert "made anew" in dict(events(run))
    assert main([*words, *small, "--run", str(run), "--steps", "2"]) == 0
    assert "resumed" in dict(events(run))
    config, choices = finetuned(str(run), two, tmp_path / "next", device="cpu")
    saved = RunDirectory(run).config_as(RunConfig)
    assert config.updates == saved.updates
    assert (config.steps, config.batch_size, config.num_classes) == (2, 4, None)
    assert said(choices)["recipe"].startswith(f"{run}, its own")
    assert any(isinstance(part, Ema) for part in config.controllers)


def test_what_is_missing_is_one_line(tmp_path, capsys):
    for words, line in (
        ([], "limner train: which preset? `limner presets` lists them"),
        (["--init", "somewhere"], "limner train: --init somewhere: on which pictures? give --data"),
        (["photos"], "limner train: photos: on which pictures? give --data"),
    ):
        assert main(["train", *words]) == 2
        assert capsys.readouterr().err.startswith(line)
    assert main(["train", "--init", str(tmp_path / "no"), "--data", "digits"]) == 1
    assert "no such run directory or model folder" in capsys.readouterr().err
