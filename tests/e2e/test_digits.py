"""The main job reaches its thresholds: minutes, so it runs with `make test-full`.

docs/smoke.md says how they were set: three seeds, the distance in floors.
"""

import json
from pathlib import Path

import pytest

from limner.cli.main import main

ACCURACY, FLOORS, CAS, RECALL = 0.95, 6.0, 0.90, 0.12


@pytest.mark.full
def test_the_preset_digits_reaches_its_thresholds(tmp_path: Path):
    assert main(["train", "digits", "--run", str(tmp_path / "run")]) == 0
    lines = (tmp_path / "run" / "scores.jsonl").read_text().splitlines()
    results = {r["name"]: r for r in json.loads(lines[-1])["results"]}
    distance = results["fd-classifier"]
    assert results["accuracy"]["value"] >= ACCURACY
    assert distance["value"] <= FLOORS * distance["floor"]
    assert results["cas-1nn"]["value"] >= CAS
    assert results["recall"]["value"] >= RECALL
    assert (tmp_path / "run" / "report.html").exists()
