"""One score that cannot be had does not take the others along; lines name score, side, number."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from limner import presets
from limner.api import TrainOptions, train
from limner.api.pictures import read_pictures
from limner.cli.main import main
from limner.core.errors import LimnerError
from limner.engine import Intervals
from limner.metrics import METRICS, NoScores, Reference, check_metrics, notes, score
from limner.metrics.arrays import ArrayData

SIDE = 32


def noise(num, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, SIDE, SIDE, 3), np.uint8)


def data(num, labels=None, num_classes=0, seed=0):
    labels = np.zeros(num, np.int64) if labels is None else np.array(labels)
    return ArrayData(noise(num, seed), labels, num_classes, f"noise-{num}-{seed}-{num_classes}")


def images(num, seed=1):
    return torch.from_numpy(noise(num, seed)).permute(0, 3, 1, 2)


class Told(dict):
    def __call__(self, metrics, line):
        self[metrics] = self.get(metrics, "") + line


def scored(num_fake, num_real, metrics, labels=None, real_labels=None, num_classes=0):
    told = Told()
    real = data(num_real, real_labels, num_classes)
    reference = Reference(real, "pixels", seed=0)
    given = None if labels is None else torch.tensor(labels)
    found = score(reference, images(num_fake), given, metrics, told)
    return {result.name: result for result in found}, told


def test_six_pictures_a_side_have_all_but_what_six_are_too_few_for():
    found, told = scored(6, 6, ["fid", "kid", "prdc", "is", "swd", "msssim"])
    assert {"fd-pixels", "kd-pixels", "precision", "swd-avg", "ms-ssim"} <= set(found)
    assert not any(name.startswith("is") for name in found)
    assert found["precision"].floor is None
    assert found["fd-pixels"].floor is not None
    assert "needs 8, and there are 6" in told["prdc"]
    assert "'prdc' has no floor" in told["prdc"]


@pytest.mark.parametrize(
    ("num_fake", "num_real", "name", "words"),
    [
        (3, 9, "prdc", "'prdc' needs 4 generated images, and there are 3"),
        (9, 3, "prdc", "'prdc' needs 4 real images, and there are 3"),
        (9, 1, "kid", "'kid' needs 2 real images, and there are 1"),
        (1, 9, "msssim", "'msssim' needs 2 generated images, and there are 1"),
    ],
)
def test_the_line_names_score_side_and_number(num_fake, num_real, name, words):
    found, told = scored(num_fake, num_real, [name, "swd"])
    assert found["swd-avg"].value > 0
    assert words in told[name]
    assert "it is left out" in told[name]
    with pytest.raises(NoScores, match=words):
        scored(num_fake, num_real, [name])


def test_classes_without_enough_images_take_intra_fid_alone():
    labels, real_labels = [0, 0, 1, 1, 2], [0, 1, 2] * 4
    found, told = scored(5, 12, ["intra-fid", "fid"], labels, real_labels, 3)
    assert list(found) == ["fd-pixels"]
    words = "needs 2 generated images of each class, 6 in even shares, and of class 2 there are 1"
    assert words in told["intra-fid"]
    found, told = scored(6, 12, ["intra-fid"], [0, 1, 2] * 2, real_labels, 3)
    assert found["intra-fd-pixels"].floor is not None
    found, told = scored(6, 9, ["intra-fid"], [0, 1, 2] * 2, [0, 1, 2] * 3, 3)
    assert found["intra-fd-pixels"].floor is None
    assert "needs 4 of each class" in told["intra-fid"]
    found, told = scored(6, 3, ["intra-fid", "fid"], [0, 1, 2] * 2, [0, 1, 2], 3)
    assert "2 real images of a class, and the most of one are 1" in told["intra-fid"]


def test_what_needs_labels_or_a_generator_drops_out_and_says_why():
    found, told = scored(8, 8, ["accuracy", "ppl", "is", "fid"])
    assert list(found) == ["fd-pixels"]
    assert "'accuracy' needs labels of the generated images" in told["accuracy"]
    assert "needs a generator" in told["ppl"]
    assert "needs a classifier" in told["is"]
    told = Told()
    assert check_metrics(["cas", "fid", "swd"], data(8), "pixels", told) == ["fid", "swd"]
    assert "'cas' needs data with classes" in told["cas"]
    small = dataclasses.replace(data(8), images=noise(8)[:, :8, :8])
    assert check_metrics(["swd", "fid"], small, "pixels", told) == ["fid"]
    assert "16 pixels a side" in told["swd"]
    with pytest.raises(LimnerError, match="unknown metric 'swdd'"):
        check_metrics(["fid", "swdd"], data(8), "pixels", told)


class Blind:
    """Features that cannot be had of a picture."""

    name, weights_sha256 = "blind", None

    def features(self, images):
        raise LimnerError("this network reads 299 pixels only")


def test_features_that_fail_take_only_what_reads_them(tmp_path):
    told = Told()
    found = score(Reference(data(8), Blind()), images(8), None, ["fid", "kid", "swd"], told)
    assert {result.metric for result in found} == {"swd"}
    line = "metric 'fid', 'kid': this network reads 299 pixels only; they are left out"
    assert dict(told) == {"fid, kid": line}
    missing = Reference(data(8), str(tmp_path / "none.pth"))
    found = score(missing, images(8), None, ["fid", "swd"], told)
    assert {result.metric for result in found} == {"swd"}
    assert "there is no such file" in told["fid"]
    with pytest.raises(LimnerError, match="unknown features 'inceptoin'; nearest is 'inception'"):
        Reference(data(8), "inceptoin")


def test_a_distance_below_zero_or_under_its_floor_gets_its_note():
    found, _ = scored(8, 8, ["kid", "fid", "prdc", "copies"])
    kid, fid = found["kd-pixels"], found["fd-pixels"]
    assert notes([kid.replace(value=-0.01, floor=0.2)]) == [
        "kd-pixels -0.01 is below 0: an estimate without bias scatters around the true distance, "
        "which is about 0; read it as 0"
    ]
    (few, under) = notes([fid.replace(value=1.0, floor=2.0)])
    assert "fid of 8 images is larger" in few
    assert under.startswith("fd-pixels 1 is under its floor 2: ")
    assert notes([kid.replace(value=0.3, floor=0.2)]) == []
    assert notes([found["copies"].replace(value=0.0, floor=0.1)]) == []
    assert notes([found["precision"].replace(value=0.9, floor=0.8)]) == []
    for name, metric in METRICS.items():
        assert metric.under_floor is None or not metric.higher_is_better, name


def write(folder, num, seed, **text):
    folder.mkdir(parents=True, exist_ok=True)
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    for i, pixels in enumerate(noise(num, seed)):
        Image.fromarray(pixels).save(folder / f"{seed}-{i}.png", pnginfo=info)
    return folder


def test_a_folder_of_pictures_of_two_states_is_told(tmp_path):
    folder = write(tmp_path / "samples", 5, 0, model_sha256="aaaabbbbcccc9999", truncation="1")
    read_pictures(folder)
    write(folder, 3, 1, model_sha256="ddddeeeeffff", truncation="1")
    with pytest.warns(
        UserWarning, match="2 states, 5 of model_sha256 aaaabbbbcccc truncation 1, 3 of"
    ):
        read_pictures(folder)


def test_the_command_prints_what_can_be_had(tmp_path, capsys):
    """shared/cases/too-few-for-one-score."""
    a, b = write(tmp_path / "a", 6, 0), write(tmp_path / "b", 6, 7)
    words = ["evaluate", str(a), "--data", str(b), "--features", "pixels", "--json"]
    assert main([*words, "--metrics", "fid,kid,prdc,swd,is"]) == 0
    out, err = capsys.readouterr()
    plain = json.loads(out)
    names = [result["name"] for result in plain["results"]]
    assert names[:3] == ["fd-pixels", "kd-pixels", "precision"]
    assert names[-1] == "swd-avg"
    reasons = {entry["metric"]: entry["reason"] for entry in plain["left_out"]}
    assert set(reasons) == {"is", "prdc"}
    for line in reasons.values():
        assert line in plain["notes"]
        assert f"limner evaluate: note: {line}" in err
    assert main([*words, "--metrics", "is"]) == 1
    assert "metric 'is' needs" in capsys.readouterr().err


def test_training_goes_on_without_a_score_and_says_so_once(tmp_path):
    np.savez(tmp_path / "some.npz", images=noise(12)[:, :8, :8])
    config = presets.get("digits-tiny")()
    config = config.replace(
        metrics=("fid", "accuracy", "prdc"),
        num_evaluate=3,
        features="pixels",
        steps=2,
        batch_size=4,
        intervals=Intervals(log=1, sample=0, save=0, evaluate=1),
    )
    run = tmp_path / "run"
    train(config, tmp_path / "some.npz", run, TrainOptions(device="cpu"))
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    told = [event["message"] for event in events if event["event"] == "warning"]
    assert [line for line in told if "left out: accuracy, which need classes" in line] == told[:1]
    assert [line for line in told if "'prdc' needs 4 generated images" in line] == told[1:2]
    assert len(told) == 2
    scores = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert [[result["metric"] for result in line["results"]] for line in scores] == [["fid"]] * 2


def test_all_checkpoints_are_scored_without_what_none_can_have(tmp_path, capsys):
    np.savez(tmp_path / "some.npz", images=noise(12)[:, :8, :8])
    config = presets.get("digits-tiny")()
    small = Intervals(log=1, sample=0, save=1)
    config = config.replace(metrics=(), steps=2, batch_size=4, intervals=small)
    train(config, tmp_path / "some.npz", tmp_path / "run", TrainOptions(device="cpu"))
    words = ["evaluate", str(tmp_path / "run"), "--data", str(tmp_path / "some.npz"), "--all"]
    words += ["--metrics", "prdc,fid", "--num", "3", "--features", "pixels", "--device", "cpu"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert "fd-pixels" in out
    assert "recall" not in out
    assert err.count("'prdc' needs 4 generated images, and there are 3; it is left out") == 1
