"""The one sentence about a run: right for known damage, honest about what was not measured."""

import dataclasses
import html
import json
import math

import numpy as np
import pytest
import torch

from limner.api import TrainOptions, train
from limner.cli.train import as_json, describe
from limner.core.config import encode
from limner.data import DataConfig, open_data
from limner.metrics import Reference, score
from limner.metrics.arrays import ArrayData
from limner.metrics.features.base import images_at
from limner.reports import page, verdict, write_report
from runs import toy_pictures
from toys import toy_config


def result(name, value, floor=None):
    return {"metric": name, "name": name, "value": value, "floor": floor}


def said(*results):
    return verdict({"step": 1200, "results": list(results)})


GOOD = (result("precision", 0.84, 0.89), result("recall", 0.7, 0.9), result("copies", 0.004, 0.006))


def test_a_good_run_in_full():
    assert said(*GOOD) == (
        "At step 1,200 the pictures are sharp (precision 0.84, real ones 0.89), varied (recall "
        "0.70, real ones 0.90) and no copies (0.4% nearly a picture of the data, of real ones "
        "0.6%)."
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),  # beside a floor of 0.9
    [
        ("precision", 0.766, " sharp (precision 0.77"),
        ("precision", 0.764, " partly sharp ("),
        ("precision", 0.45, " partly sharp ("),
        ("precision", 0.44, " not sharp ("),
        ("recall", 0.63, " varied (recall 0.63"),
        ("recall", 0.62, " partly varied ("),
        ("recall", 0.315, " partly varied ("),
        ("recall", 0.31, " not varied ("),
        ("copies", 0.919, " no copies (91.9%"),
        ("copies", 0.921, " partly copies ("),
        ("copies", 1.101, " largely copies ("),
    ],
)
def test_each_word_has_its_limit(name, value, words):
    others = (r for r in GOOD if r["name"] != name)
    assert words in said(*others, result(name, value, 0.9))


def test_what_lies_between_the_real_pictures_is_not_praised_as_varied():
    sentence = said(result("precision", 0.2, 0.9), result("recall", 0.9, 0.9), GOOD[2])
    assert "not sharp (precision 0.20" in sentence
    assert "of a variety that cannot be told by then (recall 0.90, real ones 0.90)" in sentence


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5.0, "close to the real ones as a whole (Frechet distance 2.0 times theirs)"),
        (5.2, "not far from the real ones as a whole (Frechet distance 2.1 times theirs)"),
        (25.0, "not far from the real ones as a whole (Frechet distance 10.0 times theirs)"),
        (25.5, "far from the real ones as a whole (Frechet distance 10.2 times theirs)"),
    ],
)
@pytest.mark.parametrize("name", ["fid", "fd-effnet-lite0"])
def test_without_precision_the_distance_speaks(name, value, words):
    assert said(result(name, value, 2.5)) == (
        f"At step 1,200 the pictures are {words}; sharpness not measured (metric prdc); variety "
        "not measured (metric prdc); copies not measured (metric copies)."
    )


def test_figures_without_floor_are_read_against_perfect_ones():
    sentence = said(result("precision", 0.86), result("recall", 0.69), result("copies", 0.03))
    assert "sharp (precision 0.86), partly varied (recall 0.69) and partly copies (3.0%" in sentence
    assert "real ones" not in sentence


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_figure_that_is_no_number_was_not_measured(value):
    assert "variety not measured" in said(GOOD[0], result("recall", value, 0.9), GOOD[2])
    assert said(result("recall", value, 0.9), result("is", 3.0, 4.0)) is None
    assert said(result("fd-x", value, 2.0), result("fd-y", 3.0, value)) is None


# --- known damage -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves():
    """Digits without labels, and as many others."""
    data = open_data("digits", DataConfig(resolution=8, labels="none"))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    known, others = (images_at(data, rows) for rows in (order[:400], order[400:800]))
    pixels = known.permute(0, 2, 3, 1).numpy()
    known_data = ArrayData(pixels, np.zeros(400, np.int64), 0, "400 digits")
    return Reference(known_data, "random-conv"), known, others


def of_images(reference, images):
    results = score(reference, images, None, ["prdc", "copies"])
    return verdict({"step": 0, "results": [encode(r) for r in results]})


def test_pictures_that_the_data_lack_are_good(halves):
    reference, _, others = halves
    sentence = of_images(reference, others)
    assert " sharp (" in sentence
    assert " varied (" in sentence
    assert " no copies (" in sentence


def test_the_data_themselves_are_copies(halves):
    reference, known, _ = halves
    sentence = of_images(reference, known)
    assert " sharp (" in sentence
    assert " varied (" in sentence
    assert "largely copies (100.0%" in sentence


def test_few_pictures_are_not_varied(halves):
    reference, _, others = halves
    assert "not varied (" in of_images(reference, others[:20].repeat(20, 1, 1, 1))


def test_noise_is_not_sharp_and_no_copy(halves):
    reference, known, _ = halves
    noise = torch.randint(0, 256, known.shape, generator=torch.Generator().manual_seed(0))
    sentence = of_images(reference, noise.to(torch.uint8))
    assert "not sharp (" in sentence
    assert "no copies (0.0%" in sentence


# --- where it stands ------------------------------------------------------------------------------


def test_page_command_and_python_say_it(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "training_charts", lambda log: [])  # which take most of its time
    monkeypatch.setattr(page, "score_charts", lambda scores: [])
    data = toy_pictures(tmp_path / "pictures.npz", num=32)
    config = toy_config(steps=4, metrics=("prdc",), features="pixels", num_evaluate=30)
    result = train(config, data, tmp_path / "run", TrainOptions(device="cpu"))
    assert result.verdict is not None
    assert result.verdict.startswith("At step 4 the pictures are ")
    assert result.verdict in html.unescape((tmp_path / "run" / "report.html").read_text())
    assert describe(result).splitlines()[1] == result.verdict
    assert json.loads(as_json(result))["verdict"] == result.verdict
    unscored = dataclasses.replace(result, verdict=None)
    assert describe(unscored).splitlines()[1].startswith("  sheet")


def test_a_page_without_scores_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "training_charts", lambda log: [])
    (tmp_path / "config.json").write_text('{"name": "toy"}')
    assert 'class="verdict"' not in write_report(tmp_path).read_text()
