"""`limner import` and `limner export` as commands: BigGAN-PyTorch's folders there and back."""

import json

import numpy as np
import pytest
import torch

from limner.checkpoints import ModelConfig, ModelRecord, load_state
from limner.checkpoints.exporters.biggan_pytorch import write
from limner.checkpoints.run_directory import RunDirectory
from limner.cli.main import main
from limner.models import BigGanDiscriminator, BigGanGenerator

SHAPE = (3, 8, 8)


@pytest.fixture
def folder(tmp_path):
    """A tiny training of that program, as its files."""
    g, d = BigGanGenerator(width=1, z_dim=2), BigGanDiscriminator(width=1)
    nets = [network.build(SHAPE, 2) for network in (g, d)]
    optimizers = []
    for net in nets:
        adam = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.0, 0.999))
        for parameter in net.parameters():
            parameter.grad = torch.ones_like(parameter)
        adam.step()
        optimizers.append(adam.state_dict())
    config = ModelConfig(generator=g, discriminator=d, image_shape=SHAPE, num_classes=2)
    record = ModelRecord(config, nets[0].state_dict(), None, nets[1].state_dict())
    tree = {"optimizer_g": optimizers[0], "optimizer_d": optimizers[1], "progress": {"step": 3}}
    flags = {"batch_size": 2, "num_D_steps": 1, "G_lr": 1e-3, "D_lr": 1e-3}
    write(record, tmp_path / "weights", tree, flags)
    return tmp_path / "weights"


@pytest.fixture
def pictures(tmp_path):
    path = tmp_path / "pictures.npz"
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(8) % 2)
    return path


def answer(capsys, *words):
    assert main([str(word) for word in words]) == 0
    return json.loads(capsys.readouterr().out)


def refusal(capsys, *words):
    assert main([str(word) for word in words]) == 1
    line = capsys.readouterr().err.strip()
    assert "\n" not in line
    return line


def test_to_a_model_and_back(folder, tmp_path, capsys):
    facts = answer(capsys, "import", "biggan-pytorch", folder, "--out", tmp_path / "m", "--json")
    assert facts["image_shape"] == [3, 8, 8]
    assert facts["num_classes"] == 2
    assert facts["origin"]["itr"] == 3
    back = tmp_path / "back"
    facts = answer(capsys, "export", tmp_path / "m", "--out", back, "--json")
    assert facts["files"] == [str(back / f"{name}.pth") for name in ("G", "D", "state_dict")]
    for name in ("G", "D"):
        ours = torch.load(back / f"{name}.pth", weights_only=True)
        theirs = torch.load(folder / f"{name}.pth", weights_only=True)
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert main(["export", str(tmp_path / "m"), "--out", str(back)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(back / "G.pth")


def test_to_a_run_that_trains_on_and_back(folder, tmp_path, pictures, capsys):
    run, back = tmp_path / "run", tmp_path / "back"
    answer(capsys, "import", "biggan-pytorch", folder, "--run", run, "--data", pictures, "--json")
    words = ("--data", pictures, "--run", run, "--steps", 4, "--device", "cpu", "--json")
    trained = answer(capsys, "train", run / "config.json", *words)
    assert trained["step"] == 4
    state = load_state(RunDirectory(run).select("step-4"))
    assert {float(s["step"]) for s in state["optimizer_g"]["state"].values()} == {2.0}
    facts = answer(capsys, "export", f"{run}@step-3", "--format", "biggan-pytorch", "--out", back,
                   "--json")  # fmt: skip
    assert len(facts["files"]) == 5
    ours = torch.load(back / "D_optim.pth", weights_only=True)
    theirs = torch.load(folder / "D_optim.pth", weights_only=True)
    assert ours["param_groups"][0]["lr"] == theirs["param_groups"][0]["lr"]
    for number, moments in theirs["state"].items():
        assert torch.equal(ours["state"][number]["exp_avg_sq"], moments["exp_avg_sq"])


def test_refusals_are_one_line(folder, tmp_path, capsys):
    said = lambda *words: refusal(capsys, "import", *words)  # noqa: E731
    out, run = ("--out", tmp_path / "m"), ("--run", tmp_path / "r")
    assert "either --out MODEL or --run RUN" in said("biggan-pytorch", folder)
    assert "either --out MODEL or --run RUN" in said("biggan-pytorch", folder, *out, *run)
    assert "--data DATA" in said("biggan-pytorch", folder, *run)
    assert "hold no training" in said("dcgan-mmgen", folder / "G.pth", *run, "--data", "digits")
    assert "has no --bgr" in said("biggan-pytorch", folder, *out, "--bgr")
    assert "write KEY=VALUE" in said("biggan-pytorch", folder, *out, "--set", "SN_eps")
    assert "nearest is 'SN_eps'" in said("biggan-pytorch", folder, *out, "--set", "SN_ep=1")
    assert "has no --set x" in said("dcgan-mmgen", folder / "G.pth", *out, "--set", "x=1")
    assert "formats are biggan-pytorch, " in said("biggan", folder, *out)
    assert "suffix" in said("dcgan-mmgen", folder / "G.pth", *out, "--suffix", "best0")
    assert "no format" in refusal(capsys, "export", "m", "--format", "onxx", *out)
    assert "no such run directory" in refusal(capsys, "export", tmp_path / "none", *out)
    assert not (tmp_path / "m").exists()


def test_a_harmful_file_runs_nothing(folder, tmp_path, capsys, monkeypatch):
    from hostile import HARMFUL, as_torch_zip

    marker = tmp_path / "marker"
    monkeypatch.setenv("MARKER", str(marker))
    for name in ("state_dict", "G", "D"):
        held = (folder / f"{name}.pth").read_bytes()
        (folder / f"{name}.pth").write_bytes(as_torch_zip(HARMFUL["os.system"]))
        line = refusal(capsys, "import", "biggan-pytorch", folder, "--out", tmp_path / "m")
        assert f"{name}.pth: it names" in line
        (folder / f"{name}.pth").write_bytes(held)
    assert not marker.exists()
