"""Training from shards: start-up, memory, and pictures a core-second with decoding; one JSON line.

    python benchmarks/shards.py [--num 1000000] [--read 200000] [--side 64] [--folder DIR]

Writes NUM synthetic pictures (4,096 different ones, again and again, in PNG) as shards of 256 MB
into a folder that is removed at the end, then opens them in a fresh process as training does.
"open" is the time from the index to a data set, "start" from there to the first batch: the shards
of the first window verified and a batch of 64 decoded. "rate" counts pictures over the CPU time of
the process, its two workers (with their start) and the one that verifies ahead. "rss" is the
resident memory of the process without the pages of the mapped index, a tenth of the way in and at
the end. "in_process" counts without workers, over the CPU time of this process alone.
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from limner.data import DataConfig, Loader
from limner.data.opening import standing
from limner.data.shards import writing

NUM_DIFFERENT, BATCH, CLASSES = 4096, 64, 10
TARGETS = {"start_seconds": 10.0, "in_process": 4000.0}


class Synthetic:
    """A prepared set that is never in memory: each picture is one of the different ones."""

    place = "synthetic"

    def __init__(self, num: int, side: int):
        self.num, self.num_classes, self.image_shape = num, CLASSES, (3, side, side)
        self.labels = np.arange(num) % CLASSES
        self.images = self
        # They compress about as photographs of that size do: noise on slow waves.
        generator = np.random.default_rng(0)
        waves = 100 + 60 * np.sin(np.arange(side) / 9)
        noise = generator.integers(0, 24, (NUM_DIFFERENT, side, side, 3), dtype=np.uint8)
        self._different = (waves[:, None] + noise).astype(np.uint8)
        size = {"smallest": [side, side], "largest": [side, side], "common": [[side, side, num]]}
        self.info = {
            "num_images": num,
            "image_shape": [3, side, side],
            "classes": [{"name": str(i), "count": num // CLASSES} for i in range(CLASSES)],
            "settings": DataConfig(resolution=side, channels=3).settings(),
            "source": {"kind": "synthetic", "name": "synthetic"},
            "sizes": {"num_distinct": 1, "aspects": [1.0, 1.0], **size},
            "num_refused": 0,
            "refused": [],
            "skipped": {},
            "notes": [],
            "warnings": [],
        }

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, row: int) -> np.ndarray:
        return self._different[row % NUM_DIFFERENT]


def write(folder: Path, num: int, side: int) -> None:
    """The shards; each different picture is encoded once."""
    encoded, known = writing.encoded, dict[int, bytes]()

    def once(pixels: np.ndarray, encoding: writing.Encoding) -> bytes:
        key = pixels.__array_interface__["data"][0]
        if key not in known:
            known[key] = encoded(pixels, encoding)
        return known[key]

    writing.encoded = once
    data: Any = Synthetic(num, side)
    writing.write_shards(data, folder)


def measure(folder: Path, num_read: int, connection: Any) -> None:
    """In a fresh process: open, start, read."""
    begin = time.perf_counter()
    data = standing(folder)
    assert data is not None
    opened = time.perf_counter()
    loader = Loader(data, BATCH, seed=0, num_workers=2)
    loader.secure(BATCH)
    loader.next()
    started_seconds = time.perf_counter() - begin
    started, memory, cpu = time.perf_counter(), list[float](), core_seconds(children=True)
    for number in range(num_read // BATCH):
        loader.secure(2 * BATCH)
        loader.next()
        if number in (num_read // BATCH // 10, num_read // BATCH - 1):
            memory.append(anonymous_mb())
    wall = time.perf_counter() - started
    waited = loader.seconds_waited
    loader.close()
    rate = num_read / (core_seconds(children=True) - cpu)
    alone = Loader(data, BATCH, seed=0)
    cpu, num = core_seconds(), 0
    while core_seconds() - cpu < 5:
        num += len(alone.next().labels)
    in_process = num / (core_seconds() - cpu)
    connection.send(
        {
            "open_seconds": round(opened - begin, 2),
            "start_seconds": round(started_seconds, 2),
            "images_per_second": round(num_read / wall),
            "rate": round(rate),
            "in_process": round(in_process),
            "rss_mb": [round(value, 1) for value in memory],
            "wait_share": round(waited / wall, 2),
        }
    )


def core_seconds(children: bool = False) -> float:
    kinds = [resource.RUSAGE_SELF] + [resource.RUSAGE_CHILDREN] * children
    usages = [resource.getrusage(kind) for kind in kinds]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def anonymous_mb() -> float:
    """Resident memory of this process but for pages of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=1_000_000)
    parser.add_argument("--read", type=int, default=200_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        begin = time.perf_counter()
        write(place / "shards", options.num, options.side)
        written = time.perf_counter() - begin
        shards = list((place / "shards").glob("*.tar"))
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=measure, args=(place / "shards", options.read, theirs)
        )
        process.start()
        figures = ours.recv()
        process.join()
        result = {
            "benchmark": "shards",
            "num": options.num,
            "num_read": options.read,
            "side": options.side,
            "num_shards": len(shards),
            "mean_bytes": round(sum(path.stat().st_size for path in shards) / options.num),
            "index_mb": round((place / "shards" / "shards.index").stat().st_size / 1e6, 1),
            "write_seconds": round(written),
            **figures,
            "targets": TARGETS,
        }
        print(json.dumps(result))
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
