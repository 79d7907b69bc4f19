"""What augmentation is for: a discriminator of 500 pictures, with StyleGAN2-ADA's pipe and without.

    python benchmarks/quality/overfitting.py [--minutes 13] [--seed 0]

Trains the pair of `photos` with StyleGAN2-ADA's loss on 500 digits twice, each for so many minutes
of processor time, and records what the discriminator says of the pictures it learns from and of
others: where these fall apart, it knows its pictures by heart. One JSON line a run goes to
benchmarks/results, and the plot of the newest runs to docs/pictures/overfitting.png.
"""

import argparse
import datetime
import json
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch  # noqa: E402 - the line above says where the rest is
from torch import Tensor  # noqa: E402

from limner.core.images import to_unit_range  # noqa: E402
from limner.engine import Adam, Players, RunConfig, Update  # noqa: E402
from limner.engine.augment import AdaPipe  # noqa: E402
from limner.engine.controllers import AdaptP  # noqa: E402
from limner.engine.trainer import Trainer  # noqa: E402
from limner.metrics.arrays import ArrayData  # noqa: E402
from limner.metrics.features.base import images_at  # noqa: E402
from limner.objectives import R1, NonSaturatingD, NonSaturatingG  # noqa: E402
from quality import candidates, results, small_sets  # noqa: E402
from quality.reals import PictureReals  # noqa: E402
from quality.results import Record  # noqa: E402

HERE = Path(__file__).resolve().parents[1]
PICTURE = HERE.parent / "docs" / "pictures" / "overfitting.png"
SIDE, NUM_ASKED, EVERY = 32, 500, 50

RUNS = ("without", "ADA")


def recipe(name: str, seed: int) -> RunConfig:
    """The pair of `photos` by StyleGAN2-ADA's loss with a light R1, without augmentation or with
    the whole pipe and its adapting p."""
    config, adam = candidates.residual(SIDE), Adam(lr=1e-3, betas=(0.0, 0.99))
    config = config.replace(
        seed=seed,
        updates=(
            Update(player="d", terms=(NonSaturatingD(),)),
            Update(player="d", terms=(R1(gamma=0.02),), every=candidates.LAZY, reals="same"),
            Update(player="g", terms=(NonSaturatingG(),), counts=False),
        ),
        optim=Players(g=adam, d=adam.corrected(candidates.LAZY)),
    )
    if name == "without":
        return config
    controllers = (*config.controllers, AdaptP(kimg=candidates.KIMG))
    return config.replace(augments=(AdaPipe(),), controllers=controllers)


def curve(config: RunConfig, minutes: float) -> tuple[list[Record], float]:
    """Points of a run, and its seconds of processor time."""
    train, held_out = small_sets.few_digits()
    reals = PictureReals(train, config.batch_size, config.seed)
    trainer = Trainer(config, train.image_shape, 0, lambda: reals(trainer.progress.nimg))
    points, seconds = [], 0.0
    while seconds < 60 * minutes:
        began = time.process_time()
        for _ in range(EVERY):
            trainer.step()
        seconds += time.process_time() - began
        points.append(point(trainer, train, held_out))
        print(json.dumps(points[-1]), file=sys.stderr, flush=True)
    return points, seconds


@torch.no_grad()
def point(trainer: Trainer, train: ArrayData, held_out: ArrayData) -> Record:
    """Means of the answers to pictures as they are, in units of the deviation of those to the
    training's, and p. Signs, which ADA's heuristic takes, are all 1 while images are poor."""

    def answers(images: Tensor) -> Tensor:
        parts = to_unit_range(images).split(100)
        return torch.cat([trainer.networks["d"](x).logits for x in parts])

    asked = torch.arange(NUM_ASKED)
    known, others = (answers(images_at(data, asked)) for data in (train, held_out))
    memory = trainer.memory("augment.AdaPipe") if trainer.config.augments else {}
    return {
        "nimg": trainer.progress.nimg,
        "apart": float((known.mean() - others.mean()) / known.std()),
        "sign": float(known.sign().mean()),
        "p": float(memory.get("p", 0.0)),
    }


def plot(records: dict[str, Record]) -> None:
    """How far answers are apart in both runs, and p."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for name in RUNS:
        points = records[name]["points"]
        shown = [p["nimg"] / 1000 for p in points]
        axes[0].plot(shown, [p["apart"] for p in points], label=name)
        axes[1].plot(shown, [p["p"] for p in points], label=name)
    axes[0].set(title="D of its 500 pictures less D of others, in deviations")
    axes[1].set(title="p of the augmentation")
    for axis in axes:
        axis.set(xlabel="thousand images")
        axis.legend(fontsize=8)
    figure.savefig(PICTURE, dpi=110)


def main() -> int:
    """Train both, record, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=13.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    records: dict[str, Record] = {}
    for name in RUNS:
        points, seconds = curve(recipe(name, options.seed), options.minutes)
        records[name] = {
            "benchmark": "overfitting",
            "run": name,
            "seed": options.seed,
            "command": f"python benchmarks/quality/overfitting.py --minutes {options.minutes:g}",
            "cpu_seconds": round(seconds, 1),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "points": points,
        }
        results.append(HERE / "results", records[name])
    plot(records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
