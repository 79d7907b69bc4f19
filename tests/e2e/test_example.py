"""The teaching example runs as its docstring says, and stays short enough to be read."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "dcgan_in_one_file.py"


@pytest.mark.parametrize("resolution", [16, 32])
def test_the_example_trains_and_draws_a_sheet(tmp_path: Path, resolution: int):
    out = tmp_path / "new folder" / "sheet.png"
    options = ["--steps", "5", "--resolution", str(resolution), "--out", str(out)]
    answer = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE), *options],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "step 5/5" in answer.stdout
    assert "nan" not in answer.stdout
    with Image.open(out) as image:
        sheet = np.asarray(image)
    assert sheet.shape == (8 * resolution, 8 * resolution)
    tiles = sheet.reshape(8, resolution, 8, resolution).swapaxes(1, 2).reshape(64, -1)
    assert len(np.unique(tiles, axis=0)) == 64  # 64 images, no two the same


def test_the_example_stays_short():
    assert len(EXAMPLE.read_text().splitlines()) < 150
