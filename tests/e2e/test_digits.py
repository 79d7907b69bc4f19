"""The main job reaches its thresholds: minutes, so it runs with `make test-full`.

docs/smoke.md says how they were set: three seeds, the distance in floors.
"""

import json
from pathlib import Path

import pytest

from limner.cli.main import main

ACCURACY, FLOORS, CAS, RECALL = 0.99, 1.2, 0.97, 0.7


def results_of(words: list[str], run: Path) -> dict[str, dict]:
    assert main(["train", *words, "--run", str(run)]) == 0
    lines = (run / "scores.jsonl").read_text().splitlines()
    return {r["name"]: r for r in json.loads(lines[-1])["results"]}


def require_thresholds(results: dict[str, dict]) -> None:
    distance = results["fd-classifier"]
    assert results["accuracy"]["value"] >= ACCURACY
    assert distance["value"] <= FLOORS * distance["floor"]
    assert results["cas-1nn"]["value"] >= CAS
    assert results["recall"]["value"] >= RECALL


@pytest.mark.full
def test_the_preset_digits_reaches_its_thresholds(tmp_path: Path):
    require_thresholds(results_of(["digits"], tmp_path / "run"))
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.full
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_in_bfloat16_it_reaches_the_same(seed: int, tmp_path: Path):
    words = ["digits", "--set", "precision=bfloat16", "--set", f"seed={seed}"]
    require_thresholds(results_of(words, tmp_path / "run"))


@pytest.mark.full
def test_digits_tiny_in_bfloat16_passes_the_smoke(tmp_path: Path):
    """The thresholds of docs/smoke.md."""
    words = ["digits-tiny", "--set", "precision=bfloat16", "--set", 'metrics=["fid","accuracy"]']
    results = results_of(words, tmp_path / "run")
    distance = results["fd-classifier"]
    assert results["accuracy"]["value"] >= 0.95
    assert distance["value"] <= 3.5 * distance["floor"]
