"""PGGAN's layouts: which pictures a wall shows, and a run that draws one."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from toy_sampling import toy_generator, toy_model

from limner.api import sheets
from limner.core.config import override
from limner.core.errors import LimnerError
from limner.data import DataConfig, open_data
from limner.engine import Intervals, Sheet
from limner.sampling import Wall, latents_from_seeds, wall, wall_places
from runs import fit_of, toy_data
from toys import toy_config

LABELS = np.arange(40) % 4


def test_random_places_are_distinct_and_belong_to_the_seed():
    places = wall_places(LABELS, 4, (6, 5), "random", seed=1)
    assert len(set(places.tolist())) == 30
    assert np.array_equal(places, wall_places(LABELS, 4, (6, 5), "random", seed=1))
    assert not np.array_equal(places, wall_places(LABELS, 4, (6, 5), "random", seed=2))
    many = wall_places(LABELS, 4, (10, 9), "random", seed=1)
    assert set(many.tolist()) == set(range(40))


def test_a_row_has_a_class_and_the_next_turn_other_pictures():
    places = wall_places(LABELS, 4, (5, 8), "row_per_class", seed=3).reshape(8, 5)
    assert [set(LABELS[row]) for row in places] == [{k % 4} for k in range(8)]
    assert len(set(places.ravel().tolist())) == 40
    wide = wall_places(LABELS, 4, (12, 1), "row_per_class", seed=3)
    assert set(wide.tolist()) == set(range(0, 40, 4))  # ten of the class, then again
    plain = wall_places(LABELS * 0, 0, (5, 4), "row_per_class", seed=3)
    assert np.array_equal(plain, wall_places(LABELS * 0, 0, (5, 4), "random", seed=3))


def test_a_wall_is_the_models_samples_without_gaps():
    labels = np.array([0, 1, 2, 2, 1, 0])
    picture = np.asarray(Wall(6, 3, 2, labels, seed=4)(toy_generator(3).eval()))
    assert picture.shape == (16, 24, 3)
    z = latents_from_seeds(range(4, 10), 6)
    expected = toy_model(3).sample(z=z, y=labels)
    assert np.array_equal(picture[8:, 16:], expected[5])
    assert np.array_equal(np.asarray(wall(expected, 3)), picture)


def test_a_run_shows_reals_and_samples_in_one_layout(tmp_path):
    data = open_data("digits", DataConfig(resolution=8))
    config = toy_config(sheet=Sheet(grid="7x20", layout="row_per_class"), seed=5)
    drawing = sheets.RunSheets(config, data)
    drawing.write_reals(tmp_path / "reals.png")
    asked = []

    def generator(z, y):
        asked.append(y)
        return torch.zeros(len(z), 1, 8, 8)

    network = toy_generator(10, (1, 8, 8))
    network.forward = generator
    drawing(network, tmp_path / "step-00000000.png", 0)
    for name in ("reals", "step-00000000"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (7 * 8, 20 * 8)
    with Image.open(tmp_path / "reals.png") as picture:
        cell = np.asarray(picture)[8:16, :8]
    own = data.images[np.asarray(data.labels) == 1][..., 0]
    assert (own == cell).all(axis=(1, 2)).any()  # row 1 begins with a one
    labels = torch.cat(asked[-3:])  # 140 pictures in batches of 64
    assert labels.tolist() == [k % 10 for k in range(20) for _ in range(7)]


def test_class_sheets_move_on_with_ticks(tmp_path, monkeypatch):
    """Whatever the steps are: 940 is a multiple of the five windows of a hundred classes."""
    events: list[int] = []
    monkeypatch.setattr(
        sheets.TrainingSheets, "__call__", lambda self, net, event: events.append(event) or iter(())
    )
    data = open_data("digits", DataConfig(resolution=8))
    ticks = Intervals(sample=0, sample_ticks=1)
    for intervals, expected in ((ticks, [0, 1, 2, 2]), (Intervals(sample=470), [0, 2, 4, 4])):
        drawing, folder = sheets.RunSheets(toy_config(intervals=intervals), data), tmp_path / "s"
        for step in (0, 940, 1880, 1880):
            drawing(toy_generator(10, (1, 8, 8)), folder / f"step-{step:08d}.png", step)
        assert events == expected
        events.clear()


def test_grids_of_the_config_are_checked():
    config = override(toy_config(), ["sheet.grid=1080p", "sheet.layout=row_per_class"])
    assert config.sheet == Sheet(grid="1080p", layout="row_per_class")
    assert toy_config().sheet.grid is None
    with pytest.raises(LimnerError, match="grid 'huge' is unknown"):
        override(toy_config(), ["sheet.grid=huge"])


def test_the_log_says_what_a_thousand_images_and_the_rest_took(tmp_path):
    fit = fit_of(tmp_path / "run", toy_config(num_classes=0), toy_data(tmp_path))
    fit()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    for line in lines:
        assert line["seconds_per_kimg"] > 0
        assert line["maintenance"] >= 0
        assert "seconds_per_tick" not in line  # nothing counts ticks here
    assert sum(line["maintenance"] for line in lines) > 0  # the saves
