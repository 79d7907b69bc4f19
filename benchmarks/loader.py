"""How many 128x128 color pictures a core gathers a second; prints one JSON line.

    python benchmarks/loader.py [NUM_IMAGES [BATCH_SIZE]]

"gather" is the copy of shuffled rows from the memory map into a fresh uint8 batch, "loader" is
`Loader.next` (order, gather, labels, views) in this process, "workers" the same through two worker
processes, counted over the CPU time of all three. "crop" is the loader taking random squares out of
pictures that keep their aspect (128 x 160), "padded" pad-and-crop by 4 pixels. "hdf5" is `prepare`
from BigGAN-PyTorch's HDF5 with gzip in chunks of 500, "hdf5_random" one picture at a time in random
order from the same file, as that program reads it. All in images per core-second: CPU time (user
and system) of the process and its children, not wall time. The pictures lie in the page cache.
"""

import json
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from limner.data import Crop, DataConfig, Loader, indices, prepare, write_hdf5

SECONDS, REPEATS = 1.0, 5
TARGETS = {"gather": 20_000, "loader": 10_000, "crop": 5_000, "hdf5": 1_000}


def core_seconds(children: bool = False) -> float:
    kinds = [resource.RUSAGE_SELF] + [resource.RUSAGE_CHILDREN] * children
    usages = [resource.getrusage(kind) for kind in kinds]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def rate(step: Callable[[], int]) -> float:
    """The median over some repeats of images per core-second; `step` returns its images."""
    step()
    rates = []
    for _ in range(REPEATS):
        begin, count = core_seconds(), 0
        while core_seconds() - begin < SECONDS:
            count += step()
        rates.append(count / (core_seconds() - begin))
    return statistics.median(rates)


def rate_with_workers(data, batch_size: int, num_workers: int, num_images: int) -> float:
    """Images per core-second of this process and its workers together, their start included."""
    begin = core_seconds(children=True)
    loader = Loader(data, batch_size, seed=0, num_workers=num_workers)
    count = 0
    while count < num_images:
        count += len(loader.next().labels)
    loader.close()
    return count / (core_seconds(children=True) - begin)


def smooth(num_images: int, width: int) -> np.ndarray:
    """uint8 [N, 128, width, 3] that compresses about as photographs do: noise on slow waves."""
    generator = np.random.default_rng(0)
    waves = 100 + 60 * np.sin(np.arange(width) / 9)
    noise = generator.integers(0, 24, (num_images, 128, width, 3))
    return (waves[:, None] + noise).astype(np.uint8)


def rates_of_crops(folder: Path, num_images: int, batch_size: int) -> dict[str, float]:
    """Random squares of wide pictures, and padded crops of square ones."""
    config = DataConfig(resolution=128, crop="random")
    rates = {}
    for name, width, crop in (("crop", 160, Crop(random=True)), ("padded", 128, Crop(pad=4))):
        np.savez(folder / f"{name}.npz", images=smooth(num_images, width))
        kind = config if crop.random else config.replace(crop="center")
        data = prepare(folder / f"{name}.npz", folder / name, kind)
        loader = Loader(data, batch_size, seed=0, crop=crop)
        rates[name] = rate(lambda loader=loader: len(loader.next().labels))
    return rates


def rates_of_hdf5(folder: Path, num_images: int) -> dict[str, float]:
    """Preparing from gzip in chunks of 500, and the same file picture by picture."""
    import h5py

    config = DataConfig(resolution=128)
    np.savez(folder / "smooth.npz", images=smooth(num_images, 128))
    made = prepare(folder / "smooth.npz", folder / "smooth", config)
    write_hdf5(made, folder / "a.hdf5", 500, "gzip")
    begin = core_seconds()
    prepare(folder / "a.hdf5", folder / "from-hdf5", config)
    rates = {"hdf5": num_images / (core_seconds() - begin)}
    order = np.random.default_rng(0).permutation(num_images)[:10].tolist()
    begin = core_seconds()
    with h5py.File(folder / "a.hdf5") as file:
        for row in order:
            file["imgs"][row]
    return {**rates, "hdf5_random": len(order) / (core_seconds() - begin)}


def main() -> None:
    num_images = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    batch_size = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "noise.npz"
        generator = np.random.default_rng(0)
        pictures = generator.integers(0, 256, (num_images, 128, 128, 3), dtype=np.uint8)
        np.savez(source, images=pictures, labels=np.arange(num_images) % 10)
        del pictures
        data = prepare(source, Path(folder) / "prepared", DataConfig(resolution=128))
        rows = data.images.view(np.ndarray)
        position = 0

        def gather() -> int:
            nonlocal position
            batch = np.empty((batch_size, 128, 128, 3), np.uint8)
            index = indices(0, position, batch_size, num_images)
            np.take(rows, index, axis=0, out=batch, mode="clip")
            position += batch_size
            return batch_size

        loader = Loader(data, batch_size, seed=0)
        figures = {
            "gather": rate(gather),
            "loader": rate(lambda: len(loader.next().labels)),
            "workers": rate_with_workers(data, batch_size, 2, 20 * num_images),
            **rates_of_crops(Path(folder), num_images // 2, batch_size),
            **rates_of_hdf5(Path(folder), num_images // 2),
        }
    result = {
        "benchmark": "loader",
        "unit": "images per core-second, 128x128x3 uint8",
        "num_images": num_images,
        "batch_size": batch_size,
        **{name: round(value) for name, value in figures.items()},
        "targets": TARGETS,
        "reached": all(figures[name] >= target for name, target in TARGETS.items()),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
