"""`limner train photos` on a folder of pictures, as its user types it."""

import json
import re

import numpy as np
from PIL import Image

SMALL = (
    *("--set", "generator.width=4", "--set", "discriminator.width=4", "--set", "batch_size=4"),
    *("--set", "metrics=[]", "--set", "intervals.save=0"),
)


def one_space(text):
    return re.sub(" {3,}", "  ", text)


def test_photos_says_what_it_picked_trains_and_goes_on(limner, tmp_path):
    folder, run = tmp_path / "shots", tmp_path / "run"
    folder.mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 256, (36, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg")
    words = ("train", "photos", "--data", folder, "--run", run, "--device", "cpu", *SMALL)
    answer = limner(*words, "--steps", 2)
    assert answer.code == 0, answer.err
    lines = answer.err.splitlines()
    assert "8 pictures (most at least 36 px, no classes), on 1 x cpu" in answer.err
    assert "32x32 px, color (at most 64 on a cpu)  --set data.resolution=64" in one_space(
        answer.err
    )
    first_step = next(i for i, line in enumerate(lines) if line.startswith("step=1 "))
    speed = [i for i, line in enumerate(lines) if line.startswith("speed: ")]
    assert len(speed) == 1
    assert speed[0] < first_step < 25  # one screen
    assert max(map(len, lines[:first_step])) <= 140
    assert json.loads((run / "config.json").read_text())["data"]["resolution"] == 32
    again = limner(*words, "--steps", 3)  # goes on as it began, whatever it would pick today
    assert again.code == 0, again.err
    assert "8 pictures" not in again.err
    assert "finished at step 3" in again.out
    other = limner(*words, "--steps", 3, "--set", "optim.g.lr=0.5")
    assert other.code == 1
    assert "optim.g.lr" in other.err
    anew = limner(*words, "--steps", 1, "--fresh", "--set", "data.resolution=16")
    assert anew.code == 0, anew.err
    assert json.loads((run / "config.json").read_text())["data"]["resolution"] == 16
