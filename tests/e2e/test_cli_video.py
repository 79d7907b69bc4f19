"""`limner video` and the grids of `limner sample`, on a run that was trained a moment before."""

import json

import numpy as np
import pytest
from PIL import Image

import limner as package


def test_a_drift_is_a_loop_of_the_models_samples(limner, tiny_run, tmp_path):
    words = ("--seconds", 0.5, "--fps", 10, "--smoothing", 0, "--grid", "3x2", "--zoom", 2)
    out = tmp_path / "deep" / "a.png"
    answer = limner("video", tiny_run, "--out", out, *words, "--classes", "4,2", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == {"out": str(out), "num_frames": 5, "seconds": 0.5}
    with Image.open(out) as picture:
        assert picture.n_frames == 5
        assert picture.size == (3 * 8 * 2, 2 * 8 * 2)
        first = np.asarray(picture.convert("RGB")).copy()
    again = tmp_path / "b.png"
    assert limner("video", tiny_run, "--out", again, *words, "--classes", "4,2").code == 0
    with Image.open(again) as picture:
        assert np.array_equal(first, np.asarray(picture.convert("RGB")))
    assert limner("video", tiny_run, "--out", again, *words, "--classes", 3).code == 0
    with Image.open(again) as picture:
        assert not np.array_equal(first, np.asarray(picture.convert("RGB")))


def test_training_is_shown_for_any_run(limner, tiny_run, tmp_path):
    av = pytest.importorskip("av")
    words = ("--training", "--seconds", 1, "--fps", 6)
    answer = limner("video", tiny_run, *words, "--out", tmp_path / "a.mp4")
    assert answer.code == 0, answer.err
    assert "6 frames" in answer.out
    with av.open(str(tmp_path / "a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6
    sheet = Image.open(tiny_run / "samples" / "step-00000004.png").convert("RGB")
    place = (frames[0].shape[1] - sheet.width) // 2
    last = frames[-1][: sheet.height, place : place + sheet.width].astype(int)
    assert np.abs(last - np.asarray(sheet)).mean() < 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "a.avi"), "no animation"),
        (("--out", "a.gif", "--fps", 60), "at most 50"),
        (("--out", "a.gif", "--seconds", -1), "--seconds -1"),
        (("--out", "a.gif", "--grid", "big"), "grid 'big' is unknown"),
        (("--out", "a.gif", "--classes", "12"), "class 12 is out of range"),
        (("--out", "a.mp4", "--bitrate", 0), "--bitrate 0"),
    ],
)
def test_videos_that_cannot_be_made_are_one_line(limner, tiny_run, tmp_path, words, message):
    answer = limner("video", tiny_run, words[0], tmp_path / words[1], *words[2:])
    assert answer.code == 1
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_training_needs_a_run_with_sheets(limner, tmp_path):
    answer = limner("video", tmp_path, "--training", "--out", tmp_path / "a.gif")
    assert answer.code == 1
    assert "no run here; --training draws the sheets that a run saved" in answer.err


def test_a_grid_fills_a_screen(limner, tiny_run, tmp_path):
    model = package.load(tiny_run)
    for words, size in ((("--grid", "1080p"), (32, 32)), (("--grid", "5x3"), (5, 3))):
        answer = limner("sample", tiny_run, *words, "--out", tmp_path / "a.png", "--json")
        assert answer.code == 0, answer.err
        assert json.loads(answer.out)["num_images"] == size[0] * size[1]
        with Image.open(tmp_path / "a.png") as picture:
            assert picture.size == (size[0] * 8, size[1] * 8)
            pixels = np.asarray(picture)
        expected = model.sample(num=size[0] * size[1])[size[0] + 1, ..., 0]
        assert np.array_equal(pixels[8:16, 8:16], expected)


def test_a_grid_of_classes_has_one_a_row(limner, tiny_run, tmp_path):
    words = ("--grid", "4x3", "--classes", "7,1")
    assert limner("sample", tiny_run, *words, "--out", tmp_path / "a.png").code == 0
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture)
    model = package.load(tiny_run)
    for row, label in enumerate((7, 1, 7)):
        expected = model.sample(seeds=[4 * row + 2], classes=label)[0, ..., 0]
        cell = pixels[8 * row : 8 * row + 8, 16:24]
        assert np.abs(cell.astype(int) - expected).max() <= 1
    answer = limner("sample", tiny_run, *words, "--num", 3, "--out", tmp_path / "b.png")
    assert answer.code == 1
    assert "give no images of your own" in answer.err
    answer = limner("sample", tiny_run, "--grid=big", "--out", tmp_path / "b.png")
    assert "grid 'big' is unknown" in answer.err
