"""The recipe for one's own photographs, as its page has it: a folder of two kinds of photographs, the
command, and the command's own figures.

`python tests/photos_recipe.py 0-2 FOLDER` prints two JSON lines a seed, of a run that has hardly begun and
of the recipe, and keeps the runs in the folder: that is how the thresholds are set.
"""

import contextlib
import io
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from limner.cli.main import main

TWO = ("coffee.png", "chelsea.png")  # of scikit-image: a cup, and a cat
NUM, SIDE = 1500, 48  # pictures, pixels: `photos` takes 32
SMALLEST_CROP = 120  # pixels of the photograph
KIMG = 30  # 4 to 7 CPU minutes on one thread
UNTRAINED = 0.64  # the control's kimg
# Pretrained features find no picture near a real one after four minutes (recall .001).
FEATURES = "random-conv"

# Seeds 0 to 2 reached 6.6, 12.4 and 5.5 floors and recall .63, .65 and .59 (docs/log.md); runs that had
# hardly begun 66 and 410 floors, recall .01 and .09.
MOST_FLOORS = 20.0  # the distance in units of real pictures against real ones
LEAST_RECALL = 0.45


def photographs(folder: Path) -> Path:
    """NUM random square pieces of both photographs, in turn, as JPEG files."""
    spec = find_spec("skimage")
    assert spec is not None, "pip install scikit-image"
    assert spec.origin is not None
    places, draw = Path(spec.origin).parent / "data", np.random.default_rng(0)
    both = [Image.open(places / name).convert("RGB") for name in TWO]
    folder.mkdir(parents=True)
    for number in range(NUM):
        photograph = both[number % len(both)]
        width, height = photograph.size
        side = int(draw.integers(SMALLEST_CROP, height + 1))
        left, top = (int(draw.integers(0, size - side + 1)) for size in (width, height))
        piece = photograph.crop((left, top, left + side, top + side))
        piece.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(folder / f"{number:04}.jpg")
    return folder


def figures(place: Path, seed: int, kimg: float = KIMG) -> dict[str, float]:
    """Train on `place`/shots by the command and judge by the command: the Frechet distance in units
    of its floor, recall, and the CPU seconds that training took."""
    shots, run = place / "shots", place / f"seed{seed}-{kimg:g}"
    if not shots.exists():
        photographs(shots)
    words = ["--data", str(shots), "--run", str(run), "--device", "cpu"]
    words += ["--kimg", str(kimg), "--seed", str(seed), "--set", "metrics=[]"]
    began = time.process_time()
    assert main(["train", "photos", *words, "--json"]) == 0
    seconds = time.process_time() - began
    words = ["--data", str(shots), "--metrics", "fid,prdc", "--num", "1000", "--json"]
    words += ["--features", FEATURES, "--device", "cpu"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["evaluate", str(run), *words]) == 0
    results = {r["name"]: r for r in json.loads(said.getvalue())["results"]}
    (distance,) = (r for name, r in results.items() if name.startswith("fd-") or name == "fid")
    return {
        "floors": distance["value"] / distance["floor"],
        "recall": results["recall"]["value"],
        "precision": results["precision"]["value"],
        "coverage": results["coverage"]["value"],
        "seconds": seconds,
    }


def passes(found: dict[str, float]) -> dict[str, bool]:
    """Whether the pictures are near enough to the real ones, and diverse enough."""
    return {
        "distance": found["floors"] <= MOST_FLOORS,
        "diversity": found["recall"] >= LEAST_RECALL,
    }


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    low, _, high = sys.argv[1].partition("-")
    for number in range(int(low), int(high or low) + 1):
        for length in (UNTRAINED, KIMG):
            got = {k: round(v, 4) for k, v in figures(Path(sys.argv[2]), number, length).items()}
            print(json.dumps({"seed": number, "kimg": length, **got}), flush=True)
