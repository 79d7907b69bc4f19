"""T15: a number that is not finite stops a run before the update, and no checkpoint holds one."""

import re
from pathlib import Path

import pytest
import torch

from limner.checkpoints import RunDirectory, load_state
from limner.cli.main import main
from limner.engine import trainer as trainer_module
from limner.running import fit as fit_module
from limner.running.health import nonfinite_in_state
from planted import PLACES, Plant, planted_command, planted_config
from runs import fit_of, toy_data
from sizes import sized, tallied
from warm import Warm

# Planted pictures are floats, where the trainer expects uint8.
pytestmark = pytest.mark.reliability

NAMED = {
    ("loss", "d"): "the loss Poisonable",
    ("loss", "g"): "the loss Poisonable",
    ("gradient", "d"): "discriminator gradient of last.weight",
    ("gradient", "g"): "generator gradient of last.weight",
    ("input", "d"): "the real pictures (rows 2 of the batch, pictures ",
    ("input", "g"): "the latents (rows 1 of the batch)",
    ("weight", "d"): "discriminator weight first.weight",
    ("weight", "g"): "generator weight first.weight",
    ("statistic", "d"): "discriminator buffer norm.running_var",
    ("statistic", "g"): "generator buffer norm.running_var",
}


def checkpoints(directory: Path) -> list[Path]:
    return sorted((directory / "run" / "checkpoints").glob("step-*"))


def shown_pictures(directory: Path, config, step: int) -> set[int]:
    """The dataset indices of the batch that a step sees: the order is a pure function."""
    from limner.data import indices

    size = config.batch_size
    return {int(i) for i in indices(config.seed, step * size, size, 32)}


def judge(directory: Path, config, code: int, said: str, place: str, player: str) -> list[str]:
    """What is wrong with how a run ended, from its words and its files."""
    plant = config.controllers[0]
    wrong = [] if code == 1 else [f"exit code {code}"]
    line = said.strip().splitlines()[-1] if said.strip() else ""
    for words in (NAMED[place, player], f"step {plant.at + 1} ", "is not finite"):
        if words not in line:
            wrong.append(f"'{words}' is not in: {line}")
    listed = re.search(r"last real pictures ([\d, ]+)", line)
    shown = {int(i) for i in listed.group(1).split(",") if i.strip()} if listed else set()
    if shown != shown_pictures(directory, config, plant.at):
        wrong.append(f"pictures {shown}")
    saved = checkpoints(directory)
    if [int(path.name[5:]) for path in saved][-1:] != [plant.at]:
        wrong.append(f"checkpoints {[path.name for path in saved]}")
    wrong += [
        f"{path.name}: {bad}" for path in saved if (bad := nonfinite_in_state(load_state(path)))
    ]
    events = RunDirectory(directory / "run").read_log("events")
    if "diverged" not in [event["event"] for event in events]:
        wrong.append("no event")
    return wrong


def moved(directory: Path, player: str) -> list[str]:
    """Weights of the planted player that differ from the newest checkpoint, NaN aside."""
    name = "generator" if player == "g" else "discriminator"
    before = load_state(checkpoints(directory)[-1])[name]
    now = Plant.trainers[0].networks[player].named_parameters()
    changed = []
    for key, weight in now:
        same = (weight == before[key]) | weight.isnan()
        if not bool(same.all()):
            changed.append(key)
    return changed


def test_a_planted_nan_stops_before_the_update(tmp_path, capsys):
    seeds = sized((0,), (0, 1, 2, 3, 4))
    with tallied("T15 divergence") as tally:
        found = {}
        for seed in seeds:
            for place in PLACES:
                for player in "dg":
                    directory = tmp_path / f"{seed}-{place}-{player}"
                    directory.mkdir()
                    config = planted_config(place, player, seed=seed, at=2 + seed)
                    code = main(planted_command(directory, config))
                    wrong = judge(directory, config, code, capsys.readouterr().err, place, player)
                    wrong += moved(directory, player)
                    tally.count(not wrong)
                    if wrong:
                        found[directory.name] = wrong
        tally.more["places"] = len(PLACES) * 2
        assert found == {}


def test_the_verdict_of_the_command_itself(tmp_path, warm: Warm):
    """Five places, the players in turn; at full size each place in either player, at two steps."""
    both = [(place, player, at) for at in (2, 4) for player in "dg" for place in PLACES]
    turns = [(place, "dg"[number % 2], 2) for number, place in enumerate(PLACES)]
    planted = {}
    with tallied("T15 divergence, through the command") as tally:
        for place, player, at in sized(turns, both):
            name = f"{place}-{player}-{at}"
            (tmp_path / name).mkdir()
            planted[name] = (place, player, planted_config(place, player, at=at))
            warm.start(name, planted_command(tmp_path / name, planted[name][2]))
        found = {}
        for name, (place, player, config) in planted.items():
            ended = warm.end(name)
            wrong = judge(tmp_path / name, config, ended.code, ended.err, place, player)
            tally.count(not wrong)
            if wrong or "Traceback" in ended.err:
                found[name] = [*wrong, ended.err[-500:]]
        assert found == {}
    assert tally.n == sized(5, 20)


def test_a_state_that_is_not_finite_is_not_saved(tmp_path, capsys):
    """The average is read by no loss: only the save can find it."""
    config = planted_config("average", "g", at=2)
    assert main(planted_command(tmp_path, config)) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "step 3: the state is not finite (generator_ema last.bias)" in said
    assert [path.name for path in checkpoints(tmp_path)][-1] == "step-00000002"
    assert all(nonfinite_in_state(load_state(path)) is None for path in checkpoints(tmp_path))


@pytest.mark.parametrize("place", ["input", "statistic"])
def test_control_without_the_checks_every_checkpoint_is_poisoned(tmp_path, monkeypatch, place):
    """The positive control: what the tests above look for does happen when nobody checks."""

    def unchecked(update, progress, networks, loss, watch):
        return torch.zeros(())

    monkeypatch.setattr(trainer_module, "checked_norm", unchecked)
    monkeypatch.setattr(fit_module, "require_finite", lambda tree, own, step: None)
    config = planted_config(place, "d", at=2, steps=3)
    fit_of(tmp_path / "run", config, toy_data(tmp_path))()
    assert nonfinite_in_state(load_state(checkpoints(tmp_path)[-1])) is not None


def test_infinity_counts_but_not_in_what_a_part_remembers():
    tree = {
        "generator": {"w": torch.ones(2)},
        "memories": {"a": {"lowest": torch.tensor(torch.inf)}},
    }
    assert nonfinite_in_state(tree) is None
    tree["optimizer_g"] = {"state": {0: {"exp_avg": torch.tensor([0.0, torch.inf])}}}
    assert nonfinite_in_state(tree) == "optimizer_g state 0 exp_avg"
    del tree["optimizer_g"]
    tree["memories"]["a"]["mean"] = torch.tensor(torch.nan)
    assert nonfinite_in_state(tree) == "memories a mean"
