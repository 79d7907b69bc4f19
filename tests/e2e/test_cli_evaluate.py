"""`limner evaluate`: checkpoints, statistics files, nearest pictures, plots, several processes."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from limner.api import pictures
from limner.cli.main import main
from limner.metrics import read_moments, streams
from processes import in_processes

FAST = ("--features", "random-conv", "--json")


def held(answer):
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def picture_of(path):
    with Image.open(path) as picture:
        picture.load()
        return picture


def test_every_checkpoint_is_scored_and_the_best_named(limner, tiny_run, tmp_path):
    words = ("--data", "digits", "--metrics", "fid,accuracy", "--num", 60)
    plot = tmp_path / "all.png"
    every = held(limner("evaluate", tiny_run, "--all", *words, "--plot", plot, *FAST))
    assert [each["step"] for each in every["checkpoints"]] == [2, 4]
    for each in every["checkpoints"]:
        alone = held(limner("evaluate", f"{tiny_run}@step-{each['step']}", *words, *FAST))
        assert each["results"] == alone["results"]
    values = {each["step"]: each["results"][0]["value"] for each in every["checkpoints"]}
    assert every["best"]["fd-random-conv"] == every["step"] == min(values, key=values.__getitem__)
    assert every["results"][0]["value"] == min(values.values())
    assert picture_of(plot).width > 400
    table = limner("evaluate", tiny_run, "--all", *words, "--features", "random-conv").out
    (marked,) = [line for line in table.splitlines() if f"{min(values.values()):.4g}*" in line]
    assert f"{every['step']} " in marked
    assert "floor" in table


def test_statistics_go_to_a_file_and_take_the_place_of_pictures(limner, tiny_run, tmp_path):
    assert limner("data", "prepare", "digits", "--out", tmp_path / "d").code == 0
    file, words = tmp_path / "s.npz", ("--metrics", "fid", "--num", 300, *FAST)
    plain = held(limner("evaluate", tiny_run, "--data", tmp_path / "d", *words))
    answer = held(limner("evaluate", "--data", tmp_path / "d", "--write-statistics", file, *FAST))
    assert answer["results"] == []
    assert answer["statistics"]["extractor"] == "random-conv"
    with np.load(file) as arrays:
        assert set(arrays) == {"mu", "sigma", "features"}
        assert arrays["mu"].dtype == arrays["sigma"].dtype == np.float64
    (result,) = held(limner("evaluate", tiny_run, "--statistics", file, *words))["results"]
    (before,) = plain["results"]
    assert result["value"] == pytest.approx(before["value"], rel=1e-9)
    assert result["name"] == f"fd-random-conv-moments-{read_moments(file).sha256[:8]}"
    assert result["floor"] is None
    other = ("--metrics", "fid", "--num", 300, "--features", "pixels")
    answer = limner("evaluate", tiny_run, "--statistics", file, *other)
    assert answer.code == 1
    assert "s.npz: moments of features of 'random-conv', not of those asked for" in answer.err
    answer = limner("evaluate", tiny_run, "--statistics", file, "--metrics", "kid")
    assert answer.code == 1
    assert "metric 'kid' needs real pictures: give --data" in answer.err


def test_nearest_pictures_of_copies_are_the_copied_ones(limner, tmp_path):
    assert limner("data", "prepare", "digits", "--out", tmp_path / "d").code == 0
    images = np.load(tmp_path / "d" / "images.npy")
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (2, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "s.npz", images=np.concatenate([images[:2], noise]))
    words = ("--data", tmp_path / "d", "--metrics", "fid", *FAST)
    near = held(limner("evaluate", tmp_path / "s.npz", *words, "--neighbours", tmp_path / "n.png"))[
        "neighbours"
    ]
    nearest = [row[0] for row in near["distances"]]
    assert nearest[:2] == pytest.approx([0, 0], abs=1e-5)
    assert min(nearest[2:]) > 1
    assert all(row == sorted(row) and len(row) == 7 for row in near["distances"])
    picture = picture_of(tmp_path / "n.png")
    assert picture.width > 8 * 8
    assert picture.text["features"] == "random-conv"


def test_the_plot_and_what_the_table_says_of_the_origin(limner, tiny_run, tmp_path):
    words = ("--data", "digits", "--num", 60, "--metrics", "fid,prdc", "--features", "random-conv")
    answer = limner("evaluate", tiny_run, *words, "--plot", tmp_path / "p.png")
    assert answer.code == 0, answer.err
    assert picture_of(tmp_path / "p.png").mode == "RGB"
    assert "random-conv, weights" in answer.out
    assert "of 1,797 real images; seed 0" in answer.out
    assert answer.err.count("\n") == 1
    assert "fid of 60 images is larger" in answer.err
    assert "prefer kid" in answer.err


def test_the_path_length_of_a_run_is_named_by_its_extractor(limner, tiny_run):
    words = ("--data", "digits", "--num", 40, "--metrics", "ppl")
    names = [r["name"] for r in held(limner("evaluate", tiny_run, *words, *FAST))["results"]]
    assert names == ["ppl-random-conv", "ppl-end-random-conv"]


def test_samples_in_biggan_pytorchs_layout_score_as_the_run(limner, tiny_run, tmp_path):
    out, words = tmp_path / "samples.npz", ("--data", "digits", "--metrics", "fid,accuracy")
    answer = limner("sample", tiny_run, "--num", 60, "--out", out, "--npz-layout", "biggan-pytorch")
    assert answer.code == 0, answer.err
    with np.load(out) as arrays:
        assert {name: arrays[name].dtype.str for name in arrays} == {"x": "|u1", "y": "<i8"}
        assert arrays["x"].shape == (60, 1, 8, 8)
    found = held(limner("evaluate", out, *words, *FAST))["results"]
    wanted = held(limner("evaluate", tiny_run, "--num", 60, *words, *FAST))["results"]
    values = [[result["value"] for result in results] for results in (found, wanted)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    answer = limner("sample", tiny_run, "--out", tmp_path / "a.png", "--npz-layout", "float")
    assert answer.code == 1
    assert "give FILE.npz" in answer.err


def test_samples_of_biggan_pytorch_are_read(limner, tmp_path):
    assert limner("data", "prepare", "digits", "--out", tmp_path / "d").code == 0
    images, labels = (np.load(tmp_path / "d" / f"{name}.npy") for name in ("images", "labels"))
    np.savez(tmp_path / "samples.npz", x=images[:300].transpose(0, 3, 1, 2), y=labels[:300])
    words = ("--data", tmp_path / "d", "--metrics", "accuracy,fid", *FAST)
    accuracy, fid = held(limner("evaluate", tmp_path / "samples.npz", *words))["results"]
    assert accuracy["value"] > 0.95
    assert fid["value"] < 3 * fid["floor"]


@pytest.mark.parametrize(("metrics", "closeness"), [("fid,is,kid", 1e-12), ("kid,prdc,cas", 0)])
def test_processes_together_give_the_value_of_one(
    limner, tiny_run, tmp_path, monkeypatch, metrics, closeness
):
    monkeypatch.setattr(streams, "IMAGES_PER_PART", 128)
    words = ["evaluate", str(tiny_run), "--data", "digits", "--metrics", metrics]
    words += ["--num", "600", *FAST]
    alone = held(limner(*words))["results"]

    def one(rank):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            code = main(words)
        (tmp_path / f"{rank}.json").write_text(out.getvalue())
        return code

    assert in_processes(2, one) == [0, 0]
    together = json.loads((tmp_path / "0.json").read_text())["results"]
    assert (tmp_path / "1.json").read_text() == ""
    assert len(together) == len(alone)
    for ours, theirs in zip(together, alone, strict=True):
        for key in ("value", "std"):
            if theirs[key] is not None:
                assert ours[key] == pytest.approx(theirs[key], rel=closeness, abs=closeness)
        changed = {"value": 0, "std": 0}
        assert ours | changed == theirs | changed


def test_many_pictures_lie_on_the_disk_and_score_the_same(limner, tmp_path, monkeypatch):
    assert limner("data", "prepare", "digits", "--out", tmp_path / "d").code == 0
    images = np.load(tmp_path / "d" / "images.npy")[:100]
    np.savez(tmp_path / "s.npz", images=images)
    words = ("--data", tmp_path / "d", "--metrics", "fid", *FAST)
    before = held(limner("evaluate", tmp_path / "s.npz", *words))["results"]
    monkeypatch.setattr(pictures, "BYTES_IN_MEMORY", 100)
    spooled = pictures.read_pictures(tmp_path / "s.npz", None, lambda *_: None).images
    assert isinstance(spooled, np.memmap)
    assert np.array_equal(spooled, images)
    assert held(limner("evaluate", tmp_path / "s.npz", *words))["results"] == before
