"""Every command on a run of a generator of styles that was trained a moment before."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import limner as package
from limner.cli.main import main

GENERATOR = {
    "type": "StyleGan2Generator",
    "z_dim": 8,
    "w_dim": 8,
    "num_mapping": 2,
    "channel_base": 64,
    "channel_max": 8,
}
SAMPLED = ["classes", "step", "walk-y", "walk-z", "walk-zy"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "styled"
    changes = [
        f"generator={json.dumps(GENERATOR)}",
        'metrics=["fid"]',
        "num_evaluate=64",
        "data.filter=box",
        "batch_size=16",
        "intervals.sample=2",
        "intervals.save=2",
        "intervals.evaluate=2",
    ]
    words = ["train", "digits-tiny", "--run", str(run), "--steps", "4", "--json"]
    assert main(words + [word for change in changes for word in ("--set", change)]) == 0
    return run


@pytest.fixture(scope="module")
def model(run):
    return package.load(run, "cpu")


def text_of(path: Path) -> dict[str, str]:
    with Image.open(path) as picture:
        return dict(picture.info)


def test_training_leaves_sheets_scores_and_a_mean_style(run, model):
    names = {
        path.name.rpartition("-step")[0] or "step" for path in (run / "samples").glob("*-*4.png")
    }
    assert sorted(names) == SAMPLED
    scores = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert [line["step"] for line in scores] == [2, 4]
    assert model.generator.mean_style.abs().max() > 0
    folder = package.load(run / "model", "cpu")
    assert torch.equal(folder.generator.mean_style, model.generator.mean_style)


def test_samples_and_sheets_are_truncated_in_w(limner, run, model, tmp_path):
    look = ("--truncation", 0.7, "--truncation-mode", "w", "--truncation-cutoff", 2)
    look = (*look, "--noise", "random")
    answer = limner("sample", run, "--seeds", "5-6", *look, "--out", tmp_path / "a.npz")
    assert answer.code == 0, answer.err
    asked = {"truncation": 0.7, "truncation_cutoff": 2, "noise": "random"}
    with np.load(tmp_path / "a.npz") as file:
        assert np.array_equal(file["images"], model.sample(seeds="5-6", **asked))
    answer = limner("sample", run, "--num", 20, *look, "--grid", "--out", tmp_path / "a.png")
    assert answer.code == 0, answer.err
    text = text_of(tmp_path / "a.png")
    assert (text["truncation_mode"], text["truncation_cutoff"]) == ("w", "2")
    assert text["noise"] == "random"
    answer = limner("sample", run, "--num", 2, "--classes", "all", "--out", tmp_path / "folder")
    assert answer.code == 0, answer.err
    assert text_of(next((tmp_path / "folder").rglob("*.png")))["noise"] == "const"


def test_styles_of_a_file_are_used(limner, run, model, tmp_path):
    np.save(tmp_path / "w.npy", model.styles(model.plan(seeds=[3], classes=[7])))
    words = ("--styles", tmp_path / "w.npy", "--truncation", 0.5, "--out", tmp_path / "a.npz")
    answer = limner("sample", run, *words)
    assert answer.code == 0, answer.err
    with np.load(tmp_path / "a.npz") as file:
        wanted = model.sample(seeds=[3], classes=[7], truncation=0.5)
        assert abs(file["images"].astype(int) - wanted).max() <= 1


def test_walks_and_videos_go_through_w_and_z(limner, run, tmp_path):
    for i, words in enumerate(
        [(), ("--space", "z"), ("--slerp",), ("--truncation", 0.5, "--truncation-cutoff", 2)]
    ):
        for out in (tmp_path / f"{i}.png", tmp_path / f"{i}.gif"):
            answer = limner("interpolate", run, "--steps", 4, *words, "--out", out)
            assert answer.code == 0, answer.err
    spaces = [text_of(tmp_path / f"{i}.png")["space"] for i in range(4)]
    assert spaces == ["w", "z", "z", "w"]
    rows = limner("interpolate", run, "--rows", 3, "--along", "y", "--out", tmp_path / "rows.png")
    assert rows.code == 0, rows.err
    for words in ((), ("--space", "z"), ("--truncation", 0.5, "--noise", "none")):
        drift = ("--seconds", 1, "--fps", 5, "--grid", "2x2", "--out", tmp_path / "d.gif")
        answer = limner("video", run, *drift, *words, "--json")
        assert answer.code == 0, answer.err
        assert json.loads(answer.out)["num_frames"] == 5


def test_a_curve_sweeps_psi(limner, run, model, tmp_path):
    words = ("--data", "digits", "--num", 60, "--metrics", "fid", "--truncations", "0.3,1")
    answer = limner("curve", run, *words, "--out", tmp_path / "c", "--json")
    assert answer.code == 0, answer.err
    half, whole = (point["results"][0]["value"] for point in json.loads(answer.out)["points"])
    assert half != whole
    evaluated = limner("evaluate", run, *words[:-2], "--json")
    assert json.loads(evaluated.out)["results"][0]["value"] == pytest.approx(whole, rel=1e-9)


def test_scores_are_the_same_again_and_ways_are_measured_in_w(limner, run):
    words = ("--data", "digits", "--num", 40, "--metrics", "fid,ppl", "--json")
    answer = limner("evaluate", run, *words)
    assert answer.code == 0, answer.err
    results = json.loads(answer.out)["results"]
    names = [result["name"] for result in results]
    suffix = "-classifier"
    assert names[1:] == [f"{name}{suffix}" for name in ("ppl", "ppl-end", "ppl-w", "ppl-w-end")]
    again = json.loads(limner("evaluate", run, *words).out)["results"]
    assert [result["value"] for result in again] == [result["value"] for result in results]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sample", "--truncation", 0.5, "--truncation-mode", "scale"), "take w, or resample"),
        (("sample", "--truncation", 0.5, "--truncation-mode", "statistics"), "no statistics"),
        (("sample", "--num", 2, "--standing", "2x8"), "no batch norm"),
        (("interpolate", "--slerp", "--space", "w"), "slerp walks latents"),
    ],
)
def test_what_makes_no_sense_is_one_line(limner, run, tmp_path, words, message):
    answer = limner(words[0], run, *words[1:], "--out", tmp_path / "a.png")
    assert answer.code == 1
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_w_of_a_model_without_styles_is_one_line(limner, tiny_run, tmp_path):
    for words in (
        ("sample", "--truncation", 0.5, "--truncation-mode", "w"),
        ("sample", "--noise", "const"),
        ("interpolate", "--space", "w"),
    ):
        answer = limner(words[0], tiny_run, *words[1:], "--out", tmp_path / "a.png")
        assert answer.code == 1
        assert "this model has no styles" in answer.err
        assert answer.err.count("\n") == 1
