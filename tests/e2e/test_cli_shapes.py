"""Pictures that are no squares, and pictures of four channels: from the files to the scores."""

import json

import numpy as np
import pytest
from PIL import Image

from limner.data import PreparedData


def write(root, size, channels):
    height, width = size
    for number in range(24):
        noise = np.random.default_rng(number)
        pixels = noise.integers(0, 256, (height, width, channels), dtype=np.uint8)
        (root / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "ab"[number % 2] / f"{number}.png")


SHORT = ("--steps", 1, "--set", "metrics=[]", "--set", "batch_size=4", "--set", "data.filter=box")
# shape: (picture's size, channels, size of the training, preset, its settings)
CASES = {
    "rectangles": (
        (12, 20), 3, (6, 10), "pggan-digits",
        ["generator.base=[3,5]", "discriminator.base=[3,5]", "data.resolution=[6,10]"],
    ),
    "transparency": ((8, 8), 4, (8, 8), "digits-tiny", ["data.channels=4"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_from_files_to_scores(limner, tmp_path, case):
    size, channels, trained, preset, changes = CASES[case]
    write(tmp_path / "files", size, channels)
    words = ["--out", tmp_path / "p", "--channels", channels, "--filter", "box"]
    answer = limner("data", "prepare", tmp_path / "files", *words)
    assert answer.code == 0, answer.err
    assert PreparedData(tmp_path / "p").image_shape == (channels, *size)
    words = [word for change in changes for word in ("--set", change)]
    words += ["--data", tmp_path / "files", "--run", tmp_path / "run", *SHORT]
    answer = limner("train", preset, *words)
    assert answer.code == 0, answer.err
    answer = limner("sample", tmp_path / "run", "--num", 2, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    with Image.open(next((tmp_path / "out").rglob("*.png"))) as image:
        assert np.asarray(image).shape == (*trained, channels)
    words = ["--data", tmp_path / "files", "--metrics", "fid,prdc", "--num", 24, "--json"]
    answer = limner("evaluate", tmp_path / "run", *words, "--features", "random-conv")
    assert answer.code == 0, answer.err
    results = json.loads(answer.out)["results"]
    assert [result["num"] for result in results] == [24] * len(results)
    assert all(np.isfinite(result["value"]) for result in results)


def test_prepare_takes_height_and_width(limner, tmp_path):
    write(tmp_path / "files", (12, 20), 3)
    words = ("--out", tmp_path / "p", "--resolution", "6x10", "--fit", "pad")
    assert limner("data", "prepare", tmp_path / "files", *words).code == 0
    assert PreparedData(tmp_path / "p").info["settings"]["resolution"] == [6, 10]
    answer = limner(
        "data", "prepare", tmp_path / "p", "--out", tmp_path / "p.zip", "--format", "zip"
    )
    assert answer.code == 0, answer.err
    answer = limner("data", "report", tmp_path / "p.zip")
    assert "most common 10x6 (24)" in answer.out
    words = ("--out", tmp_path / "t", "--format", "tfrecord")
    answer = limner("data", "prepare", tmp_path / "p", *words)
    assert "TFRecords hold squares" in answer.err
    words = ("--out", tmp_path / "k", "--resolution", "6x10", "--keep-aspect")
    answer = limner("data", "prepare", tmp_path / "files", *words)
    assert "resolution is 6x10: give one number" in answer.err


def test_twelve_bits(limner, tmp_path):
    (tmp_path / "files").mkdir()
    values = (np.arange(64).reshape(8, 8) * 65).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "files" / "a.png")
    answer = limner("data", "prepare", tmp_path / "files", "--out", tmp_path / "p")
    assert "warning: values 0 to 4095 in 1 picture of 16 bits" in answer.out
    words = ("--out", tmp_path / "q", "--value-range", "0,4095")
    assert limner("data", "prepare", tmp_path / "files", *words).code == 0
    assert PreparedData(tmp_path / "q").images.max() == 255


def test_labels_in_a_file_elsewhere(limner, tmp_path):
    write(tmp_path / "files", (8, 8), 3)
    table = tmp_path / "animals.csv"
    table.write_text(
        "\n".join(f"{'ab'[i % 2]}/{i}.png,{'cat' if i < 9 else 'dog'}" for i in range(24))
    )
    answer = limner("data", "report", tmp_path / "files", "--labels", table)
    assert "class cat: 9" in answer.out
    words = ("--out", tmp_path / "p", "--labels", table, "--json")
    answer = limner("data", "prepare", tmp_path / "files", *words)
    assert json.loads(answer.out)["classes"][1] == {"name": "dog", "count": 15}
