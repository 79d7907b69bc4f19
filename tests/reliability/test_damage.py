"""Damaged checkpoints: found before anything is loaded, the one before is taken, with one line (T6).

The control loads the same files without comparing sums, as a plain loader does.
"""

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch

from limner import api
from limner.checkpoints import RunDirectory, list_states, newest_verified, read_manifest
from limner.checkpoints.manifest import render_manifest
from limner.cli.main import main
from limner.core.errors import CheckpointError
from limner.engine import Intervals
from runs import eventful_config, result, toy_pictures
from sizes import sized, tallied
from warm import Warm

pytestmark = [pytest.mark.reliability, pytest.mark.usefixtures("no_extras")]

SEED = 6
NUM_CUTS, NUM_FLIPS = sized((15, 45), (50, 200))
NUM_COMMANDS = sized(5, 20)
CONFIG = eventful_config(
    steps=8, intervals=Intervals(log=1, sample=0, save=3, milestone=0), keep_best=0
)
NEWEST, BEFORE = "step-00000006", "step-00000003"

Damage = Callable[[Path], None]  # changes a checkpoint's directory


@pytest.fixture(scope="module")
def pictures(place: Path) -> Path:
    return toy_pictures(place / "toys.npz")


@pytest.fixture(scope="module")
def half(place: Path, pictures: Path) -> Path:
    """A run that was stopped after step 6, with the checkpoints of steps 3 and 6."""
    run = place / "half"
    api.train(CONFIG.replace(steps=6), pictures, run, api.TrainOptions(device="cpu"))
    assert [path.name for _, path in list_states(run / "checkpoints")] == [BEFORE, NEWEST]
    return run


@pytest.fixture(scope="module")
def whole(place: Path, pictures: Path) -> Path:
    api.train(CONFIG, pictures, place / "whole", api.TrainOptions(device="cpu"))
    return place / "whole"


# --- damages -----------------------------------------------------------------------


def cut(name: str, length: int) -> Damage:
    def damage(state: Path) -> None:
        os.truncate(state / name, length)

    return damage


def flip(name: str, bit: int) -> Damage:
    def damage(state: Path) -> None:
        content = bytearray((state / name).read_bytes())
        content[bit // 8] ^= 1 << bit % 8
        (state / name).write_bytes(content)

    return damage


def remove(name: str) -> Damage:
    return lambda state: (state / name).unlink()


def reseal(**changes: object) -> Damage:
    """A manifest that says something else and carries the right sum of itself."""

    def damage(state: Path) -> None:
        manifest = {**read_manifest(state), **changes}
        (state / "manifest.json").write_bytes(render_manifest(manifest))

    return damage


def unknown_sum(state: Path) -> None:
    """A file and a manifest of different saves."""
    path = state / "generator.safetensors"
    content = safetensors.torch.load_file(path)
    path.write_bytes(safetensors.torch.save({k: v + 1 for k, v in content.items()}))


def emptied(state: Path) -> None:
    for path in state.iterdir():
        path.unlink()


def damages(state: Path) -> dict[str, Damage]:
    """Every damage by name; places are drawn over all bytes of all files."""
    draw, sizes = random.Random(SEED), {p.name: p.stat().st_size for p in sorted(state.iterdir())}
    found: dict[str, Damage] = {}
    for names, num, kind in ((list(sizes), NUM_CUTS, "cut"), (list(sizes), NUM_FLIPS, "flip")):
        weights = [sizes[name] for name in names]
        for number in range(num):
            # Every file has its turn, then they have turns by size.
            name = names[number] if number < len(names) else draw.choices(names, weights)[0]
            if kind == "cut":
                length = draw.randrange(sizes[name])
                found[f"{name} cut to {length}"] = cut(name, length)
            else:
                bit = draw.randrange(8 * sizes[name])
                found[f"{name} bit {bit}"] = flip(name, bit)
    for name in sizes:
        found[f"{name} empty"], found[f"{name} missing"] = cut(name, 0), remove(name)
    found["from the future"] = reseal(format_version=2)
    found["version 0"] = reseal(format_version=0)
    found["another step"] = reseal(step=5)
    found["of two saves"] = unknown_sum
    found["no files"] = emptied
    return found


@contextlib.contextmanager
def damaged(run: Path, damage: Damage, *names: str) -> Iterator[None]:
    """The run with damaged checkpoints; whole again afterwards."""
    kept = {
        path: path.read_bytes() for name in names for path in (run / "checkpoints" / name).iterdir()
    }
    try:
        for name in names:
            damage(run / "checkpoints" / name)
        yield
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


# --- T6 ---------------------------------------------------------------------------


def test_t6_every_damage_is_found_before_anything_is_loaded(half, monkeypatch):
    """The previous checkpoint is taken with one line, and no byte of the damaged one is parsed."""
    checkpoints, plain = half / "checkpoints", safetensors.torch.load
    cases, problems, accepted = damages(checkpoints / NEWEST), {}, 0
    parsed: list[bytes] = []
    monkeypatch.setattr(safetensors.torch, "load", lambda content: parsed.append(content))
    with tallied("T6 damage", seed=SEED) as tally:
        for name, damage in cases.items():
            lines: list[str] = []
            with damaged(half, damage, NEWEST):
                taken = newest_verified(checkpoints, lines.append)
                accepted += loads_plainly(checkpoints / NEWEST, plain)
            good = taken == checkpoints / BEFORE and len(lines) == 1 and NEWEST in lines[0]
            tally.count(good and not parsed)
            if not good:
                problems[name] = (taken, lines)
        tally.more["accepted_without_sums"] = accepted
    assert not problems
    assert not parsed
    assert newest_verified(checkpoints, pytest.fail) == checkpoints / NEWEST
    assert accepted > tally.n / 4


def loads_plainly(state: Path, load: Callable) -> bool:
    """The control: read the files that are there, compare nothing."""
    try:
        structure = json.loads((state / "state.json").read_bytes())
        for name in structure["files"].values():
            load((state / name).read_bytes())
    except Exception:  # whatever a damaged file makes a plain loader raise
        return False
    return True


def words(run: Path, pictures: Path, config: Path) -> list[str]:
    places = ("--data", str(pictures), "--run", str(run))
    return ["train", str(config), *places, "--device", "cpu", "--json"]


def command(run: Path, pictures: Path, config: Path, *more: str) -> int:
    return main([*words(run, pictures, config), *more])


@pytest.mark.full
def test_t6_the_public_command_takes_the_one_before(place, half, whole, pictures, warm: Warm):
    """In processes of its own it ends where a run without damage does; the events hold one warning
    and the resumed step."""
    cases = list(damages(half / "checkpoints" / NEWEST).items())
    chosen = random.Random(SEED).sample(cases, NUM_COMMANDS)
    with tallied("T6 public command", seed=SEED) as tally:
        for number, (name, damage) in enumerate(chosen):
            run = place / f"damaged-{number}"
            shutil.copytree(half, run)
            damage(run / "checkpoints" / NEWEST)
            warm.start(name, words(run, pictures, whole / "config.json"))
        for number, (name, _) in enumerate(chosen):
            run, ended = place / f"damaged-{number}", warm.end(name)
            assert (ended.code, "Traceback" in ended.err) == (0, False), (name, ended.err)
            events = RunDirectory(run).read_log("events")
            warned = [event for event in events if event["event"] == "warning"]
            resumed = [event["message"] for event in events if event["event"] == "resumed"]
            good = len(warned) == 1 and resumed == ["at step 3"] and result(run) == result(whole)
            tally.count(good)
            shutil.rmtree(run)
    assert tally.failures == 0


def contents(run: Path) -> dict[str, bytes]:
    names = (".lock", "lock.json")
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in names]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["state.json missing", "generator.safetensors empty", "no files"])
def test_t6_all_damaged_is_an_error_and_no_fresh_start(place, half, whole, pictures, capsys, name):
    run = place / f"all-{name.replace(' ', '-')}"
    shutil.copytree(half, run)
    for state in (NEWEST, BEFORE):
        damages(half / "checkpoints" / NEWEST)[name](run / "checkpoints" / state)
    before = contents(run / "checkpoints")
    assert command(run, pictures, whole / "config.json") == 1
    line = capsys.readouterr().err
    assert "--fresh" in line
    assert line.count("\n") == 1
    assert contents(run / "checkpoints") == before
    with pytest.raises(CheckpointError, match="--fresh"):
        newest_verified(run / "checkpoints", pytest.fail)
    assert command(run, pictures, whole / "config.json", "--fresh") == 0
    assert result(run) == result(whole)
    (aside,) = place.glob(f"{run.name}.replaced-*")
    assert contents(aside / "checkpoints") == before
