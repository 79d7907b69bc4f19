"""T15: an alarm for a collapsing run, none for a healthy one; the same run with and without."""

import json

import pytest

from limner.api.training import resolved
from limner.cli.main import main
from limner.core.config import to_json
from limner.data import open_data
from limner.presets import digits_tiny
from limner.running.fit import Hooks
from planted import COLLAPSES, collapsing, small_convolutions, watched
from processes import side_by_side
from runs import eventful_config, fit_of, learned, toy_data
from sizes import sized, tallied

pytestmark = pytest.mark.reliability

EXPECTED = {
    "one picture": ("look alike",),
    "rate too high": ("look alike", "neither player learns", "explodes"),
    "discriminator wins": ("the discriminator wins",),
}


def alarms_of(path, config) -> list[str]:
    """Train on digits; the alarms that its events hold."""
    data = open_data("digits", config.data)
    fit = fit_of(path, resolved(config, data), data)
    fit()
    return [e["message"] for e in fit.run.read_log("events") if e["event"] == "alarm"]


def collapses() -> list[tuple]:
    """(what goes wrong, config): three seeded ways to collapse."""
    tame, tiny = small_convolutions(), digits_tiny().replace(batch_size=16)
    # Batch norm survives a rate that ends the spectrally normalized pair within fifty steps.
    fast = [(tiny if kind == "rate too high" else tame, kind, 0, 72) for kind in COLLAPSES]
    # Longer than the fast runs: a collapse in the last steps needs three figures to be told.
    full = [(base, kind, seed, 144) for base, kind, _, _ in fast for seed in range(3)]
    full += [(digits_tiny(), kind, 0, 240) for kind in COLLAPSES]
    return [
        (kind, watched(collapsing(base, kind), seed, steps, 20 if base.batch_size > 32 else 6))
        for base, kind, seed, steps in sized(fast, full)
    ]


def healthy() -> list[tuple]:
    steps, every = sized((200, 20), (2000, 50))
    fast = (digits_tiny().replace(batch_size=16),)
    full = (digits_tiny(), digits_tiny(), small_convolutions())
    bases = sized(fast, full)
    return [(None, watched(base, seed, steps, every)) for seed, base in enumerate(bases)]


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> list[tuple]:
    """(what goes wrong or None, the alarms) of every run; the long ones first, two at a time."""
    root, cases = tmp_path_factory.mktemp("alarms"), [*healthy(), *collapses()]
    alarms = side_by_side(lambda k: alarms_of(root / str(k), cases[k][1]), range(len(cases)))
    return [(kind, told) for (kind, _), told in zip(cases, alarms, strict=True)]


def test_collapsing_runs_are_told(heard):
    with tallied("T15 collapses") as tally:
        missed = []
        for kind, alarms in heard:
            if kind is not None:
                told = any(words in alarm for words in EXPECTED[kind] for alarm in alarms)
                tally.count(told)
                missed += [] if told else [(kind, alarms)]
        assert missed == []
    assert tally.n == len(collapses())


def test_healthy_runs_raise_no_alarm(heard):
    with tallied("T15 false alarms", seed=0) as tally:
        false = [alarms for kind, alarms in heard if kind is None and alarms]
        for kind, alarms in heard:
            if kind is None:
                tally.count(not alarms)
        tally.more["steps"] = sized(200, 2000)
        assert false == []
    assert tally.n == len(healthy())


def test_an_alarm_reaches_display_events_and_report(tmp_path, capsys):
    config = watched(collapsing(small_convolutions(), "one picture"), 0, 12, 1)
    file = tmp_path / "config.json"
    file.write_text(to_json(config))
    run = tmp_path / "run"
    assert main(["train", str(file), "--run", str(run), "--device", "cpu"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("alarm: ")]
    assert told
    assert "look alike" in told[0]
    report = (run / "report.html").read_text()
    assert "<strong>alarm</strong>" in report
    assert "<h2>Health</h2>" in report
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"signs_real", "signs_fake", "diversity", "grad_norm_g"} <= lines[-1].keys()
    assert any(key.startswith("sv.d.") for key in lines[-1])


def test_being_watched_changes_nothing(tmp_path):
    """Control: another seed is seen as a difference by the same comparison."""
    data = toy_data(tmp_path)
    states = []
    for health, seed in ((0, 0), (1, 0), (1, 1)):
        config = eventful_config(seed=seed)
        config = config.replace(intervals=config.intervals.replace(log=1, health=health))
        fit = fit_of(tmp_path / f"run-{health}-{seed}", config, data)
        fit()
        watched_lines = ["diversity" in line for line in fit.run.read_log("log")]
        assert all(watched_lines) if health else not any(watched_lines)
        states.append(learned(fit.run.select("")))
    assert states[0] == states[1]
    assert states[1] != states[2]


def test_being_watched_changes_no_singular_vector_and_no_statistic(tmp_path):
    states = []
    data = open_data("digits", digits_tiny().data)
    for health in (0, 1):
        config = watched(digits_tiny().replace(batch_size=8), 0, 4, 1)
        config = config.replace(intervals=config.intervals.replace(health=health))
        fit = fit_of(tmp_path / str(health), resolved(config, data), data, hooks=Hooks())
        fit()
        states.append(learned(fit.run.select("")))
    assert states[0] == states[1]
