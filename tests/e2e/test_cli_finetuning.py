"""`limner train --init` on pictures of other classes, with frozen layers, and what comes of it."""

import json
from pathlib import Path

import numpy as np
import torch

from limner.checkpoints import find_model

SETTINGS = ("metrics=[]", "data.filter=box", "batch_size=8", "intervals.sample=0")


def words_of(source: Path, run: Path, steps: int, *more: str) -> list[str]:
    return [
        *("train", "digits-tiny", "--device", "cpu", "--data", str(source), "--run", str(run)),
        *(word for setting in SETTINGS for word in ("--set", setting)),
        *("--steps", str(steps), *more),
    ]


def test_three_classes_from_ten_with_a_frozen_block(limner, tiny_run: Path, tmp_path: Path):
    rng = np.random.default_rng(0)
    source, run = tmp_path / "mine.npz", tmp_path / "run"
    images = rng.integers(0, 256, (24, 8, 8, 1), dtype=np.uint8)
    np.savez(source, images=images, labels=np.arange(24) % 3)
    frozen = ("--set", 'frozen=["discriminator.first"]', "--init", str(tiny_run))
    answer = limner(*words_of(source, run, 2, *frozen))
    assert answer.code == 0, answer.err
    said = (run / "events.jsonl").read_text()
    assert "10 -> 3 classes, of the discriminator: 'embed.weight' [10, " in said
    assert "made anew" in answer.out + answer.err
    assert limner(*words_of(source, run, 3, *frozen)).code == 0  # the same command resumes

    before, after = find_model(tiny_run), find_model(run)
    assert after.config.num_classes == 3
    assert before.discriminator is not None
    assert after.discriminator is not None
    for name, weight in after.discriminator.items():
        kept = name.startswith("first.") and name.endswith(("weight", "bias"))
        if kept or name == "linear.weight":
            assert torch.equal(weight, before.discriminator[name]) == kept, name
    config = json.loads((run / "config.json").read_text())
    assert config["frozen"] == ["discriminator.first"]
    sheet = tmp_path / "sheet.png"
    assert limner("sample", run, "--classes", 2, "--num", 2, "--out", sheet).code == 0
    assert limner("sample", run, "--classes", 3, "--num", 2, "--out", sheet).code == 1


def test_first_layers_and_augments_by_one_option_each(limner, tiny_run: Path, tmp_path: Path):
    rng = np.random.default_rng(0)
    source = tmp_path / "mine.npz"
    np.savez(source, images=rng.integers(0, 256, (24, 8, 8, 1), dtype=np.uint8))
    augment = ("--set", 'augments.+={"type": "DiffAugment"}')
    given = (*augment, "--set", "freeze_d=1", "--init", str(tiny_run))
    assert limner(*words_of(source, tmp_path / "run", 2, *given)).code == 0
    assert limner(*words_of(source, tmp_path / "run", 3, *given)).code == 0  # resumes
    before, after = find_model(tiny_run), find_model(tmp_path / "run")
    assert before.discriminator is not None
    assert after.discriminator is not None
    for name, weight in after.discriminator.items():
        if name.startswith("first.") and name.endswith(("weight", "bias")):
            assert torch.equal(weight, before.discriminator[name]), name
    assert not torch.equal(
        after.discriminator["linear.weight"], before.discriminator["linear.weight"]
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["augments"][0]["policy"] == "color,translation,cutout"

    adapted = (
        *("--set", 'augments.+={"type": "AdaPipe"}', "--set", "intervals.log=4"),
        *("--set", 'controllers.+={"type": "AdaptP", "kimg": 0.1}'),
    )
    assert limner(*words_of(source, tmp_path / "ada", 4, *adapted)).code == 0
    line = json.loads((tmp_path / "ada" / "log.jsonl").read_text().splitlines()[-1])
    assert line["augment_p"] >= 0.0
    assert -1.0 <= line["mean_sign"] <= 1.0


def test_a_wrong_name_and_a_wrong_size_are_one_line(limner, tiny_run: Path, tmp_path: Path):
    rng = np.random.default_rng(0)
    source = tmp_path / "mine.npz"
    np.savez(source, images=rng.integers(0, 256, (8, 8, 8, 1), dtype=np.uint8))
    unknown = ("--set", 'frozen=["discriminator.blok.0"]')
    answer = limner(*words_of(source, tmp_path / "a", 1, *unknown))
    assert answer.code == 1
    assert "the discriminator has no 'blok.0'; nearest is 'blocks.0'" in answer.err
    larger = ("--set", "data.resolution=16", "--init", str(tiny_run))
    answer = limner(*words_of(source, tmp_path / "b", 1, *larger))
    assert answer.code == 1
    assert "the model's pictures are [1, 8, 8], the run's [1, 16, 16]" in answer.err
