"""Network-snapshots as runs: with G, D and G_ema training goes on."""

import json

import numpy as np
import pytest
import torch

import network_snapshots as snapshots
from limner.checkpoints import RunDirectory, load_state, read_model
from limner.checkpoints.importers.r3gan_names import to_limner
from limner.checkpoints.importers.style_arguments import KINDS, arguments_of
from limner.cli.main import main

NIMG = 5120


@pytest.fixture
def pictures(tmp_path):
    path = tmp_path / "pictures.npz"
    values = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    np.savez(path, images=values)
    return path


def style_file(path, system, names=("G", "D", "G_ema")):
    config, kind = snapshots.STYLES[system]
    arguments = arguments_of(KINDS[system][f"{kind} generator"], config, snapshots.SHAPE, 0)
    make = snapshots.persistent("Generator")
    tensors = snapshots.style_tensors(system)
    halves = {key: value / 2 if value.ndim > 1 else value for key, value in tensors.items()}
    filters = {key: tensors[key] for key in tensors if "filter" in key or "transform" in key}
    averaged = snapshots.modules(halves | filters, make, _init_kwargs=arguments)
    networks = {
        "G": snapshots.modules(tensors, make, _init_kwargs=arguments),
        "D": snapshots.style_discriminator(system, 0),
        "G_ema": averaged,
    }
    path.write_bytes(snapshots.pickled({name: networks[name] for name in names}))
    return path


def r3gan_file(path, **changed):
    torch.manual_seed(0)
    networks, states = {}, {}
    for name, config, role in (
        ("G", snapshots.R3GAN[0], "generator"),
        ("D", snapshots.R3GAN[1], "discriminator"),
    ):
        tensors = snapshots.r3gan_names.to_reference(
            role, config.build(snapshots.SHAPE, 0).state_dict()
        )
        own = {"z_dim": 4, "c_dim": 0}
        networks[name] = snapshots.modules(tensors, snapshots.plain(role.capitalize()), **own)
        learned = [t for key, t in tensors.items() if not key.endswith("Kernel")]
        states[name] = {
            i: {"step": torch.tensor(7.0), "exp_avg": t + i, "exp_avg_sq": t.square()}
            for i, t in enumerate(learned)
        }
    tree = {"cur_nimg": NIMG, **networks, "G_ema": networks["G"]}
    tree |= {f"{name}_opt_state": {"state": states[name], "param_groups": []} for name in states}
    path.write_bytes(snapshots.pickled(tree | changed))
    return path, states


def imported(capsys, system, path, pictures, run):
    words = ["import", system, str(path), "--run", str(run), "--data", str(pictures), "--json"]
    assert main(words) == 0
    told = capsys.readouterr()
    return json.loads(told.out), told.err, load_state(RunDirectory(run).select(""))


def refusal(capsys, *words):
    assert main([str(word) for word in words]) == 1
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("system", "recipe"), [("stylegan2-ada", "stylegan2-auto"), ("stylegan3", "stylegan3-t")]
)
def test_a_snapshot_of_three_networks_becomes_a_run(system, recipe, tmp_path, pictures, capsys):
    path = style_file(tmp_path / "network-snapshot-000001.pkl", system)
    run = tmp_path / "run"
    facts, told, state = imported(capsys, system, path, pictures, run)
    assert f"goes on by limner's preset '{recipe}'; optimizers begin anew" in told
    assert facts["next"].startswith(f"limner train {run / 'config.json'} --run {run}")
    assert main(["import", system, str(path), "--out", str(tmp_path / "m")]) == 0
    model = read_model(tmp_path / "m")
    assert model.generator_raw is not None
    for name, own in (("generator", model.generator_raw), ("discriminator", model.discriminator)):
        assert all(torch.equal(state[name][key], own[key]) for key in own), name
    averaged, name = state["generator_ema"], "mapper.layers.0.weight"
    assert all(torch.equal(averaged[key], value) for key, value in model.generator.items())
    assert not torch.equal(averaged[name], state["generator"][name])
    assert state["optimizer_g"]["state"] == {}


def test_a_snapshot_without_all_of_them_is_refused(tmp_path, pictures, capsys):
    path = style_file(tmp_path / "x.pkl", "stylegan2-ada", ("D", "G_ema"))
    rest = ("--run", tmp_path / "run", "--data", pictures)
    line = refusal(capsys, "import", "stylegan2-ada", path, *rest)
    assert "holds G_ema, D alone, and training goes on with G, D and G_ema" in line
    assert not (tmp_path / "run").exists()


def test_r3gans_optimizers_and_clock_go_on(tmp_path, pictures, capsys):
    path, states = r3gan_file(tmp_path / "network-snapshot-000005.pkl")
    _, told, state = imported(capsys, "r3gan", path, pictures, tmp_path / "run")
    assert "preset 'r3gan-cifar10'" in told
    assert "begin anew" not in told
    assert state["progress"]["nimg"] == NIMG
    network = snapshots.R3GAN[1].build(snapshots.SHAPE, 0)
    names = [key for key, _ in network.named_parameters()]
    saved = state["optimizer_d"]["state"]
    assert len(saved) == len(names) == len(states["D"])
    theirs = snapshots.r3gan_names.to_reference("discriminator", network.state_dict())
    learned = [key for key in theirs if not key.endswith("Kernel")]
    moments = dict(zip(learned, states["D"].values(), strict=True))
    for kind in ("exp_avg", "exp_avg_sq"):
        ours = to_limner("discriminator", {key: each[kind] for key, each in moments.items()})
        assert all(torch.equal(saved[i][kind], ours[name]) for i, name in enumerate(names))
    assert {float(each["step"]) for each in saved.values()} == {7.0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"G_opt_state": {"state": {99: {}}}}, "its optimizer's state is not that of"),
        ({"D_opt_state": {"state": {0: {"step": 1}}}}, "its optimizer's state has no exp_avg"),
        ({"cur_nimg": -1}, "its cur_nimg is -1"),
    ],
)
def test_states_that_are_none_are_one_line(changed, message, tmp_path, pictures, capsys):
    path, _ = r3gan_file(tmp_path / "x.pkl", **changed)
    rest = ("--run", tmp_path / "run", "--data", pictures)
    assert message in refusal(capsys, "import", "r3gan", path, *rest)
