"""The command: runs of a benchmark, seed by seed or side by side, and the page of results.

    python benchmarks/quality ring --seeds 0-2
    python benchmarks/quality stacked --seeds 0-2 --jobs 3
    python benchmarks/quality conditional --idx train-images-idx3-ubyte train-labels-idx1-ubyte
    python benchmarks/quality table

A run goes on where it was stopped (the same command again), and one that stands in the results is
not repeated. Each run has one line in the results, with its seed, times and command.
"""

import argparse
import datetime
import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import mnist_data
import torch

import limner
from limner.core.errors import DivergenceError, LimnerError
from quality import results
from quality.benches import BENCHES
from quality.loop import Clock, Ran, trained
from quality.results import Record

HERE = Path(__file__).resolve().parent


def parsed(words: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=[*BENCHES, "table"])
    parser.add_argument("--seeds", default="0", help="one, or FIRST-LAST")
    parser.add_argument("--jobs", type=int, default=1, help="seeds trained at once, as processes")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--steps", type=int, help="another length than the benchmark's")
    parser.add_argument("--minutes", type=float, help="wall time of training of each seed at most")
    parser.add_argument("--idx", nargs=2, type=Path, metavar=("IMAGES", "LABELS"))
    parser.add_argument("--runs", type=Path, default=Path("runs/quality"))
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Returns 0, 1 after a failed run, or 128 + the signal that stopped it."""
    options = parsed(words)
    families = {name: bench.family for name, bench in BENCHES.items()}
    if options.name == "table":
        print(results.write(options.results, families))
        return 0
    seeds = seeds_of(options.seeds)
    if options.jobs > 1 and len(seeds) > 1:
        return side_by_side(options, seeds)
    torch.set_num_threads(options.threads)
    codes = []
    try:
        for seed in seeds:
            codes.append(one(options, seed))
            if codes[-1] > 128:
                break
    except LimnerError as error:
        say(f"quality: {error}")
        return 1
    return max(codes)


def seeds_of(text: str) -> list[int]:
    """ "3" -> [3], "0-2" -> [0, 1, 2]."""
    low, _, high = text.partition("-")
    return list(range(int(low), int(high or low) + 1))


def side_by_side(options: argparse.Namespace, seeds: list[int]) -> int:
    """As many processes at once as there are jobs; what they print comes as it is."""
    waiting, running, codes = list(seeds), [], []
    while waiting or running:
        while waiting and len(running) < options.jobs:
            words = [sys.executable, str(HERE), *words_of(options, waiting.pop(0))]
            running.append(subprocess.Popen(words, env=os.environ | threads_of(options)))
        codes.append(running.pop(0).wait())
        if codes[-1] > 128:
            waiting.clear()
    return max(codes)


def threads_of(options: argparse.Namespace) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(options.threads)}


def words_of(options: argparse.Namespace, seed: int) -> list[str]:
    """The command of one seed."""
    words = command_of(options, seed).split()[2:]
    if options.idx:
        words += ["--idx", *map(str, options.idx)]
    return [*words, "--runs", str(options.runs), "--results", str(options.results)]


def command_of(options: argparse.Namespace, seed: int) -> str:
    """What is recorded: without the user's paths."""
    words = [f"python benchmarks/quality {options.name} --seeds {seed}"]
    words.append(f"--threads {options.threads}")
    for name in ("steps", "minutes"):
        if getattr(options, name) is not None:
            words.append(f"--{name} {getattr(options, name):g}")
    return " ".join(words)


def one(options: argparse.Namespace, seed: int) -> int:
    """Train, judge and record one seed. Returns the exit code."""
    bench, steps = BENCHES[options.name], options.steps or BENCHES[options.name].steps
    data = data_of(options)
    if results.finished(options.results, options.name, seed, steps, data):
        say(f"{options.name}, seed {seed}: stands in the results; nothing to do")
        return 0
    config = bench.config(seed, steps)
    path = options.runs / f"{options.name}-seed{seed}-{steps}"
    record: Record = {
        "benchmark": options.name,
        "protocol": bench.family,
        "seed": seed,
        "planned_steps": steps,
        "batch_size": config.batch_size,
        "data": data,
        "goal": ", ".join(f"{key} {sign} {value:g}" for key, (sign, value) in bench.goal.items()),
        "command": command_of(options, seed),
    }
    idx = None if options.idx is None else (options.idx[0], options.idx[1])
    setting = bench.setting(config, idx)
    try:
        limits = (options.minutes, bench.cpu_minutes)
        ran = trained(config, setting.shape, setting.reals, path, partial(is_up, *limits), say)
    except DivergenceError as error:
        record |= {"failure": " ".join(str(error).split()), "figures": {}, "reached": False}
        finish(options.results, record | known_times(path))
        return 1
    if ran.signal:
        say(f"{path}: stopped at step {ran.trainer.progress.step}; the same command goes on")
        return 128 + ran.signal
    judged = setting.judge(ran.trainer, seed, path)
    record |= {
        "failure": None,
        "cut": ran.cut,
        "figures": judged.figures,
        "raw": judged.raw,
        "floor": judged.floor,
        **judged.hashes,
    }
    record["reached"] = bench.reached(judged.figures)
    finish(options.results, record | times_of(ran))
    return 0


def is_up(minutes: float | None, cpu_minutes: float | None, clock: Clock) -> bool:
    """Whether a run's time on the wall or of the processors is over."""
    wall_is_up = minutes is not None and clock.wall >= 60 * minutes
    return wall_is_up or (cpu_minutes is not None and clock.cpu >= 60 * cpu_minutes)


def data_of(options: argparse.Namespace) -> str:
    """Which reals, as the results name them."""
    reals = BENCHES[options.name].reals
    if reals != "digits":
        return reals
    return "own idx files" if options.idx else mnist_data.PACKAGE


def finish(folder: Path, record: Record) -> None:
    """Add where and when, write the line, and print it."""
    record |= {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "limner": limner.__version__,
    }
    results.append(folder, record)
    print(json.dumps({key: plain(value) for key, value in record.items()}), flush=True)


def plain(value: object) -> object:
    """Numbers that JSON does not have as null."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def times_of(ran: Ran) -> Record:
    """Training alone, over all sessions."""
    return {
        "steps": ran.trainer.progress.step,
        "nimg": ran.trainer.progress.nimg,
        "wall_seconds": round(ran.clock.wall, 1),
        "cpu_seconds": round(ran.clock.cpu, 1),
        "sessions": ran.clock.sessions,
    }


def known_times(path: Path) -> Record:
    """Of a run that failed: what its log says."""
    log = path / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    last = lines[-1] if lines else {"step": 0, "wall": 0.0, "cpu": 0.0, "sessions": 1}
    return {
        "steps": last["step"],
        "wall_seconds": round(last["wall"], 1),
        "cpu_seconds": round(last["cpu"], 1),
        "sessions": last["sessions"],
    }


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
