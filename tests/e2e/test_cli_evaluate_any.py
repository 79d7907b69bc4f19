"""`limner evaluate` and `curve` on anything: what is scored, with which words, and what is refused."""

import csv
import json
import shutil
import sys
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from limner import api
from limner.api import training
from limner.api.judging import best_steps
from limner.checkpoints import RunDirectory, list_states
from limner.cli.main import main
from limner.data import PreparedData
from limner.engine import Intervals
from limner.metrics import EXTRACTORS, METRICS, Result, reference, streams
from limner.metrics.features import RandomConv
from limner.metrics.features.base import images_at
from limner.sampling import Model
from runs import toy_pictures
from toys import toy_config

FAST = ("--features", "random-conv")
FID = ("--metrics", "fid", *FAST)


def noise(num, size=8, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, size, size, channels), np.uint8)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders and files by name: good ones, and bad ones of every kind."""
    root = tmp_path_factory.mktemp("places")
    for name, num, size, channels in (
        ("gray", 20, 8, 1), ("color", 20, 8, 3), ("large", 20, 16, 1), ("single", 1, 8, 1),
    ):  # fmt: skip
        (root / name).mkdir()
        for i, pixels in enumerate(noise(num, size, channels)):
            Image.fromarray(pixels.squeeze()).save(root / name / f"{i}.png")
    for label in range(3):
        (root / "three" / str(label)).mkdir(parents=True)
        for i, pixels in enumerate(noise(6, seed=label)):
            Image.fromarray(pixels.squeeze()).save(root / "three" / str(label) / f"{i}.png")
    (root / "empty").mkdir()
    (root / "rubbish.npz").write_bytes(b"PK\x03\x04 rubbish")
    (root / "text.npz").write_text("hello")
    (root / "text.txt").write_text("hello")
    np.savez(root / "floats.npz", images=noise(20) / 255)
    np.savez(root / "good.npz", images=noise(20))
    return root


# --- models against other data ------------------------------------------------------------------


def test_a_model_with_classes_is_scored_against_pictures_without(limner, tiny_run, places):
    answer = limner("evaluate", tiny_run, "--data", places / "gray", "--num", 20, *FID, "--json")
    assert answer.code == 0, answer.err
    (result,) = json.loads(answer.out)["results"]
    assert (result["num"], result["num_real"]) == (20, 20)
    assert "warning" not in answer.err
    words = ("--metrics", "fid,accuracy", "--num", 20, *FAST)
    answer = limner("evaluate", tiny_run, "--data", places / "gray", *words, "--json")
    assert answer.code == 0
    assert [entry["metric"] for entry in json.loads(answer.out)["results"]] == ["fid"]
    assert "left out: accuracy, which need classes, and the pictures have none" in answer.err


def test_against_other_classes_labels_are_not_used_and_a_line_says_so(limner, tiny_run, places):
    answer = limner("evaluate", tiny_run, "--data", places / "three", "--num", 20, *FID)
    assert answer.code == 0, answer.err
    assert "warning: the model has 10 classes, the data 3; labels are not used" in answer.err
    words = ("--metrics", "accuracy", "--num", 20, *FAST)
    answer = limner("evaluate", tiny_run, "--data", places / "three", *words)
    assert answer.code == 1
    told, error = answer.err.splitlines()
    assert "warning: the model has 10 classes, the data 3; labels are not used" in told
    assert "metric 'accuracy' needs labels of the generated images" in error


def test_enlarged_pictures_are_told_but_not_those_of_the_training(limner, tiny_run, places):
    answer = limner("evaluate", places / "large", "--data", places / "gray", *FID)
    assert answer.code == 0, answer.err
    assert "from 8 pixels a side on were enlarged to 16" in answer.err
    for place in (places / "large", places / "good.npz"):
        answer = limner("evaluate", place, "--data", place, *FID)
        assert "enlarged" not in answer.err


def test_a_zip_and_a_folder_of_the_same_pictures_score_alike(limner, places, tmp_path):
    with zipfile.ZipFile(tmp_path / "gray.zip", "w") as archive:
        for path in sorted((places / "gray").iterdir()):
            archive.write(path, path.name)
    values = []
    for place in (places / "gray", tmp_path / "gray.zip"):
        answer = limner("evaluate", place, "--data", places / "good.npz", *FID, "--json")
        assert answer.code == 0, answer.err
        values.append(json.loads(answer.out)["results"][0]["value"])
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("images", "data", "message"),
    [
        ("run", "run", "a run or a model, and scores need pictures; draw its own by limner sample"),
        ("good.npz", "run/model", "a run or a model, and scores need pictures"),
        ("run", "single", "1 picture; scores need at least 2"),
        ("good.npz", "single", "1 picture; scores need at least 2"),
        ("single", "gray", "1 image; scores need at least 2"),
        ("run", "empty", "no picture could be read"),
        ("empty", "gray", "no picture in it"),
        ("rubbish.npz", "gray", "cannot be read as an .npz"),
        ("text.npz", "gray", "cannot be read as an .npz"),
        ("text.txt", "gray", "not understood as pictures"),
        ("floats.npz", "gray", "store them as uint8"),
        ("nowhere", "gray", "no such run directory or model folder"),
        ("run", "nowhere", "no such file or folder"),
    ],
)
def test_what_cannot_be_scored_is_one_line(limner, tiny_run, places, images, data, message):
    def place(name):
        run, _, rest = name.partition("/")
        return tiny_run / rest if run == "run" else places / name

    answer = limner("evaluate", place(images), "--data", place(data), *FID)
    assert answer.code == 1
    assert message in answer.err
    assert answer.err.count("\n") == 1
    if data == "run":
        assert limner("curve", tiny_run, "--data", tiny_run, "--out", places / "c").code == 1


def test_more_images_than_there_are_are_refused(limner, places):
    words = ("--data", places / "gray", "--num", 30, *FID)
    assert "20 images, fewer than --num 30" in limner("evaluate", places / "good.npz", *words).err


# --- all checkpoints ----------------------------------------------------------------------------


def test_a_damaged_checkpoint_is_left_out(limner, tiny_run, places, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    for path in (run / "checkpoints/step-00000002").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    words = ("evaluate", run, "--all", "--data", places / "gray", "--num", 20, *FID)
    answer = limner(*words, "--json")
    assert answer.code == 0, answer.err
    assert [each["step"] for each in json.loads(answer.out)["checkpoints"]] == [4]
    assert "step-00000002" in answer.err
    assert "it is left out" in answer.err
    for path in (run / "checkpoints/step-00000004").glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    answer = limner(*words)
    assert answer.code == 1
    assert "step-00000004" in answer.err


def test_a_figure_that_is_not_finite_is_never_the_best():
    def result(value, higher):
        return Result(
            metric="fid", name="fd", value=value, std=None, extractor="x", weights_sha256=None,
            num=2, floor=None, seed=0, num_real=2, resize=None, data_sha256="",
            higher_is_better=higher,
        )  # fmt: skip

    values = (float("nan"), 5.0, float("nan"), 7.0)
    for higher, best in ((False, 2), (True, 4)):  # the result says it, whatever its metric is
        by_step = {step: [result(value, higher)] for step, value in enumerate(values, 1)}
        assert best_steps(by_step) == {"fd": best}


# --- statistics ---------------------------------------------------------------------------------


def test_statistics_are_of_all_pictures_even_of_more_than_scores_look_at(
    limner, tmp_path, monkeypatch
):
    assert limner("data", "prepare", "digits", "--out", tmp_path / "d").code == 0
    monkeypatch.setattr(reference, "NUM_REAL_MAX", 200)
    monkeypatch.setattr(streams, "IMAGES_PER_PART", 512)
    file, words = tmp_path / "s.npz", ("--data", tmp_path / "d", *FAST)
    answer = limner("evaluate", *words, "--write-statistics", file)
    assert answer.code == 0, answer.err
    assert answer.out == f"{file}: mu and sigma of 1,797 pictures by random-conv\n"
    data = PreparedData(tmp_path / "d")
    features = RandomConv(data).features(images_at(data, torch.arange(len(data)))).double().numpy()
    with np.load(file) as arrays:
        assert arrays["mu"] == pytest.approx(features.mean(axis=0), rel=1e-9)
        assert arrays["sigma"] == pytest.approx(np.cov(features.T), rel=1e-6, abs=1e-12)


# --- the curve ----------------------------------------------------------------------------------


def test_a_curve_tells_floors_origins_and_notes(limner, tiny_run, tmp_path):
    words = ("curve", tiny_run, "--data", "digits", "--num", 60, "--truncations", "0.5,1")
    answer = limner(*words, *FID, "--out", tmp_path / "c")
    assert answer.code == 0, answer.err
    floors = [line for line in answer.out.splitlines() if line.startswith("│") and "floor" in line]
    assert len(floors) == 1
    assert "random-conv, weights" in answer.out
    assert "fid of 60 images is larger" in answer.err
    answer = limner(*words, *FID, "--out", tmp_path / "c", "--json")
    held = json.loads(answer.out)
    assert f"{held['points'][0]['results'][0]['floor']:.4g}" in floors[0]
    assert len(held["notes"]) == 1
    with open(tmp_path / "c" / "curve.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


def test_figures_are_told_even_where_no_picture_of_them_can_be_made(
    limner, tiny_run, places, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ("evaluate", tiny_run, "--data", places / "gray", "--num", 20, *FID)
    answer = limner(*words, "--plot", tmp_path / "p.png")
    assert answer.code == 1
    assert "fd-random-conv" in answer.out
    assert "limner[report]" in answer.err
    held = json.loads(limner(*words, "--plot", tmp_path / "p.png", "--json").out)
    assert [result["name"] for result in held["results"]] == ["fd-random-conv"]
    assert "plot" not in held

    words = ("curve", tiny_run, "--data", "digits", "--num", 60, "--truncations", "1", *FID)
    answer = limner(*words, "--out", tmp_path / "c")
    assert answer.code == 1
    assert "fd-random-conv" in answer.out
    assert "fid of 60 images is larger" in answer.err
    assert "limner[report]" in answer.err
    assert len(json.loads(limner(*words, "--out", tmp_path / "c", "--json").out)["points"]) == 1


def test_figures_are_told_before_nearest_pictures_are_refused(limner, tiny_run, places, tmp_path):
    words = (*FID, "--write-statistics", tmp_path / "s.npz")
    words = ("evaluate", tiny_run, "--data", places / "gray", "--num", 20, *words)
    assert limner(*words).code == 0
    words = ("evaluate", tiny_run, "--statistics", tmp_path / "s.npz", "--num", 20, *FID)
    answer = limner(*words, "--neighbours", tmp_path / "n.png")
    assert answer.code == 1
    assert "fd-random-conv" in answer.out
    assert "nearest real images: give real pictures" in answer.err


def test_a_curve_holds_a_part_of_its_images(limner, tiny_run, tmp_path, monkeypatch):
    asked, original = [], Model.plan

    def plan(self, **options):
        asked.append(len(options["seeds"]))
        return original(self, **options)

    words = ("curve", tiny_run, "--data", "digits", "--num", 200, "--truncations", "0.5")
    words = (*words, "--metrics", "kid,accuracy", *FAST, "--json")
    one = json.loads(limner(*words, "--out", tmp_path / "a").out)["points"]
    monkeypatch.setattr(streams, "IMAGES_PER_PART", 128)
    monkeypatch.setattr(Model, "plan", plan)
    other = json.loads(limner(*words, "--out", tmp_path / "b").out)["points"]
    assert other == one
    assert asked == [1, 128, 72, 8]  # a check of the options, two parts, and the strip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--metrics", "fid,ppl"), "no truncation changes"),
        (("--metrics", ","), "--metrics is empty"),
        (("--num", 0), "too few"),
    ],
)
def test_what_makes_no_curve_is_refused(limner, tiny_run, tmp_path, words, message):
    answer = limner("curve", tiny_run, "--data", "digits", *words, "--out", tmp_path / "c", *FAST)
    assert answer.code == 1
    assert message in answer.err
    assert not (tmp_path / "c").exists()


# --- statistics of a model ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "words", "message"),
    [
        ("gray", (), "is not a model folder"),
        ("text.txt", (), "is not a model folder"),
        ("m", ("--truncations", "0.5,0.2"), "in rising order"),
    ],
)
def test_standing_statistics_are_refused_before_they_are_made(
    limner, tiny_run, places, monkeypatch, out, words, message
):
    monkeypatch.setattr("limner.api.standing.standing_statistics", None)
    answer = limner("statistics", tiny_run, "--out", places / out, *words)
    assert answer.code == 1
    assert message in answer.err


# --- one wording --------------------------------------------------------------------------------


def test_the_help_names_every_metric_and_extractor(capsys):
    helps = {}
    for command in ("evaluate", "curve"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        helps[command] = " ".join(capsys.readouterr().out.split())
    for name in EXTRACTORS:
        assert all(name in text for text in helps.values()), name
    for name in METRICS:
        assert name in helps["evaluate"], name


# --- features of a training ---------------------------------------------------------------------


def trained(limner, run, *settings):
    words = ('metrics=["fid"]', "num_evaluate=40", "batch_size=8", "intervals.sample=0")
    pairs = [word for setting in (*words, *settings) for word in ("--set", setting)]
    return limner("train", "digits-tiny", "--run", run, "--steps", 1, "--device", "cpu", *pairs)


def test_a_training_looks_at_the_features_that_its_config_names(limner, tmp_path):
    run = tmp_path / "run"
    answer = trained(limner, run, "features=pixels")
    assert answer.code == 0, answer.err
    (line,) = RunDirectory(run).read_log("scores")
    assert [result["name"] for result in line["results"]] == ["fd-pixels"]
    words = ("--data", "digits", "--metrics", "fid", "--num", 40, "--features", "pixels", "--json")
    (again,) = json.loads(limner("evaluate", f"{run}@best-fid", *words).out)["results"]
    assert again["value"] == line["results"][0]["value"]


def test_features_that_a_training_cannot_have_are_refused_at_its_start(limner, tmp_path):
    for name in ("inception-torchvision", "pixel", "nowhere.pth"):
        answer = trained(limner, tmp_path / "run", f"features={name}")
        assert answer.code == 1
        assert f"'{name}'" in answer.err
        assert not list((tmp_path / "run").rglob("step-*"))


# --- the best checkpoints of a training ---------------------------------------------------------


def test_a_resumed_run_keeps_the_best_of_before(tmp_path, monkeypatch):
    """Two figures with different bests; the newest two and the best of each stay."""
    distances, shares = {2: 1.0, 4: 9.0, 6: 8.0, 8: 7.0, 10: 6.0}, {2: 0.1, 4: 0.9, 6: 0.9}
    at = [0]

    def evaluate(self, generator):
        results = [
            ("fid", "fd-x", distances[at[0]]),
            ("prdc", "precision", shares.get(at[0], 0.2)),
        ]
        return [{"metric": m, "name": name, "value": value} for m, name, value in results]

    monkeypatch.setattr(training._Training, "_evaluate", evaluate)
    pictures, run = toy_pictures(tmp_path / "p.npz"), RunDirectory(tmp_path / "run")
    options = api.TrainOptions(device="cpu", on_step=lambda step, nimg: at.__setitem__(0, step))
    intervals = Intervals(log=2, sample=0, save=0, evaluate=2)
    for steps in (6, 10):
        config = toy_config(steps=steps, metrics=("fid", "prdc"), intervals=intervals)
        api.train(config, pictures, run.path, options)
    assert sorted(step for step, _ in list_states(run.checkpoints)) == [2, 6, 8, 10]
    assert run.select("best-fid").name == "step-00000002"
    assert run.select("best-precision").name == "step-00000006"  # of equals the newer


# --- standing statistics ------------------------------------------------------------------------


def test_scores_with_standing_statistics_are_those_of_the_training(limner, places, tmp_path):
    run, settings = tmp_path / "run", ("features=pixels", "standing_passes=2")
    assert trained(limner, run, *settings).code == 0
    (line,) = RunDirectory(run).read_log("scores")
    words = ("--data", "digits", "--metrics", "fid", "--num", 40, "--features", "pixels", "--json")
    answer = limner("evaluate", run, *words, "--standing", "2x8")
    assert answer.code == 0, answer.err
    assert "warning" not in answer.err
    (result,) = json.loads(answer.out)["results"]
    assert result["value"] == line["results"][0]["value"]
    answer = limner("evaluate", run, *words)
    assert "own scores were taken with standing statistics; --standing 2x8" in answer.err
    assert json.loads(answer.out)["results"][0]["value"] != result["value"]
    answer = limner("evaluate", places / "gray", "--data", places / "gray", *FID, "--standing", 2)
    assert "--standing takes a model" in answer.err
