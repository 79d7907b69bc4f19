"""`limner import` and `limner export` as commands: BigGAN-PyTorch's folders there and back."""

import json
import zipfile

import numpy as np
import pytest
import torch

from limner.checkpoints import RunDirectory, load_state
from limner.cli.main import main
from published import huggingface_files, weight_folder


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
    assert "write KEY=VALUE" in said("biggan-pytorch", folder, *out, "--set", "SN_eps")
    assert "nearest is 'SN_eps'" in said("biggan-pytorch", folder, *out, "--set", "SN_ep=1")
    assert "x: unknown key" in said("dcgan-mmgen", folder / "G.pth", *out, "--set", "x=1")
    assert "no format 'biggan'; the formats are biggan-pytorch, " in said("biggan", folder, *out)
    assert "no format" in refusal(capsys, "export", "m", "--format", "onxx", *out)
    assert "no such run directory" in refusal(capsys, "export", tmp_path / "none", *out)
    assert not (tmp_path / "m").exists()


# What each format takes, and the file that SOURCE is or holds.
WANTED = {
    "pggan": ("give a .pkl of progressive_growing_of_gans", ""),
    "dcgan-mmgen": ("give an iter_N.pth of MMGeneration", ""),
    "tfhub-biggan": ("give the module's folder or .tar.gz", ""),
    "huggingface-biggan": ("give the pytorch_model.bin", "pytorch_model.bin"),
    "biggan-pytorch": ("give a .pth that torch.save wrote", "G.pth"),
}


@pytest.mark.parametrize("form", WANTED)
@pytest.mark.parametrize("kind", ["a text file", "a zip file", "an .npz of numpy", "an empty file"])
def test_a_file_that_is_something_else_is_named(tmp_path, capsys, form, kind):
    wanted, inside = WANTED[form]
    path = tmp_path / "source"
    if inside:
        path.mkdir()
        (path / "config.json").write_bytes(huggingface_files()["config.json"])
        path /= inside
    if kind == "a text file":
        path.write_text("Größe: 8\nPictures of cats\n" * 40)
    elif kind == "an empty file":
        path.write_bytes(b"")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy" if "npz" in kind else "größe.png", b"\xff" * 99)
    line = refusal(capsys, "import", form, tmp_path / "source", "--out", tmp_path / "m")
    if (form, kind) == ("tfhub-biggan", "an .npz of numpy"):  # a dump of variables, were it whole
        assert "'x.npy': not a numpy array" in line
        return
    assert line.startswith(f"limner import: {path}: {kind}")
    assert ("again" if kind == "an empty file" else wanted) in line
    for word in ("codec", "opcode", "mmap", "0xff"):
        assert word not in line


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("pggan", "a folder, not a pickle; give a .pkl"),
        ("dcgan-mmgen", "a folder, not a file of torch.save; give an iter_N.pth"),
        ("tfhub-biggan", "no variables/variables.index in it"),
        ("huggingface-biggan", "no pytorch_model.bin in it"),
        ("biggan-pytorch", "give a folder with G.pth or G_ema.pth"),
    ],
)
def test_a_folder_in_place_of_a_file_is_named(tmp_path, capsys, form, said):
    (tmp_path / "source").mkdir()
    assert said in refusal(capsys, "import", form, tmp_path / "source", "--out", tmp_path / "m")


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
