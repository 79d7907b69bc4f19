"""`limner curve`, `limner statistics`, walks in rows, the sheets of a run, and the sampling script."""

import csv
import json
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import limner as package

EXAMPLE = Path(__file__).parents[2] / "examples" / "sample_biggan.py"


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_a_curve_is_a_table_a_plot_and_a_strip(limner, tiny_run, tmp_path):
    words = ("curve", tiny_run, "--data", "digits", "--num", 60, "--metrics", "fid,is")
    words = (*words, "--truncations", "0.04,0.5,2", "--standing", "2x16")
    answer = limner(*words, "--out", tmp_path / "c", "--json")
    assert answer.code == 0, answer.err
    points = json.loads(answer.out)["points"]
    assert [point["truncation"] for point in points] == [0.04, 0.5, 2.0]
    names = [result["name"] for result in points[0]["results"]]
    assert names == ["fd-classifier", "is-classifier"]
    assert all(0.0 <= point["saturated"] <= 1.0 for point in points)
    assert len({point["results"][0]["value"] for point in points}) == 3
    with open(tmp_path / "c" / "curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["fd-classifier"]) == points[1]["results"][0]["value"]
    assert float(rows[2]["saturated"]) == points[2]["saturated"]
    assert sorted(os.listdir(tmp_path / "c")) == ["curve.csv", "curve.png", "strip.png"]
    width, height = size(tmp_path / "c" / "strip.png")
    assert height > 2 * width  # three truncations, eight seeds
    assert min(size(tmp_path / "c" / "curve.png")) > 200

    answer = limner(*words, "--standing-at", 0.5, "--out", tmp_path / "d", "--json")
    once = json.loads(answer.out)["points"]
    assert once[1] == points[1]
    assert once[0]["results"] != points[0]["results"]


def test_statistics_are_stored_and_used(limner, tiny_run, tmp_path):
    words = ("statistics", tiny_run, "--passes", 2, "--batch-size", 8)
    answer = limner(*words, "--truncations", "0.5:1:0.25", "--out", tmp_path / "m", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["truncations"] == [0.5, 0.75, 1.0]
    model = package.load(tmp_path / "m")
    assert model.config.truncations == (0.5, 0.75, 1.0)
    sample = ("sample", tmp_path / "m", "--num", 4, "--truncation-mode", "statistics")
    assert limner(*sample, "--truncation", 0.6, "--out", tmp_path / "a.npz").code == 0
    with np.load(tmp_path / "a.npz") as held:
        wanted = model.sample(num=4, truncation=0.6, truncation_mode="statistics")
        assert np.array_equal(held["images"], wanted)
        assert not np.array_equal(wanted, model.sample(z=held["z"]))
    answer = limner(*sample, "--truncation", 0.2, "--out", tmp_path / "b.npz")
    assert answer.code == 1
    assert "this model has statistics for 0.5 to 1" in answer.err
    answer = limner("sample", tiny_run, *sample[2:], "--truncation", 0.6, "--out", tmp_path / "b")
    assert answer.code == 1
    assert "limner statistics" in answer.err

    assert limner(*words, "--out", tmp_path / "n").code == 0
    replaced = package.load(tmp_path / "n")
    assert replaced.config.truncations == ()
    assert not np.array_equal(replaced.sample(num=4), package.load(tiny_run).sample(num=4))


def test_standing_statistics_before_sampling(limner, tiny_run, tmp_path):
    words = ("sample", tiny_run, "--num", 4, "--truncation", 0.3)
    for name, more in {"a": (), "b": ("--standing", "3x8"), "c": ("--standing", "3x8")}.items():
        assert limner(*words, *more, "--out", tmp_path / f"{name}.npz").code == 0
    a, b, c = (np.load(tmp_path / f"{name}.npz")["images"] for name in "abc")
    assert np.array_equal(b, c)
    assert not np.array_equal(a, b)


def test_a_sheet_of_walks_of_any_size(limner, tiny_run, tmp_path):
    for along in ("z", "y", "zy"):
        out = tmp_path / f"{along}.png"
        words = ("--rows", 3, "--steps", 5, "--along", along, "--slerp", "--from", "7:4")
        answer = limner("interpolate", tiny_run, *words, "--out", out)
        assert answer.code == 0, answer.err
        width, height = size(out)
        assert width / height == pytest.approx(5 / 3, rel=0.02)
    answer = limner("interpolate", tiny_run, "--rows", 3, "--to", "4", "--out", tmp_path / "x.png")
    assert answer.code == 1
    assert "leave --to out" in answer.err


def test_a_run_draws_its_sheets(tiny_run):
    names = {path.name for path in (tiny_run / "samples").iterdir()}
    kinds = ("", "classes-", "walk-z-", "walk-y-", "walk-zy-")
    assert {f"{kind}step-{step:08d}.png" for kind in kinds for step in (2, 4)} <= names


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--truncations", "1:0:0.1"), "the last not below the first"),
        (("--truncations", "a"), "FIRST:LAST:STEP"),
        (("--truncations", "0,1"), "numbers above 0"),
        (("--standing", "3y"), "PASSESxBATCH"),
        (("--standing-at", "1"), "how much"),
        (("--truncation-mode", "statistics"), "holds no statistics"),
        (("--metrics", "fit"), "nearest"),
    ],
)
def test_wrong_curves_are_refused_in_one_line(limner, tiny_run, tmp_path, words, message):
    answer = limner("curve", tiny_run, "--data", "digits", *words, "--out", tmp_path / "c")
    assert answer.code == 1
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "c").exists()


def test_the_script_yields_what_biggan_pytorchs_does(tiny_run, tmp_path, monkeypatch, capsys):
    words = ["--data", "digits", "--out", str(tmp_path), "--num", "40", "--standing", "1x8"]
    words += ["--truncations", "0.5,1", "--classes-per-sheet", "4"]
    monkeypatch.setattr(sys, "argv", [EXAMPLE.name, str(tiny_run), *words])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert str(tmp_path) in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path)) == [
        *("classes-0000.png", "classes-0004.png", "classes-0008.png", "curve.csv", "curve.png"),
        *("interpolation-y.png", "interpolation-z.png", "interpolation-zy.png", "random.png"),
        *("samples.npz", "scores.json", "strip.png"),
    ]
    with np.load(tmp_path / "samples.npz") as held:
        assert held["x"].shape == (40, 1, 8, 8)
        assert sorted(set(held["y"].tolist())) == list(range(10))
    names = [score["name"] for score in json.loads((tmp_path / "scores.json").read_text())]
    assert names == ["fd-classifier", "is-classifier"]
