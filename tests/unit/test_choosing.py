"""Which preset: what the list says of each, the command for given pictures, two compared."""

import json
import shlex

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from limner import presets
from limner.api import choosing, costs
from limner.api.choosing import advise, compared, listed, value_text
from limner.api.configs import named_data
from limner.api.costs import cost_of
from limner.api.fitting import fitted
from limner.checkpoints import RunDirectory
from limner.core.config import encode, to_json
from limner.core.errors import ConfigError
from limner.core.facts import Machine, Pictures
from limner.data import DataConfig, open_data, prepare
from limner.presets import own_pictures
from limner.presets.costs import COSTS
from limner.presets.fitted import USUAL_PICTURES


@pytest.fixture(autouse=True)
def speed(monkeypatch):
    """A machine that needs no measuring."""
    monkeypatch.setattr(choosing, "speed_here", lambda: ("cpu", 1e10))


def shots(folder, counts, side=40):
    """A folder of noise for each (class, number of pictures)."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_every_preset_stands_in_one_group_and_ablations_are_kept_back():
    every, usual = listed(everything=True)[0], listed()[0]
    assert [row.name for row in every] == list(presets.PRESETS)
    assert sum(map(len, presets.GROUPS.values())) == len(presets.PRESETS)
    assert next(row.name for row in usual if row.group == "start here") == "photos"
    left = {row.name for row in every} - {row.name for row in usual}
    assert left == set(presets.GROUPS["ablations"])
    assert {"pggan-nogrowing", "biggan-ladder-shared"} <= left


def test_every_preset_has_a_row_that_is_true_of_it():
    for row in listed(everything=True)[0]:
        config = presets.get(row.name)()
        assert row.cost is not None, row.name
        assert row.cost.side == config.data.resolution, row.name
        assert row.cost.labels in (config.data.prepared_labels, "if given"), row.name
        assert row.seconds == pytest.approx(row.cost.petaflops * 1e5)
        kinds = {type(config.generator).__name__, type(config.discriminator).__name__}
        assert not any("Projected" in kind for kind in kinds), "it needs weights of others: say so"


@pytest.mark.parametrize("name", ["digits", "digits-tiny", "dcgan-mnist"])
def test_rows_are_what_counting_gives(name):
    assert COSTS[name] == cost_of(presets.get(name)())


def test_a_preset_that_fits_itself_has_a_row_for_each_kind_of_device():
    config, _ = presets.fit("photos", USUAL_PICTURES, Machine())
    assert COSTS["photos on cpu"] == cost_of(config, labels="if given")
    assert COSTS["photos on cuda"].side == 256
    assert COSTS["photos on cuda"].petaflops > COSTS["photos on cpu"].petaflops


def test_counting_knows_the_operations_of_a_step_in_closed_form():
    """One convolution a network: an update of d costs 3 forwards of d for each real and fake and
    one of g, an update of g 3 of g and 2 of d; a growing pair is counted at its sizes."""
    config = presets.get("dcgan-celeba64")()
    pair = costs.Pair(costs.Forward(100.0, 7.0, 0.0, 0), costs.Forward(10.0, 3.0, 0.0, 0))
    of_d, of_g = (costs._an_image(update, 100.0, 10.0) for update in config.updates)
    assert (of_d, of_g) == (3 * 10 + 100 + 3 * 10, 3 * 100 + 2 * 10)
    assert [costs._bytes(update, pair, 4) for update in config.updates] == [2 * 4 * 3, 4 * 10]
    grown = presets.get("pggan-digits")()
    whole = grown.replace(controllers=grown.controllers[1:])
    assert cost_of(grown).petaflops < 0.7 * cost_of(whole).petaflops


def test_traffic_is_what_kernels_read_and_write():
    """Of a linear layer 4 numbers in and 8 out for an image, its weights for none; an activation in
    place reads 8 and writes 8, and a view nothing."""
    layers = nn.Sequential(nn.Linear(4, 8), nn.Unflatten(1, (2, 4)), nn.ReLU(inplace=True))
    found = costs._forward(layers.to("meta"), lambda num: (torch.zeros(num, 4, device="meta"),))
    assert (found.traffic, found.calls) == (4 * (4 + 8 + 8 + 8), 2)
    small, large = (costs.traffic_of(photographs(side)) for side in (32, 64))
    assert 3.5 < large.bytes / small.bytes < 4.5
    assert small.kernels < large.kernels


def photographs(side):
    """`photos` for 1,500 pictures of this size."""
    return own_pictures.photos(Pictures(1500, side, is_final=True), Machine())


def test_the_command_for_a_folder_is_quoted_and_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shots(tmp_path / "my shots", {"cats": 12, "dogs": 8})
    advice = advise(str(folder))
    words = shlex.split(advice.command)
    assert words[:5] == ["limner", "train", "photos", "--data", str(folder)]
    assert words[5:] == ["--run", "runs/my-shots"]
    said = "\n".join(advice.reasons)
    assert "nine in ten have 40 or more pixels" in said
    assert "the smallest of 2 classes has 8" in said
    assert any("--init MODEL" in line for line in advice.others)
    (tmp_path / "runs/my-shots").mkdir(parents=True)
    assert "runs/my-shots-2" in advise(str(folder)).command
    assert advise(str(folder), labels="none").command.endswith("--set data.labels=none")
    assert advise("digits").command.startswith("limner train digits --data digits --run ")


@pytest.mark.parametrize(
    "settings",
    [
        {"resolution": 24, "fit": "pad", "filter": "bicubic", "labels": "none"},
        {"resolution": 16, "channels": 1, "max_label_size": 1},
        {"resolution": 16, "crop": "random"},
    ],
)
def test_a_prepared_directory_is_taken_as_it_is(tmp_path, monkeypatch, settings):
    folder = shots(tmp_path / "shots", {"cats": 6, "dogs": 5})
    prepare(folder, tmp_path / "prepared", DataConfig(**settings))
    for name in presets.FITTED:
        config, _ = fitted(name, tmp_path / "prepared", tmp_path / "run", device="cpu")
        assert config.data.resolution == settings["resolution"]
        assert len(open_data(tmp_path / "prepared", config.data)) == 11


def test_digits_are_not_mirrored():
    assert not fitted("photos", "digits", device="cpu")[0].data.flip


def test_two_presets_and_a_run_are_compared_key_by_key(tmp_path):
    found = {key: (old, new) for key, old, new in compared("digits", "digits-tiny")}
    assert found["data.resolution"] == (32, 8)
    assert found["optim.g.lr"] == (1.2e-3, 2e-3)
    assert found["generator.shared_dim"] == (
        16,
        encode(presets.digits_tiny().generator)["shared_dim"],
    )
    assert {"updates.0.terms.0", "updates.1.player", "updates.2"} <= set(found)
    assert value_text(found["updates.0.terms.0"][0]) == "RelativisticD()"
    third = value_text(found["updates.2"][0])
    assert third == 'Update(player="g", terms=[RelativisticG()], counts=false, labels="real")'
    assert found["updates.2"][1] is None
    assert compared("digits", "digits") == []
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.config.write_text(to_json(presets.digits().replace(batch_size=7)))
    assert compared("digits", str(run.path)) == [("batch_size", 80, 7)]
    with pytest.raises(ConfigError, match="no run here"):
        compared("digits", str(tmp_path))


def test_pictures_have_to_be_named():
    assert named_data("digits-tiny", None) == "digits"
    assert named_data("photos", "mine") == "mine"
    with pytest.raises(ConfigError, match="on which pictures"):
        named_data("dcgan-celeba64", None)


def test_the_speed_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("LIMNER_CACHE", str(tmp_path))
    monkeypatch.setattr(choosing, "is_busy", lambda: False)
    asked = []
    monkeypatch.setattr("limner.api.costs.measured_speed", lambda: asked.append(1) or ("cpu", 3e9))
    assert choosing.speed_here() == choosing.speed_here() == ("cpu", 3e9)
    assert len(asked) == 1
    (tmp_path / "speed.json").write_text(json.dumps({"another": ["cpu", 1.0]}))
    assert choosing.speed_here() == ("cpu", 3e9)
    assert len(asked) == 2
    (tmp_path / "speed.json").unlink()
    monkeypatch.setattr(choosing, "is_busy", lambda: True)
    assert choosing.speed_here() == choosing.speed_here() == ("cpu", 3e9)
    assert len(asked) == 4
