"""Whole runs of toys on prepared pictures, and what two of them must have in common."""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from limner.checkpoints import RunDirectory, load_state
from limner.core.config import Config
from limner.core.schedules import Linear
from limner.data import DataConfig, PreparedData, prepare
from limner.engine import Intervals, RunConfig, Update
from limner.engine.controllers import Controller, Ema, LearningRate
from limner.objectives import R1, HingeD, HingeG, Term
from limner.running.fit import Fit, Hooks
from toys import ToyGenerator, toy_config

CROPPED = DataConfig(resolution=4, channels=1, labels="none", flip=True, crop="random", pad=1)
# Log fields that say how long a step took and not what it computed.
MEASURED = ("seconds", "images_per_second", "memory_mb", "data_wait_share", "maintenance")
MEASURED += ("seconds_per_kimg", "seconds_per_tick")


class Centred(Config, Term, frozen=True):
    """Pulls real logits to their own running mean, which it keeps."""

    reads: ClassVar[tuple[str, ...]] = ("real",)
    weight: float = 0.1

    def __call__(self, batch, memory):
        logits = batch.real_logits
        before = memory.get("mean", torch.zeros((), dtype=logits.dtype))
        memory["mean"] = before.lerp(logits.detach().mean(), 0.5)
        return self.weight * (logits - memory["mean"]).square().mean()


class Countdown(Config, Controller, frozen=True):
    """Shrinks the discriminator's rate by the number of times that it was called."""

    def before_step(self, trainer, memory):
        memory["calls"] = memory.get("calls", torch.zeros((), dtype=torch.int64)) + 1

    def rate(self, trainer, player, memory):
        return 1.0 / (1.0 + 0.1 * int(memory["calls"])) if player == "d" else 1.0


def eventful_config(**changes: Any) -> RunConfig:
    """Lazy term, memories, dropout, batch norm, a late average, a rate between two readings.

    Three steps show 16 pictures, so with 32 pictures the steps 6 and 12 end an epoch exactly.
    """
    config = toy_config(
        generator=ToyGenerator(norm="batch", dropout=0.3),
        updates=(
            Update(player="d", terms=(HingeD(), Centred())),
            Update(player="d", terms=(R1(gamma=0.1),), every=3),
            Update(player="g", terms=(HingeG(),)),
        ),
        controllers=(
            Ema(half_life_nimg=8.0, start_step=8),
            LearningRate(player="g", factor=Linear(1.0, 0.1, 64), read_every=4),
            Countdown(),
        ),
        data=DataConfig(resolution=4, channels=1, labels="none", flip=True),
        steps=14,
        num_classes=0,
        intervals=Intervals(log=5, sample=0, save=0, milestone=1),
    )
    return config.replace(**changes)


def toy_pictures(path: Path, num: int = 32, num_classes: int = 0, seed: int = 0) -> Path:
    """An .npz of random 4x4 pictures."""
    rng = np.random.default_rng(seed)
    arrays = {"images": rng.integers(0, 256, (num, 4, 4, 1), dtype=np.uint8)}
    if num_classes:
        arrays["labels"] = np.arange(num) % num_classes
    np.savez(path, **arrays)
    return path


def toy_data(directory: Path, num: int = 32) -> PreparedData:
    """Those pictures, prepared."""
    source = toy_pictures(directory / f"pictures-{num}.npz", num)
    config = DataConfig(resolution=4, channels=1, labels="none")
    return prepare(str(source), directory / f"prepared-{num}", config)


def cropped_data(directory: Path, num: int = 32) -> PreparedData:
    """Landscapes and portraits that keep their aspect, 4 pixels at the short side."""
    folder, rng = directory / "landscapes", np.random.default_rng(1)
    folder.mkdir()
    for i in range(num):
        size = (4, 4 + i % 5) if i % 2 else (4 + i % 5, 4)
        pixels = rng.integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    return prepare(str(folder), directory / "kept", CROPPED)


def fit_of(
    path: Path, config: RunConfig, data: PreparedData, workers: int = 0, hooks: Hooks | None = None
) -> Fit:
    run = RunDirectory(path)
    run.create()
    return Fit(config, data, run, torch.device("cpu"), hooks, workers)


def digest(tree: Any) -> str:
    """A hash of nested values, every tensor bit for bit."""
    sha = hashlib.sha256()
    _feed(sha, tree)
    return sha.hexdigest()


def _feed(sha: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        sha.update(f"{value.dtype}{tuple(value.shape)}".encode())
        sha.update(value.detach().contiguous().numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            sha.update(f"[{key}]".encode())
            _feed(sha, value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            sha.update(b",")
            _feed(sha, item)
    else:
        sha.update(repr(value).encode())


def learned(checkpoint: Path) -> dict[str, str]:
    """Each part of a training state -> its hash; the clock on the wall is left out."""
    tree = load_state(checkpoint)
    assert tree.pop("clock")["seconds"] >= 0
    return {name: digest(part) for name, part in tree.items()}


def computed_log(run: Path) -> list[dict]:
    """The lines of log.jsonl without what was measured on the wall clock."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in lines]


def result(run: Path) -> tuple[dict[str, str], list[dict]]:
    """What two equal runs have in common: the last state, part by part, and the log."""
    newest = max((run / "checkpoints").iterdir())
    return learned(newest), computed_log(run)
