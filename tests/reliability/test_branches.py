"""What `train` does with a directory that already holds something."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import limner
from limner import api
from limner.api import training
from limner.api.sheets import RunSheets
from limner.checkpoints import RunDirectory, load_state, run_lock
from limner.cli.main import main
from limner.core.config import Config
from limner.core.errors import CheckpointError, ConfigError, DivergenceError
from limner.engine import Adam, Intervals, Players, Update
from limner.objectives import Term
from runs import computed_log, eventful_config, learned, result, toy_pictures
from toys import ToyGenerator, toy_config

pytestmark = pytest.mark.usefixtures("no_extras")

EVERY_STEP = Intervals(log=5, sample=0, save=0, milestone=1)
QUIET = Intervals(log=5, sample=0, save=0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_pictures(tmp_path_factory.mktemp("data") / "pictures.npz")


def train(config, data: Path, run: Path, **options) -> api.TrainedRun:
    return limner.train(config, data, run, api.TrainOptions(device="cpu", **options))


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 14 steps with every checkpoint."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(eventful_config(intervals=EVERY_STEP), pictures, run)
    return run


@pytest.fixture
def half(whole: Path, tmp_path: Path) -> Path:
    """That run as a kill after the save of step 7 leaves it: log lines beyond it, a torn one."""
    run = tmp_path / "half"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "model")
    for path in (run / "checkpoints").iterdir():
        if path.name > "step-00000007":
            shutil.rmtree(path)
    with open(run / "log.jsonl", "a") as log:
        log.write('{"step": 15, "nimg"')
    return run


def events(run: Path) -> list[tuple[str, str]]:
    return [(e["event"], e["message"]) for e in RunDirectory(run).read_log("events")]


def full_config(**changes):
    return eventful_config(intervals=QUIET, **changes)


# --- the same command again ------------------------------------------------------------


def test_the_same_call_resumes_and_ends_like_the_uninterrupted_run(whole, half, pictures):
    again = train(full_config(), pictures, half)
    assert (again.began_at, again.outcome.step, again.was_finished) == (7, 14, False)
    assert result(half) == result(whole)
    assert ("resumed", "at step 7") in events(half)
    assert limner.load(half).sha256 == limner.load(whole).sha256


def test_a_finished_run_started_again_trains_nothing_and_says_so(whole, pictures, tmp_path):
    run = tmp_path / "finished"
    shutil.copytree(whole, run)
    before = result(run)
    again = train(full_config(), pictures, run)
    assert again.was_finished
    assert again.outcome.signal == 0
    assert result(run) == before


def test_a_longer_run_continues_like_one_that_was_always_longer(half, pictures, tmp_path):
    shorter = full_config(steps=9)
    train(shorter, pictures, half)
    train(full_config(steps=17), pictures, half)
    train(full_config(steps=17), pictures, tmp_path / "long")
    assert result(half) == result(tmp_path / "long")


def test_what_is_only_looked_at_may_change(half, whole, pictures):
    changed = full_config(name="renamed", keep_best=3, num_evaluate=7)
    train(changed.replace(intervals=Intervals(log=5, sample=3, save=2)), pictures, half)
    assert result(half) == result(whole)
    assert json.loads((half / "config.json").read_text())["name"] == "renamed"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1}, "seed"),
        ({"batch_size": 8}, "batch_size"),
        ({"optim": Players(g=Adam(lr=1e-2), d=Adam(lr=2e-2))}, "optim.d.lr"),
        ({"controllers": ()}, "controllers"),
        ({"generator": ToyGenerator(z_dim=5, norm="batch", dropout=0.3)}, "generator.z_dim"),
        ({"precision": "float64"}, "precision"),
    ],
)
def test_any_other_changed_key_is_refused_by_name(half, pictures, changes, key):
    before = {p: p.read_bytes() for p in half.rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=rf"differs in {key}\b.*--fresh"):
        train(full_config(**changes), pictures, half)
    after = {p: p.read_bytes() for p in half.rglob("*") if p.is_file() and p.name != ".lock"}
    assert after == {p: content for p, content in before.items() if p.name != ".lock"}


def test_other_pictures_are_refused(half, tmp_path):
    other = toy_pictures(tmp_path / "other.npz", seed=1)
    with pytest.raises(ConfigError, match="other pictures"):
        train(full_config(), other, half)


def test_the_same_pictures_elsewhere_are_the_same(half, whole, pictures, tmp_path):
    shutil.copy(pictures, tmp_path / "moved.npz")
    train(full_config(), tmp_path / "moved.npz", half)
    assert result(half) == result(whole)


def test_fresh_moves_everything_aside_and_keeps_it(half, whole, pictures):
    before = {p.relative_to(half): p.read_bytes() for p in half.rglob("*") if p.is_file()}
    before = {p: content for p, content in before.items() if p.name != ".lock"}
    for number in (1, 2, 3):  # faster than the clock's seconds, so that names could collide
        fresh = train(full_config(), pictures, half, fresh=True)
        assert (fresh.began_at, fresh.outcome.step) == (0, 14)
        kept = sorted(half.parent.glob("half.replaced-*"))
        assert len(kept) == number
    assert result(half) == result(whole)
    assert {p.relative_to(kept[0]): p.read_bytes() for p in kept[0].rglob("*") if p.is_file()} == (
        before
    )


def test_a_directory_in_use_is_refused(half, pictures):
    with run_lock(half):
        child = os.fork()
        if not child:
            code = 70
            try:
                train(full_config(), pictures, half)
            except CheckpointError as error:
                code = 0 if f"process {os.getppid()}" in str(error) else 71
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0


# --- after a kill --------------------------------------------------------------------------


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(half, whole, pictures):
    weights = half / "checkpoints/step-00000007/generator.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    said = []
    again = train(full_config(), pictures, half, on_event=lambda *event: said.append(event))
    assert again.began_at == 6
    assert result(half) == result(whole)
    warnings = [message for event, message in events(half) if event == "warning"]
    assert len(warnings) == 1
    assert "using step-00000006" in warnings[0]
    assert ("warning", warnings[0]) in said


def test_no_whole_checkpoint_left_never_begins_silently_anew(half, pictures):
    for path in (half / "checkpoints").glob("*/manifest.json"):
        path.unlink()
    with pytest.raises(CheckpointError, match="--fresh"):
        train(full_config(), pictures, half)


def test_killed_before_the_first_save_begins_again_without_double_lines(half, whole, pictures):
    shutil.rmtree(half / "checkpoints")
    again = train(full_config(), pictures, half)
    assert again.began_at == 0
    assert result(half) == result(whole)


def test_killed_at_any_point_of_the_preparation(whole, pictures, tmp_path):
    for at in range(1, 4):
        run = tmp_path / str(at)
        run.mkdir()
        if at > 1:
            (run / "checkpoints").mkdir()
        if at > 2:
            shutil.copy(whole / "data.json", run)
        train(full_config(), pictures, run)
        assert result(run) == result(whole)


class KilledError(Exception):
    pass


def test_scores_and_samples_that_a_kill_prevented_are_made_up_for(
    pictures, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    results = [{"metric": "fid", "name": "fd-toy", "value": 1.0}]
    scored, drawn, kill = [], [], [True]

    def evaluate(self, generator):
        scored.append(0)
        if kill:
            kill.pop()
            raise KilledError
        return results

    monkeypatch.setattr(training._Training, "_evaluate", evaluate)
    original = RunSheets.__call__

    def draw(self, generator, path, step):
        drawn.append(step)
        original(self, generator, path, step)

    monkeypatch.setattr(RunSheets, "__call__", draw)
    config = toy_config(
        metrics=("fid",), steps=8, intervals=Intervals(log=2, sample=2, save=4, evaluate=4)
    )
    with pytest.raises(KilledError):
        train(config, pictures, tmp_path / "run")
    (tmp_path / "run/samples/step-00000004.png").unlink()
    train(config, pictures, tmp_path / "run")
    scores = RunDirectory(tmp_path / "run").read_log("scores")
    assert [line["step"] for line in scores] == [4, 8]
    assert len(scored) == 3
    assert drawn == [0, 2, 4, 4, 6, 8]
    assert [line["step"] for line in computed_log(tmp_path / "run")] == [2, 4, 6, 8]
    again = train(config, pictures, tmp_path / "run")
    assert again.was_finished
    assert (len(scored), len(drawn)) == (3, 6)


# --- branches ----------------------------------------------------------------------------------


def test_a_branch_without_changes_is_the_uninterrupted_run(whole, pictures, tmp_path):
    for step in (3, 7):
        run = tmp_path / f"branch-{step}"
        branch = train(full_config(), pictures, run, origin=f"{whole}@step-{step}")
        assert branch.began_at == step
        state, log = result(whole)
        assert result(run) == (state, [line for line in log if line["step"] > step])
        origin = json.loads((run / "origin.json").read_text())
        assert origin["run"] == str(whole)
        assert (origin["step"], origin["checkpoint"]) == (step, f"step-{step:08d}")
        assert origin["differs_in"] == ["intervals.milestone"]


def test_a_branch_takes_the_best_checkpoint(whole, pictures, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(whole, source)
    for step, value in ((4, 3.0), (5, 1.0), (6, 2.0)):
        line = {
            "step": step,
            "nimg": 0,
            "results": [{"metric": "fid", "name": "f", "value": value}],
        }
        RunDirectory(source).append("scores", line)
    run = tmp_path / "branch"
    assert train(full_config(), pictures, run, origin=f"{source}@best-fid").began_at == 5
    assert result(run)[0] == result(whole)[0]


def test_a_branch_killed_before_its_first_save_branches_again(whole, pictures, tmp_path):
    run, origin = tmp_path / "branch", f"{whole}@step-7"
    train(full_config(), pictures, run, origin=origin)
    shutil.rmtree(run / "checkpoints")
    assert train(full_config(), pictures, run, origin=origin).began_at == 7
    assert result(run)[0] == result(whole)[0]


def test_a_branch_resumes_by_the_same_call_even_if_its_origin_is_gone(whole, pictures, tmp_path):
    source, run = tmp_path / "source", tmp_path / "branch"
    shutil.copytree(whole, source)
    train(full_config(steps=10), pictures, run, origin=f"{source}@step-7")
    shutil.rmtree(source)
    assert train(full_config(), pictures, run, origin=f"{source}@step-7").began_at == 10
    assert result(run)[0] == result(whole)[0]


def test_a_run_that_began_otherwise_does_not_pretend_to_be_a_branch(whole, half, pictures):
    with pytest.raises(ConfigError, match=r"began by itself, not from .*leave --from out"):
        train(full_config(), pictures, half, origin=str(whole))


def test_changed_values_win_in_a_branch(whole, pictures, tmp_path):
    optim = Players(g=Adam(lr=5e-3, betas=(0.1, 0.9)), d=Adam(lr=1e-2))
    run = tmp_path / "branch"
    # without controllers, so that nothing else moves the rates
    config = full_config(optim=optim, controllers=full_config().controllers[:1])
    train(config, pictures, run, origin=f"{whole}@step-9")
    state = load_state(run / "checkpoints/step-00000014")
    group = state["optimizer_g"]["param_groups"][0]
    assert (group["lr"], list(group["betas"])) == (5e-3, [0.1, 0.9])
    assert state["optimizer_d"]["param_groups"][0]["lr"] == 1e-2
    differs = json.loads((run / "origin.json").read_text())["differs_in"]
    changed = ["optim.g.lr", "optim.g.betas.0", "optim.g.betas.1", "controllers"]
    assert differs == [*changed, "intervals.milestone"]
    moments = load_state(whole / "checkpoints/step-00000009")["optimizer_g"]["state"][0]["step"]
    assert float(state["optimizer_g"]["state"][0]["step"]) == float(moments) + 5


def test_a_branch_that_does_not_fit_is_refused(whole, pictures, tmp_path):
    other = full_config(generator=ToyGenerator(z_dim=7, norm="batch"))
    with pytest.raises(CheckpointError, match="does not fit"):
        train(other, pictures, tmp_path / "branch", origin=str(whole))
    with pytest.raises(CheckpointError, match="no run here"):
        train(full_config(), pictures, tmp_path / "other", origin=str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match="there are step-1"):
        train(full_config(), pictures, tmp_path / "third", origin=f"{whole}@step-99")


def test_init_takes_the_weights_and_nothing_else(whole, pictures, tmp_path):
    run = tmp_path / "run"
    config = toy_config(
        generator=ToyGenerator(norm="batch", dropout=0.3),
        optim=Players(g=Adam(lr=0.0), d=Adam(lr=0.0)),
        steps=1,
    )
    began = train(config, pictures, run, init=f"{whole}@step-9")
    assert began.began_at == 0
    state = load_state(run / "checkpoints/step-00000001")
    model = load_state(whole / "checkpoints/step-00000009")
    for part, weight in (("generator", "first.weight"), ("discriminator", "last.weight")):
        assert torch.equal(state[part][weight], model[part][weight])
    before, after = model["generator_ema"]["first.weight"], model["generator"]["first.weight"]
    moved = torch.lerp(before, after, 0.1)
    torch.testing.assert_close(state["generator_ema"]["first.weight"], moved)
    assert learned(run / "checkpoints/step-00000001")["optimizer_g"]
    with pytest.raises(CheckpointError, match=r"--init .*the generator does not fit"):
        train(toy_config(), pictures, tmp_path / "other", init=str(whole))


class Explodes(Config, Term, frozen=True):
    def __call__(self, batch, memory):
        return batch.fake_logits.mean() / (0.0 if batch.nimg >= 20 else 1.0)


def test_a_run_that_diverges_says_so_and_keeps_its_last_checkpoint(pictures, tmp_path):
    updates = (*toy_config().updates, Update(player="d", terms=(Explodes(),)))
    config = toy_config(updates=updates, intervals=Intervals(log=1, sample=0, save=1))
    with pytest.raises(DivergenceError, match="not finite"):
        train(config, pictures, tmp_path / "run")
    assert events(tmp_path / "run")[-1][0] == "diverged"
    newest = max((tmp_path / "run/checkpoints").iterdir())
    assert newest.name == "step-00000003"
    weights = load_state(newest)["discriminator"].values()
    assert all(bool(torch.isfinite(weight).all()) for weight in weights)


def test_a_run_that_was_refused_before_its_first_save_takes_another_config(pictures, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(CheckpointError, match="nowhere"):
        train(eventful_config(intervals=QUIET), pictures, run, init=str(tmp_path / "nowhere"))
    other = eventful_config(intervals=QUIET, seed=5)
    train(other, pictures, run)
    train(other, pictures, tmp_path / "straight")
    assert result(run) == result(tmp_path / "straight")


def test_a_setting_of_the_data_that_changed_is_named(half, pictures):
    config = eventful_config()
    changed = config.replace(data=config.data.replace(resolution=16))
    with pytest.raises(ConfigError, match=r"differs in data\.resolution"):
        train(changed, pictures, half)


@pytest.mark.full
def test_a_run_is_found_again_whatever_the_hash_seed(tmp_path, monkeypatch):
    """Trap 3: BigGAN-PyTorch names runs by Python's salted hash, so no later process finds them."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "digits-tiny", "--set", "metrics=[]", "--device", "cpu"]
    assert main([*words, "--steps", "2"]) == 0
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-m", "limner", *words, "--steps", "3"],
        env={**os.environ, "PYTHONHASHSEED": other},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits-tiny"]
    assert "resumed" in done.stderr


# --- warnings come before errors ----------------------------------------------------------------


def damaged_newest(run: Path, name: str = "step-00000007") -> str:
    """Cut a file of the newest checkpoint; a word of the warning about it."""
    os.truncate(run / "checkpoints" / name / "state.json", 5)
    return f"{name}/state.json: 5 bytes"


def test_a_resume_that_is_refused_has_said_its_warning(half, whole, pictures):
    word, heard = damaged_newest(half), []
    with pytest.raises(ConfigError, match="began by itself"):
        train(full_config(), pictures, half, origin=str(whole), on_event=lambda *e: heard.append(e))
    assert [event for event, message in heard if word in message] == ["warning"]
    assert [event for event, message in events(half) if word in message] == ["warning"]


def test_a_branch_that_is_refused_has_said_its_warning(half, pictures, tmp_path):
    word, heard = damaged_newest(half), []
    other = full_config(generator=ToyGenerator(norm="batch", dropout=0.3, width=9))
    with pytest.raises(CheckpointError, match="does not fit"):
        train(
            other,
            pictures,
            tmp_path / "branch",
            origin=str(half),
            on_event=lambda *e: heard.append(e),
        )
    assert [event for event, message in heard if word in message] == ["warning"]
    assert [event for event, message in events(tmp_path / "branch") if word in message] == [
        "warning"
    ]
