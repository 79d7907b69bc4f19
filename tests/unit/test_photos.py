"""The preset that fits itself: the facts about pictures, what follows from them, and the screen."""

import numpy as np
import pytest
from PIL import Image

from limner import presets
from limner.api.fitting import fitted
from limner.core.errors import ConfigError, DataError
from limner.core.facts import Machine, Pictures
from limner.data import DataConfig, prepare
from limner.data.facts import NUM_OPENED, facts_of
from limner.engine.augment import DiffAugment


def write(folder, sizes, classes=("",)):
    """Noise of each (width, height), dealt to the classes in turn."""
    for number, (width, height) in enumerate(sizes):
        place = folder / classes[number % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number:05}.png")
    return folder


def test_facts_are_number_short_side_and_classes(tmp_path):
    few = write(tmp_path / "few", [(20, 30)] + [(40, 90)] * 19, ("cat", "dog"))
    assert facts_of(few) == Pictures(num=20, side=40, class_counts=(10, 10))
    many = write(tmp_path / "many", [(9, 12)] * (2 * NUM_OPENED + 5))
    assert facts_of(many) == Pictures(num=2 * NUM_OPENED + 5, side=9)
    prepare(few, tmp_path / "prepared", DataConfig(resolution=16))
    assert facts_of(tmp_path / "prepared") == Pictures(20, 16, (10, 10), is_final=True)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="no picture could be read"):
        facts_of(tmp_path / "bad")


@pytest.mark.parametrize(
    ("side", "kind", "expected"),
    [(28, "cpu", 32), (63, "cpu", 32), (64, "cpu", 64), (900, "cpu", 64), (900, "cuda", 256)],
)
def test_resolution_follows_pictures_and_machine(side, kind, expected):
    config, choices = presets.fit("photos", Pictures(1500, side), Machine(kind))
    assert config.data.resolution == expected
    assert choices[0].value == f"{expected} px"


def gammas(config):
    return [
        term.gamma for update in config.updates for term in update.terms if hasattr(term, "gamma")
    ]


def test_what_depends_on_the_resolution_follows_the_users():
    pictures, machine = Pictures(1500, 256), Machine()
    usual, _ = presets.fit("photos", pictures, machine)
    larger, _ = presets.fit("photos", pictures, machine, ["data.resolution=128"])
    assert gammas(larger) == [4 * gamma for gamma in gammas(usual)]
    own, _ = presets.fit(
        "photos", pictures, machine, ["data.resolution=128", "updates.1.terms.0.gamma=0.5"]
    )
    assert gammas(own) == [0.5, gammas(larger)[1]]
    prepared, _ = presets.fit("photos", Pictures(1500, 16, is_final=True), machine)
    assert prepared.data.resolution == 16
    with pytest.raises(ConfigError, match="resolutoin"):
        presets.fit("photos", pictures, machine, ["data.resolutoin=128"])


def test_few_pictures_are_augmented_and_small_classes_left_alone():
    def of(kind="cuda", **facts):
        return presets.fit("photos", Pictures(side=64, **facts), Machine(kind))[0]

    assert of(num=1500).augments == (DiffAugment(),)
    assert of(num=1500, kind="cpu").augments == ()
    assert of(num=200_000).augments == ()
    assert of(num=1500, class_counts=(800, 700)).data.labels == "classes"
    assert of(num=1500, class_counts=(1490, 10)).data.labels == "none"
    assert of(num=1500, class_counts=(1500,)).data.labels == "none"
    assert of(num=1500, class_counts=(800, 0, 700)).data.labels == "used"
    assert of(num=1500, class_counts=(1500, 0)).data.labels == "none"


def test_what_was_picked_comes_with_its_reasons(tmp_path):
    folder = write(tmp_path / "shots", [(40, 40)] * 12)
    config, choices = fitted("photos", folder, tmp_path / "run", steps=2, device="cpu")
    assert (config.steps, config.kimg, config.data.resolution) == (2, None, 32)
    assert choices[0].what == "fitted to"
    assert choices[0].value == "12 pictures (most at least 40 px, no classes), on 1 x cpu"
    assert [choice.why for choice in choices if choice.what == "resolution"] == [
        "at most 64 on a cpu"
    ]
