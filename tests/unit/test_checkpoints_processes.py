"""What happens when processes die, race or work together. Children are forked, to start fast."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from limner.checkpoints import (
    RunDirectory,
    list_states,
    load_rank_state,
    load_state,
    newest_verified,
    protocol,
    read_manifest,
    run_lock,
    save_state,
    state,
)
from limner.core.errors import CheckpointError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its children")

FAILED = 70


def start(work: Callable[[], None], crash_at: int | None = None) -> int:
    """Fork a child that does the work and exits with 0; with `crash_at` it dies at that point."""
    child = os.fork()
    if child:
        return child
    status = FAILED
    try:
        if crash_at is not None:
            os.environ[protocol.CRASH_VARIABLE] = str(crash_at)
        work()
        status = 0
    finally:
        os._exit(status)


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def save(directory: Path, step: int, value: float) -> Path:
    tree = {"net": {"w": torch.full((3,), value)}, "value": value}
    return save_state(directory, step, tree, {"rng": torch.ones(2)})


def value_of(directory: Path) -> float:
    path = newest_verified(directory, lambda line: None)
    assert path is not None
    tree = load_state(path)
    assert torch.equal(tree["net"]["w"], torch.full((3,), tree["value"]))
    return tree["value"]


def outcomes_of_all_crashes(
    root: Path, prepare: Callable[[Path], None], work: Callable[[Path], None]
) -> list[Path]:
    """Let `work` die at its first point, its second ... until it gets through; the directories."""
    places = []
    for at in range(1, 100):
        place = root / str(at)
        place.mkdir()
        prepare(place)
        code = exit_code(start(lambda place=place: work(place), at))
        places.append(place)
        if code == 0:
            return places
        assert code == 137
    raise AssertionError("never got through")


@pytest.mark.parametrize("step", [1, 2])
def test_killed_at_any_point_old_or_new_is_whole(tmp_path: Path, step: int):
    places = outcomes_of_all_crashes(
        tmp_path,
        lambda place: save(place / "checkpoints", 1, 1.0) and None,
        lambda place: save(place / "checkpoints", step, 2.0) and None,
    )
    values = []
    for place in places:
        run = RunDirectory(place)
        values.append(value_of(run.checkpoints))
        run.remove_leftovers()
        assert value_of(run.checkpoints) == values[-1]
        assert all(name.startswith("step-") for name in os.listdir(run.checkpoints))
        save(run.checkpoints, 3, 3.0)
        assert value_of(run.checkpoints) == 3.0
    assert len(places) > 12
    assert values == sorted(values)  # the old one until the rename, then the new one
    assert set(values) == {1.0, 2.0}


def test_control_saving_in_place_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state, "TEMPORARY", "")
    monkeypatch.setattr(state, "swap_in", lambda temporary, final: None)
    monkeypatch.setattr(state, "_same_content", lambda temporary, final: False)
    places = outcomes_of_all_crashes(
        tmp_path,
        lambda place: save(place, 1, 1.0) and None,
        lambda place: save(place, 1, 2.0) and None,
    )
    lost = 0
    for place in places:
        try:
            value_of(place)
        except CheckpointError:
            lost += 1
    assert lost > len(places) / 2


def test_killed_during_the_first_save_there_is_nothing(tmp_path: Path):
    places = outcomes_of_all_crashes(
        tmp_path, lambda place: None, lambda place: save(place, 1, 2.0) and None
    )
    found = [newest_verified(place, pytest.fail) for place in places]
    assert found[0] is None
    assert found[-1] == places[-1] / "step-00000001"


def test_killed_while_pruning(tmp_path: Path):
    def prepare(place: Path) -> None:
        for step in (1, 2, 3, 4):
            save(place / "checkpoints", step, float(step))

    places = outcomes_of_all_crashes(
        tmp_path, prepare, lambda place: RunDirectory(place).prune(keep_newest=1) and None
    )
    assert len(places) > 6
    for place in places:
        assert value_of(place / "checkpoints") == 4.0
        run = RunDirectory(place)
        run.remove_leftovers()
        run.prune(keep_newest=1)
        assert os.listdir(run.checkpoints) == ["step-00000004"]


def test_a_race_for_the_lock_has_one_winner(tmp_path: Path):
    for number in range(10):
        run = tmp_path / str(number)
        run.mkdir()
        go = time.monotonic() + 0.05

        def contend(run: Path = run, go: float = go) -> None:
            time.sleep(max(0.0, go - time.monotonic()))
            try:
                with run_lock(run):
                    until(lambda: (run / "refused").exists())
            except CheckpointError:
                (run / "refused").touch()
                os._exit(3)

        codes = [exit_code(child) for child in [start(contend), start(contend)]]
        assert sorted(codes) == [0, 3]


def test_the_second_start_names_the_first_and_a_dead_one_is_taken_over(tmp_path: Path):
    def hold() -> None:
        with run_lock(tmp_path):
            (tmp_path / "held").touch()
            time.sleep(60)

    child = start(hold)
    try:
        until(lambda: (tmp_path / "held").exists())
        before = time.monotonic()
        with (
            pytest.raises(CheckpointError, match=f"process {child} on .+ .since 20"),
            run_lock(tmp_path),
        ):
            pass
        assert time.monotonic() - before < 1.0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert (tmp_path / "lock.json").exists()
    with RunDirectory(tmp_path).lock():
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()
        with pytest.raises(CheckpointError, match=f"process {os.getpid()}"), run_lock(tmp_path):
            pass
        (tmp_path / "lock.json").write_text("{")
        with pytest.raises(CheckpointError, match="another process"), run_lock(tmp_path):
            pass
    assert not (tmp_path / "lock.json").exists()


def test_lock_and_run_directory_need_no_torch():
    code = (
        "import sys, limner.checkpoints.lock, limner.checkpoints.run_directory\n"
        "from limner.checkpoints import RunDirectory, list_states, run_lock\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def two_ranks(root: Path, work: Callable[[int], None]) -> list[int]:
    def join(rank: int) -> None:
        dist.init_process_group("gloo", init_method=f"file://{root}/store", rank=rank, world_size=2)
        work(rank)
        dist.destroy_process_group()

    children = [start(lambda rank=rank: join(rank)) for rank in (0, 1)]
    return [exit_code(child) for child in children]


def test_two_processes_save_together(tmp_path: Path):
    def work(rank: int) -> None:
        tree = {"net": torch.full((2,), float(rank))}
        save_state(tmp_path / "checkpoints", 1, tree, {"rng": torch.tensor(rank)})
        bad = {"rng": float("nan") if rank == 1 else 0.0}  # fails on one, ends on both
        with pytest.raises(CheckpointError) as caught:
            save_state(tmp_path / "checkpoints", 2, tree, bad)
        (tmp_path / f"message-{rank}").write_text(str(caught.value))

    assert two_ranks(tmp_path, work) == [0, 0]
    assert [step for step, _ in list_states(tmp_path / "checkpoints")] == [1]
    path = newest_verified(tmp_path / "checkpoints", pytest.fail)
    assert path is not None
    assert load_state(path)["net"].tolist() == [0.0, 0.0]
    assert [load_rank_state(path, rank) for rank in (0, 1)] == [
        {"rng": torch.tensor(0)},
        {"rng": torch.tensor(1)},
    ]
    assert read_manifest(path)["world_size"] == 2
    assert "another process" in (tmp_path / "message-0").read_text()
    assert "number nan" in (tmp_path / "message-1").read_text()
    assert os.listdir(tmp_path / "checkpoints") == ["step-00000001"]
