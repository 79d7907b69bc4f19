"""T11: long runs take no more memory, files and threads at their end than at their beginning.

A fresh process imports limner once and forks: a clean run, and the control with planted leaks.
Both go through the command's own entry; memory is read in each step, from outside of Python
(/proc). With TensorBoard, two loader workers, and sampling, saving and scoring every 50 steps.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from commands import environment
from limner.core.config import to_json
from limner.engine import Intervals
from runs import eventful_config, toy_pictures
from sizes import sized, tallied

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.full,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc of Linux"),
    pytest.mark.timeout(1200),
]

STEPS, EVERY = sized(300, 2000), 50
# One page of the allocator's growth (132 kB) within the 225 measured steps of the fast size is 0.6
# kB a step, and what is freed at its beginning hides a leak of 10 kB a step (2 MB in all) on a quiet
# machine: so short a run has a wider bound and a larger planted leak.
BYTES_A_STEP = sized(3000, 500)
LEAK_BYTES = sized(100_000, 10_000)

# Arguments: steps, then the command's words. Runs "clean" and "leaky" in the working directory.
DRIVER = """
import os, sys, threading, time
import numpy as np
import torch._dynamo, torch.utils.tensorboard
import limner.api.training, limner.metrics
from limner.cli.display import Display
from limner.cli.main import main

steps, words = int(sys.argv[1]), sys.argv[2:]
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "matplotlib" else find_spec(name, *more)
PAGE = os.sysconf("SC_PAGE_SIZE")

def trained(kind, run):
    measures, kept = np.full((steps, 4), -1), []
    on_step = Display.on_step

    def measured(display, step, nimg):
        on_step(display, step, nimg)
        if kind == "leaky":
            kept.append(bytearray(os.urandom(LEAK)))
            if step % 50 == 0:
                kept.append(open(os.devnull))
                kept.append(threading.Thread(target=time.sleep, args=(60,), daemon=True))
                kept[-1].start()
                open(f"/dev/shm/torch_{os.getpid()}_planted", "w").close()
        with open("/proc/self/statm") as file:
            resident = int(file.read().split()[1]) * PAGE
        shared = sum(f"_{os.getpid()}_" in name for name in os.listdir("/dev/shm"))
        files, threads = os.listdir("/proc/self/fd"), os.listdir("/proc/self/task")
        measures[step - 1] = resident, len(files), len(threads), shared

    Display.on_step = measured
    code = main([*words, "--run", run])
    np.save(run + ".npy", measures)
    return code

for kind in ("clean", "leaky"):
    child = os.fork()
    if not child:
        code = 70
        try:
            code = trained(kind, kind)
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = [name for name in os.listdir("/dev/shm") if f"_{child}_" in name]
    for name in left:
        os.unlink("/dev/shm/" + name)
    print(kind, code, len(left), flush=True)
    assert code == 0
"""


def theil_sen(values: np.ndarray) -> float:
    """The median of all slopes between two of at most 500 evenly spaced values, per place."""
    places = np.unique(np.linspace(0, len(values) - 1, 500).astype(int))
    i, j = np.triu_indices(len(places), 1)
    return float(np.median((values[places[j]] - values[places[i]]) / (places[j] - places[i])))


def test_slope():
    rng = np.random.default_rng(0)
    line = 5.0 * np.arange(2000)
    line[rng.integers(0, 2000, 300)] += 1e6
    assert abs(theil_sen(line) - 5.0) < 0.5


def grown(measures: np.ndarray) -> dict[str, float]:
    """What grew over the later three quarters of a run: bytes a step, files, threads, shared."""
    assert (measures >= 0).all()  # every step was measured
    late = measures[len(measures) // 4 :]
    spread = late[:, 1:3].max(0) - late[:, 1:3].min(0)
    return {
        "bytes_a_step": round(theil_sen(late[:, 0].astype(float)), 1),
        "files": int(spread[0]),
        "threads": int(spread[1]),
        "shared": int(late[-1, 3] - measures[0, 3]),
    }


def test_a_long_run_takes_no_more_at_its_end(tmp_path):
    config = eventful_config(
        steps=STEPS,
        metrics=("fid", "kid", "prdc"),
        num_evaluate=32,
        intervals=Intervals(log=5, sample=EVERY, save=EVERY, evaluate=EVERY),
    )
    (tmp_path / "toy.json").write_text(to_json(config))
    toy_pictures(tmp_path / "pictures.npz")
    words = ("train", "toy.json", "--data", "pictures.npz", "--device", "cpu", "--workers", "2")
    with tallied("T11 soak") as tally:
        code = DRIVER.replace("LEAK", str(LEAK_BYTES))
        paths = os.pathsep.join((str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
        ended = subprocess.run(
            [sys.executable, "-c", code, str(STEPS), *words],
            cwd=tmp_path,
            env=environment(PYTHONPATH=paths),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        clean = grown(np.load(tmp_path / "clean.npy"))
        leaky = grown(np.load(tmp_path / "leaky.npy"))
        scores = (tmp_path / "clean" / "scores.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in scores] == list(range(50, STEPS + 1, 50))
        tally.more = {"steps": STEPS, **clean, "planted": leaky}
        tally.count(clean["bytes_a_step"] < BYTES_A_STEP)
        tally.count(clean["files"] == clean["threads"] == clean["shared"] == 0)
        # The control: each of the four leaks is seen.
        assert leaky["bytes_a_step"] > BYTES_A_STEP
        assert leaky["files"] > 0
        assert leaky["threads"] > 0
        assert leaky["shared"] > 0
        assert ended.stdout.splitlines()[-1] == "leaky 0 1"
        tally.count("clean 0 0" in ended.stdout.splitlines())
    assert tally.failures == 0
