"""`limner import` and `limner export` as commands: BigGAN-PyTorch's folders there and back."""

import json

import numpy as np
import pytest
import torch

from limner.checkpoints import RunDirectory, load_state, read_model
from limner.cli.main import main
from published import weight_folder


@pytest.fixture
def folder(tmp_path):
    return weight_folder(tmp_path / "weights")


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


@pytest.mark.parametrize(
    ("prefix", "wrapper"),
    [("module.", ""), ("_orig_mod.", ""), ("module._orig_mod.", "state_dict"), ("netG.", ""),
     ("", "state_dict")],
)  # fmt: skip
def test_what_training_puts_around_weights_is_taken_off_and_told(
    folder, tmp_path, capsys, prefix, wrapper
):
    """shared/cases/module-prefix."""
    answer(capsys, "import", "biggan-pytorch", folder, "--out", tmp_path / "plain", "--json")
    for name in ("G", "D"):
        state = torch.load(folder / f"{name}.pth", weights_only=True)
        state = {prefix + key: value for key, value in state.items()}
        torch.save({wrapper: state} if wrapper else state, folder / f"{name}.pth")
    words = ("import", "biggan-pytorch", folder, "--out", tmp_path / "m", "--json")
    assert main([str(word) for word in words]) == 0
    told = capsys.readouterr().err
    assert (f"G.pth: '{prefix}' is taken off all names" in told) == bool(prefix)
    first, second = (read_model(tmp_path / name) for name in ("plain", "m"))
    for key, value in first.generator.items():
        assert torch.equal(value, second.generator[key]), key


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


def test_a_model_is_named_after_its_source(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    facts = answer(capsys, "import", "biggan-pytorch", folder, "--json")
    assert facts["out"] == f"{folder.name}-model"
    assert (tmp_path / facts["out"] / "config.json").exists()
    assert facts["next"].startswith(f"limner sample {folder.name}-model ")


def test_refusals_are_one_line(folder, tmp_path, capsys):
    said = lambda *words: refusal(capsys, "import", *words)  # noqa: E731
    out, run = ("--out", tmp_path / "m"), ("--run", tmp_path / "r")
    assert "either --out MODEL or --run RUN" in said("biggan-pytorch", folder, *out, *run)
    assert "--data DATA" in said("biggan-pytorch", folder, *run)
    assert "hold no training" in said("dcgan-mmgen", folder / "G.pth", *run, "--data", "digits")
    assert "write KEY=VALUE" in said("biggan-pytorch", folder, *out, "--set", "SN_eps")
    assert "nearest is 'SN_eps'" in said("biggan-pytorch", folder, *out, "--set", "SN_ep=1")
    assert "x: unknown key" in said("dcgan-mmgen", folder / "G.pth", *out, "--set", "x=1")
    assert "no format 'biggan'; the formats are biggan-pytorch, " in said("biggan", folder, *out)
    assert "no format" in refusal(capsys, "export", "m", "--format", "onxx", *out)
    assert "no such run directory" in refusal(capsys, "export", tmp_path / "none", *out)
    assert not (tmp_path / "m").exists()


def test_a_format_has_its_own_options_and_no_others(folder, tmp_path, capsys):
    words = ["import", "biggan-pytorch", str(folder), "--out", str(tmp_path / "m")]
    for suffix in (["--suffix", "best0"], ["--set", "suffix=best0"]):
        assert "G_best0.pth: no such file" in refusal(capsys, *words, *suffix)
    with pytest.raises(SystemExit) as usage:
        main([*words, "--bgr"])
    assert usage.value.code == 2
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["import", "dcgan-mmgen", "--help"])
    shown = capsys.readouterr().out
    assert "--bgr" in shown
    assert "--suffix STR" not in shown.replace("{None}|", "")


def test_a_file_in_place_of_a_folder_is_named(folder, tmp_path, capsys):
    line = refusal(capsys, "import", "biggan-pytorch", folder / "G.pth", "--out", tmp_path / "m")
    assert "G.pth: a file; give the folder" in line


def test_a_cut_zip_is_called_cut(tmp_path, capsys):
    path = tmp_path / "cut.pth"
    torch.save({"w": torch.ones(9)}, path)
    path.write_bytes(path.read_bytes()[:-99])
    for form in ("pggan", "dcgan-mmgen", "tfhub-biggan"):
        line = refusal(capsys, "import", form, path, "--out", tmp_path / "m")
        assert "a zip file without its end" in line
