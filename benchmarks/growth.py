"""How the cost grows with the work: images a second and memory against batch, width, resolution,
number of pictures, threads and processes.

    python benchmarks/growth.py --out        measure, write results/growth.json, plot, fill the page
    python benchmarks/growth.py --only batch print the points of one axis

Each point is a process of its own, so that its peak is its own: the residual pair of `photos`
(width 16, 64 pixels, batches of 16) with one quantity changed. The page docs/performance.md has the
measured points, and estimates for GPUs from counted operations (`limner.api.costs`).
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from peers.page import between, row
from peers.turns import peak

from limner import presets
from limner.api.costs import cost_of, traffic_of
from limner.core.facts import Machine, Pictures
from limner.core.protocols import z_dim_of
from limner.data import DataConfig, Loader, prepare
from limner.data.loader import Batch
from limner.engine import Intervals, RunConfig
from limner.engine.trainer import Trainer
from limner.presets import own_pictures
from limner.sampling import generate

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results" / "growth.json", HERE.parent / "docs" / "performance.md"
PICTURE = HERE.parent / "docs" / "pictures" / "growth.png"
MEASURED = "<!-- measured: begin -->\n", "<!-- measured: end -->"
ESTIMATED = "<!-- estimated: begin -->\n", "<!-- estimated: end -->"

Point = dict[str, int]
USUAL: Point = {"batch": 16, "width": 16, "side": 64, "threads": 1, "processes": 1, "pictures": 0}
AXES: dict[str, tuple[int, ...]] = {
    "batch": (1, 4, 16, 64),
    "width": (8, 16, 32, 64),
    "side": (32, 64, 128),
    "threads": (1, 2),
    "processes": (1, 2),
    "pictures": (1_000, 10_000, 100_000, 1_000_000),
}
RATES = {"train": "C0", "sample": "C1", "loader": "C2"}  # of a point, and their colours
LABELS = {"side": "resolution in pixels", "pictures": "pictures in the data"}
SECONDS = 6.0  # of steps, after two
SHOWN = 64  # pictures of a batch of the loader


def config_of(point: Point) -> RunConfig:
    """`photos` on a CPU at a width, resolution and batch."""
    config = own_pictures.photos(Pictures(1500, point["side"], is_final=True), Machine())
    return config.replace(
        generator=config.generator.replace(width=point["width"]),
        discriminator=config.discriminator.replace(width=point["width"]),
        batch_size=point["batch"],
        intervals=Intervals(health=0, singular_values=0),
    )


def trainer_of(point: Point) -> Trainer:
    """On noise, of which this process has its part."""
    side, own = point["side"], point["batch"] // point["processes"]
    images = torch.randint(0, 256, (own, 3, side, side), dtype=torch.uint8)
    batch = Batch(images, torch.zeros(own, dtype=torch.int64), torch.arange(own))
    return Trainer(config_of(point), (3, side, side), 0, lambda: batch)


def trained(point: Point) -> dict[str, float]:
    """Images a second on the wall, of training and of sampling, and peak megabytes."""
    trainer, num = trainer_of(point), point["batch"]
    train, z = num * rate(trainer.step), torch.randn(num, z_dim_of(trainer.networks["g"]))
    sample = num * rate(lambda: generate(trainer.networks["g"], z, None, num))
    return {"train": train, "sample": sample, "peak_mb": peak()}


def rate(step: Any) -> float:
    """Calls a second."""
    for _ in range(2):
        step()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < SECONDS or count < 3:
        step()
        count += 1
    return count / (time.perf_counter() - begin)


def loaded(point: Point) -> dict[str, float]:
    """Pictures of 32 pixels gathered a second, out of so many."""
    with tempfile.TemporaryDirectory() as folder:
        small = np.zeros((1000, 32, 32, 3), np.uint8)
        np.savez(f"{folder}/a.npz", images=small)
        data = prepare(f"{folder}/a.npz", f"{folder}/data", DataConfig(resolution=32))
        shape = (point["pictures"], 32, 32, 3)
        with open(f"{folder}/all", "wb") as file:  # no holes: those are slow to read
            for _ in range(point["pictures"] // len(small)):
                small.tofile(file)
        data.images = np.memmap(f"{folder}/all", np.uint8, "r", shape=shape)
        data.labels = torch.zeros(point["pictures"], dtype=torch.int64).numpy()
        loader = Loader(data, SHOWN, seed=0)
        return {"loader": SHOWN * rate(loader.next), "peak_mb": unmapped()}


def unmapped() -> float:
    """Megabytes of this process without files that are mapped, which the system drops at will."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [found] = [line for line in lines if line.startswith("RssAnon:")]
    return int(found.split()[1]) / 1024


def one(point: Point) -> dict[str, float]:
    """A point, in this process and, where two are asked for, another."""
    torch.set_num_threads(point["threads"])
    if point["pictures"]:
        return loaded(point)
    if point["processes"] == 1:
        return trained(point)
    with tempfile.TemporaryDirectory() as folder:
        arguments = (point, folder)
        torch.multiprocessing.spawn(_of_two, arguments, nprocs=point["processes"])
        return json.loads((Path(folder) / "found.json").read_text())


def _of_two(rank: int, point: Point, folder: str) -> None:
    torch.set_num_threads(point["threads"])
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=point["processes"]
    )
    steps = timed_together(point)
    if rank == 0:
        (Path(folder) / "found.json").write_text(json.dumps(steps | {"peak_mb": peak()}))
    dist.destroy_process_group()


def timed_together(point: Point) -> dict[str, float]:
    """Images a second of all processes: as many steps in each, for they wait for one another."""
    trainer = trainer_of(point)
    for _ in range(2):
        trainer.step()
    begin, steps = time.perf_counter(), 20
    for _ in range(steps):
        trainer.step()
    return {"train": point["batch"] * steps / (time.perf_counter() - begin)}


def measured(only: str) -> list[dict[str, Any]]:
    """All points of the axes, each in a fresh process."""
    found = []
    for axis, values in AXES.items():
        for value in values if only in ("", axis) else ():
            point = USUAL | {axis: value}
            words = [sys.executable, __file__, "--point", json.dumps(point)]
            ran = subprocess.run(words, check=True, capture_output=True, text=True)
            figures = json.loads(ran.stdout.splitlines()[-1])
            rounded = {name: float(f"{each:.4g}") for name, each in figures.items()}
            found.append({"axis": axis, "value": value, **rounded})
            print(json.dumps(found[-1]), flush=True)
    return found


# --- estimates ---------------------------------------------------------------------------

# Device -> memory in GiB; operations a second that large convolutions reach in half precision,
# about a third of the dense peak that its maker states, 65e12, 312e12 and 989e12; bytes a second,
# four fifths of its maker's 320e9, 1555e9 and 3350e9.
DEVICES = {
    "T4": (16, 20e12, 260e9),
    "A100": (40, 100e12, 1240e9),
    "H100": (80, 330e12, 2700e9),
}
START = 20e-6  # seconds to start a kernel: 33e-6 of a step of next to nothing on the CPU at hand
MODELS = {
    "photos (residual)": ("photos", (32, 64, 128)),
    "r3gan-ffhq64": ("r3gan-ffhq64", (64, 128)),
    "stylegan2": ("stylegan2", (256, 512)),
    "biggan-imagenet128-ch64": ("biggan-imagenet128-ch64", (128,)),
}
BATCHES = (8, 32)


def estimates() -> list[str]:
    """Lines of a table: memory and seconds for 1,000 images of training."""
    lines = []
    for name, (preset, sides) in MODELS.items():
        for side in sides:
            for batch in BATCHES:
                lines.append(estimate(name, preset, side, batch))
    return lines


def estimate(name: str, preset: str, side: int, batch: int) -> str:
    """One of them."""
    if preset == "photos":
        config = own_pictures.photos(Pictures(1500, side, is_final=True), Machine())
    else:
        config = presets.get(preset)()
        config = config.replace(data=config.data.replace(resolution=side))
    updates = tuple(update.replace(accumulate=1) for update in config.updates)
    config = config.replace(batch_size=batch, updates=updates, steps=1000, kimg=None)
    cost = cost_of(config)
    operations = cost.petaflops * 1e15 / (1000 * batch)  # for an image
    traffic = traffic_of(config)
    starts = traffic.kernels * START / batch
    times = [
        plain(1000 * max(operations / speed + traffic.bytes / 2 / band, starts), 2) + " s"
        for _, speed, band in DEVICES.values()
    ]
    fits = [device for device, (memory, *_) in DEVICES.items() if cost.memory < 0.9 * memory]
    smallest = fits[0] if fits else "none"
    return row([name, side, batch, f"{cost.memory:.2g}", *times, smallest])


def plain(value: float, digits: int) -> str:
    """Rounded to so many digits, without an exponent."""
    return f"{float(f'{value:.{digits}g}'):,g}"


# --- the page ----------------------------------------------------------------------------


def plot(points: list[dict[str, Any]]) -> None:
    """Images a second, and memory, an axis a panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.2), layout="constrained")
    for place, axis in enumerate(AXES):
        own = [point for point in points if point["axis"] == axis]
        panel = figure.add_subplot(2, 3, place + 1)
        values = [point["value"] for point in own]
        for key in RATES:
            found = [p for p in own if key in p]
            if found:
                places, rates = [p["value"] for p in found], [p[key] for p in found]
                panel.plot(places, rates, marker="o", color=RATES[key], label=key)
        lowest = min(p[key] for p in own for key in RATES if key in p)
        bottom = 10 ** math.floor(math.log10(lowest))
        panel.set(xscale="log", yscale="log", xlabel=LABELS.get(axis, axis), ylabel="images / s")
        panel.set_ylim(bottom=bottom)
        panel.set_xticks(values, [f"{value:,}" for value in values], minor=False)
        panel.minorticks_off()
        memory = panel.twinx()
        memory.plot(values, [p["peak_mb"] for p in own], color="gray", linestyle=":", marker=".")
        memory.set(ylabel="MB (dotted)", ylim=(0, 2 * max(p["peak_mb"] for p in own)))
        panel.legend(fontsize=8, loc="lower left")
    figure.savefig(PICTURE, dpi=110)


def table(points: list[dict[str, Any]]) -> list[str]:
    """The measured points."""
    lines = [row(("", "value", "training, images / s", "sampling", "loading", "MB"))]
    lines.append(row(["---"] * 6))
    for point in points:
        rates = [plain(point[key], 3) if key in point else "" for key in RATES]
        axis = LABELS.get(point["axis"], point["axis"])
        lines.append(row([axis, f"{point['value']:,}", *rates, f"{point['peak_mb']:.0f}"]))
    return lines


def fill(points: list[dict[str, Any]]) -> None:
    """Put both tables between their marks on the page."""
    between(PAGE, MEASURED, "\n".join([*table(points), ""]))
    devices = [f"{device}, 1,000 images" for device in DEVICES]
    head = ["model", "pixels", "batch", "memory, GiB", *devices, "smallest that holds it"]
    lines = [row(head), row(["---"] * len(head)), *estimates(), ""]
    between(PAGE, ESTIMATED, "\n".join(lines))


def main() -> int:
    """Measure, print, and with --out write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", choices=["", *AXES])
    parser.add_argument("--out", action="store_true")
    parser.add_argument(
        "--page", action="store_true", help="fill the page by the points that stand"
    )
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point is not None:
        print(json.dumps(one(json.loads(options.point))))
        return 0
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    points = known if options.page else measured(options.only)
    if options.out:
        RESULTS.write_text("[\n" + ",\n".join(map(json.dumps, points)) + "\n]\n")
    if points and (options.out or options.page):
        plot(points)
    if options.out or options.page:
        fill(points)
    return 0


if __name__ == "__main__":
    sys.exit(main())
