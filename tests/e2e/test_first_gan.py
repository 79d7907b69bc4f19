"""docs/first-gan.md works as written: every command of its sh blocks, in order, on real pictures;
with narrow networks and few pictures a step."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

from limner.cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "first-gan.md"
SMALL = ("generator.width=4", "discriminator.width=4", "batch_size=8")


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


def photograph_tiles(folder: Path) -> Path:
    """A photograph that matplotlib ships, cut into 48 overlapping pictures."""
    folder.mkdir()
    with Image.open(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)) as photo:
        pixels = np.asarray(photo.convert("RGB"))
    height, width = pixels.shape[:2]
    for i in range(48):
        top, left = (i * 37) % (height - 128), (i * 61) % (width - 128)
        tile = Image.fromarray(pixels[top : top + 128, left : left + 128])
        tile.save(folder / f"tile{i:02d}.jpg")
    return folder


def test_the_page_names_every_step_of_the_walk():
    words = " ".join(commands())
    for step in ("ln -s", "data report", "limner train", "limner report", "limner sample"):
        assert step in words
    assert len(commands()) >= 10


def test_every_command_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures = photograph_tiles(tmp_path / "elsewhere")
    monkeypatch.setenv("PICTURES", str(pictures))
    for command in commands():
        words = shlex.split(command)
        if words[0] == "limner":
            small = SMALL if words[1] == "train" else ()
            code = main(words[1:] + [word for each in small for word in ("--set", each)])
        else:
            code = subprocess.run(["sh", "-c", command], check=False).returncode
        assert code == 0, (command, capsys.readouterr().err)
    said = capsys.readouterr()
    assert "fd-effnet-lite0" in said.out
    assert "resumed: at step 40" in said.err
    for name in ("sheet.png", "samples.npz", "walk.png", "threes-and-sevens.png"):
        assert (tmp_path / name).stat().st_size > 500, name
    assert (tmp_path / "runs/photos/samples/step-00000060.png").exists()
    assert "<svg" in (tmp_path / "runs/photos/report.html").read_text()
