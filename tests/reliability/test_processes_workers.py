"""T12, loader workers: one that is killed or hangs is replaced, or the run stops in one line."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from limner import api
from limner.checkpoints import RunDirectory
from limner.core.errors import DataError, LimnerError
from limner.data import Batch, Loader, PreparedData
from limner.engine import Intervals
from runs import eventful_config, result, toy_data, toy_pictures
from sizes import sized, tallied

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX"),
]
SEED = 12
PATIENCE = 10.0  # seconds that the plan allows
TIMEOUT = 1.0  # seconds after which a worker counts as hung here
NUM_BATCHES = 14
HURTS = {"killed": signal.SIGKILL, "hung": signal.SIGSTOP}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return toy_data(tmp_path_factory.mktemp("data"))


def workers() -> list[int]:
    """Process ids of the loader workers of this process, in the order of their start."""
    return sorted(child.pid or 0 for child in multiprocessing.active_children())


def batches(
    data: PreparedData, num_workers: int, hurt: Callable[[int], None], on_loss=lambda line: None
) -> tuple[list[Batch], float]:
    """Fourteen batches; `hurt(k)` is called before each. Also the longest wait for one."""
    loader = Loader(data, 8, SEED, num_workers=num_workers, worker_timeout=TIMEOUT, on_loss=on_loss)
    taken, longest = [], 0.0
    try:
        for number in range(NUM_BATCHES):
            hurt(number)
            begin = time.monotonic()
            taken.append(loader.next())
            longest = max(longest, time.monotonic() - begin)
    finally:
        loader.close()
    return taken, longest


def equal(left: list[Batch], right: list[Batch]) -> bool:
    return all(
        torch.equal(a, b)
        for x, y in zip(left, right, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_a_lost_worker_is_replaced_and_the_batches_are_the_same(data):
    """At seeded moments, each worker in turn, killed or stopped."""
    inline, _ = batches(data, 0, lambda number: None)
    generator = torch.Generator().manual_seed(SEED)
    waits: dict[str, float] = dict.fromkeys(HURTS, 0.0)
    with tallied("T12 loader workers", SEED) as tally:
        for trial in range(sized(4, 20)):
            name = tuple(HURTS)[trial % 2]
            at = int(torch.randint(NUM_BATCHES - 5, (), generator=generator))
            lines: list[str] = []

            def hurt(number: int, at=at, name=name, which=trial // 2 % 2) -> None:
                if number == at:
                    os.kill(workers()[which], HURTS[name])

            taken, longest = batches(data, 2, hurt, lines.append)
            good = equal(taken, inline) and longest < PATIENCE and len(lines) == 1
            good = good and "was replaced" in lines[0] and not workers()
            waits[name] = max(waits[name], longest)
            tally.count(good)
        tally.more["longest_wait_seconds"] = {name: round(wait, 2) for name, wait in waits.items()}
    assert tally.failures == 0
    assert waits["hung"] >= TIMEOUT / 2  # it had to be found


def test_the_comparison_sees_a_batch_that_was_lost(data):
    """The control: with one batch passed over, all that follow differ."""
    inline, _ = batches(data, 0, lambda number: None)
    again, _ = batches(data, 2, lambda number: None)
    assert equal(again, inline)
    assert not equal(again[1:], inline[:-1])


def test_workers_lost_again_and_again_stop_the_run_in_one_line(data, monkeypatch):
    """Every worker dies over its first batch, as with too little memory."""
    monkeypatch.setattr(
        "limner.data.workers.gather", lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    )
    begin = time.monotonic()
    with pytest.raises(DataError, match=r"3 loader workers were lost .* signal 9 .* --workers 0"):
        batches(data, 2, lambda number: None)
    assert time.monotonic() - begin < PATIENCE
    assert not workers()


def test_control_without_watching_a_hung_worker_is_waited_for(data):
    """The control of the time limit: nobody finds a stopped worker before its timeout."""
    loader = Loader(data, 8, SEED, num_workers=1, worker_timeout=3 * TIMEOUT)
    for _ in range(3):
        loader.next()
    os.kill(workers()[0], signal.SIGSTOP)
    begin = time.monotonic()
    for _ in range(4):
        loader.next()
    assert time.monotonic() - begin > 2 * TIMEOUT
    loader.close()


# --- a whole run ----------------------------------------------------------------------------


@pytest.fixture
def _no_extras(monkeypatch: pytest.MonkeyPatch):
    """No report and no TensorBoard: they are slow to import and not what is asked here."""
    monkeypatch.setattr(api.training.importlib.util, "find_spec", lambda name: None)


def events(run: Path) -> list[str]:
    return [e["message"] for e in RunDirectory(run).read_log("events") if e["event"] == "warning"]


@pytest.mark.usefixtures("_no_extras")
def test_a_run_goes_on_to_the_same_weights_and_says_what_happened(tmp_path):
    pictures = toy_pictures(tmp_path / "pictures.npz")
    config = eventful_config(intervals=Intervals(log=5, sample=0, save=0))
    api.train(config, pictures, tmp_path / "whole", api.TrainOptions(device="cpu"))

    def on_step(step: int, nimg: int) -> None:
        if step in (3, 8):
            os.kill(workers()[0], signal.SIGKILL if step == 3 else signal.SIGSTOP)

    options = api.TrainOptions(device="cpu", num_workers=2, worker_timeout=TIMEOUT, on_step=on_step)
    begin = time.monotonic()
    api.train(config, pictures, tmp_path / "hurt", options)
    assert time.monotonic() - begin < PATIENCE
    assert result(tmp_path / "hurt") == result(tmp_path / "whole")
    killed, hung = events(tmp_path / "hurt")
    assert "killed by signal 9" in killed
    assert "no sign for 1 s" in hung
    assert not events(tmp_path / "whole")


def test_a_timeout_of_nothing_is_refused(tmp_path):
    with pytest.raises(LimnerError, match="worker_timeout"):
        api.train(eventful_config(), "digits", tmp_path, api.TrainOptions(worker_timeout=0.0))


def is_running(process: int) -> bool:
    """Whether a process lives; one that has ended may wait for init to take notice."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_their_process_and_leave_the_lock(data, tmp_path):
    """Also a stopped worker: else it would hold what the killed process held."""
    code = (
        "import sys, time\n"
        "from limner.data import Loader, PreparedData\n"
        "from limner.checkpoints import run_lock\n"
        "import multiprocessing\n"
        "with run_lock(sys.argv[2]):\n"
        "    loader = Loader(PreparedData(sys.argv[1]), 8, 0, num_workers=3)\n"
        "    loader.next()\n"
        "    print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "    time.sleep(60)\n"
    )
    words = [sys.executable, "-c", code, str(data.directory), str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = [int(word) for word in process.stdout.readline().split()]
    assert len(children) == 3
    os.kill(children[0], signal.SIGSTOP)
    assert all(is_running(child) for child in children)
    process.kill()
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 2
    while any(is_running(child) for child in children):
        assert time.monotonic() < end
        time.sleep(0.01)
    with RunDirectory(tmp_path).lock():
        pass
