"""--on-divergence rollback: at most twice, with another seed and half the rates, exactly resumable."""

import json

import pytest

from limner.checkpoints import RunDirectory, load_state
from limner.cli.main import main
from limner.core.errors import CheckpointError, DivergenceError
from limner.engine import Intervals
from limner.engine.progress import salted
from limner.running.hooks import Hooks
from planted import planted_command, planted_config
from runs import fit_of, result, toy_data
from sizes import tallied

# Planted pictures are floats, where the trainer expects uint8.
pytestmark = pytest.mark.reliability


def rolling(path, config, data):
    fit = fit_of(path, config, data)
    fit._on_divergence = "rollback"
    return fit


def events(run) -> list[str]:
    kinds = [event["event"] for event in RunDirectory(run).read_log("events")]
    return [kind for kind in kinds if kind in ("diverged", "rolled back")]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_twice_and_no_more(tmp_path, times):
    data, path = toy_data(tmp_path), tmp_path / "run"
    config = planted_config("weight", "g", at=3, times=times)
    fit = rolling(path, config, data)
    with tallied(f"T15 rollback, {times} faults") as tally:
        if times == 3:
            with pytest.raises(DivergenceError, match="step 4"):
                fit()
        else:
            assert fit().step == 10
        tally.count(True)
    done = min(times, 2)
    assert events(path) == ["diverged", "rolled back"] * done + ["diverged"] * (times - done)
    assert load_state(fit.run.select(""))["progress"]["rollbacks"] == (done if times < 3 else 0)
    if times < 3:
        last = fit.run.read_log("log")[-1]
        assert last["rollbacks"] == done
        assert last["lr_g"] == pytest.approx(1e-2 * 0.5**done)
        assert [line["step"] for line in fit.run.read_log("log")] == [2, 4, 6, 8, 10]


def test_without_the_option_the_first_divergence_ends_the_run(tmp_path):
    """The control of the test above."""
    config = planted_config("weight", "g", at=3, times=1)
    fit = fit_of(tmp_path / "run", config, toy_data(tmp_path))
    with pytest.raises(DivergenceError):
        fit()
    assert events(tmp_path / "run") == ["diverged"]


def test_what_follows_is_learned_from_other_pictures_and_noise(tmp_path):
    """The rate alone is not what changed: with the salt taken out the noise is the old one."""
    config = planted_config("weight", "g", at=3, times=1)
    fit = rolling(tmp_path / "run", config, toy_data(tmp_path))
    before = fit.trainer.noise.draw(7, 0).normal("latents", (4, 4))
    order = fit.loader._places.still(28)[:, 0]
    fit()
    assert not before.equal(fit.trainer.noise.draw(7, 0).normal("latents", (4, 4)))
    assert list(order) != list(fit.loader._places.still(28)[:, 0])
    fit.trainer.noise.salt = 0
    assert before.equal(fit.trainer.noise.draw(7, 0).normal("latents", (4, 4)))
    assert salted(5, 0) == 5
    assert len({salted(5, n) for n in range(3)} | {salted(6, n) for n in range(3)}) == 6


def test_a_stop_after_a_rollback_resumes_exactly(tmp_path):
    data = toy_data(tmp_path)
    config = planted_config("statistic", "d", at=3, times=1)
    rolling(tmp_path / "whole", config, data)()
    for steps in (7, 10):
        fit = rolling(tmp_path / "parts", config.replace(steps=steps), data)
        if steps == 10:
            fit.resume(fit.run.select(""))
        fit()
    assert result(tmp_path / "parts") == result(tmp_path / "whole")


def test_without_a_checkpoint_it_goes_back_to_the_beginning(tmp_path):
    intervals = Intervals(log=2, sample=0, save=0)
    config = planted_config("input", "d", at=3, times=1, intervals=intervals)
    fit = rolling(tmp_path / "run", config, toy_data(tmp_path))
    assert fit().step == 10
    rolled = [e for e in fit.run.read_log("events") if e["event"] == "rolled back"]
    assert [(e["step"], e["message"].partition(",")[0]) for e in rolled] == [(0, "to step 0")]


def test_the_command_takes_the_option(tmp_path, capsys):
    config = planted_config("gradient", "g", at=2, times=1, steps=5)
    assert main([*planted_command(tmp_path, config), "--on-divergence", "rollback", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["step"] == 5
    assert events(tmp_path / "run") == ["diverged", "rolled back"]


def test_a_rollback_that_fails_has_said_why_it_was_needed(tmp_path, monkeypatch):
    """The newest checkpoint is damaged, the one before it does not load."""
    config = planted_config("weight", "g", at=3, times=1, intervals=Intervals(log=2, save=2))
    fit = rolling(tmp_path / "run", config, toy_data(tmp_path))

    def refuse(*place, **options):
        raise CheckpointError("it does not load")

    def damage(step: int, nimg: int) -> None:
        if step == 3:
            (fit.run.checkpoints / "step-00000002" / "state.json").write_bytes(b"")

    fit.hooks = Hooks(on_step=damage)
    monkeypatch.setattr(fit, "resume", refuse)
    with pytest.raises(CheckpointError, match="it does not load"):
        fit()
    said = [(e["event"], e["message"]) for e in fit.run.read_log("events")]
    assert [message for event, message in said if event == "diverged"]
    assert [m for event, m in said if event == "warning" and "step-00000002/state.json" in m]
    assert "rolled back" not in [event for event, _ in said]
