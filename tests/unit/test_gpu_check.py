"""The parts of `make gpu-check`, at their small size."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gpu_check

PLACE = gpu_check.Place(torch.device("cpu"))


def test_sides_that_differ_are_seen(monkeypatch):
    assert gpu_check.same_as_cpu(PLACE, "dcgan-celeba64")["ok"]
    seeds = iter((0, 1))
    monkeypatch.setattr(
        torch, "manual_seed", lambda seed: torch.default_generator.manual_seed(next(seeds))
    )
    assert not gpu_check.same_as_cpu(PLACE, "dcgan-celeba64")["ok"]


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_steps_and_resume(kind):
    found = gpu_check.step(PLACE, "pggan-cifar10", kind)
    assert found["ok"]
    assert found["images_per_second"] > 0
    if kind == "fp32":
        assert gpu_check.resume(PLACE, "pggan-cifar10") == {"largest_difference": 0.0, "ok": True}


def test_a_part_that_fails_keeps_no_other_from_running(monkeypatch):
    def fails():
        raise RuntimeError("no kernel image")

    parts = [("bad", fails), ("good", lambda: {"ok": True})]
    monkeypatch.setattr(gpu_check, "parts", lambda place: parts)
    found = gpu_check.checked(PLACE)
    assert found == {
        "bad": {"ok": False, "error": "RuntimeError: no kernel image\n"},
        "good": {"ok": True},
    }
