"""The words that people type: shorthands, names of classes and seeds, defaults, pictures by suffix."""

import json
import re
import subprocess

import numpy as np
import pytest
from PIL import Image

from commands import PYTHON, environment
from limner.checkpoints.manifest import list_states, read_manifest
from limner.cli.data import Prepare, Report
from limner.cli.evaluate import Evaluate
from limner.cli.main import COMMANDS
from limner.cli.train import Train, compose
from limner.sampling import sheet

SMALL = ("--device", "cpu", "--set", "metrics=[]", "--set", "intervals.save=0")
MOST_OPTIONS = 15


# --- help ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*sorted(COMMANDS), "data prepare", "data report"])
def test_help_is_short_and_plain(limner, name):
    text = limner(*name.split(), "--help").out
    options = re.findall(r"^  (--[a-z-]+)(?: (\S+))?", text, re.MULTILINE)
    assert len(options) <= MOST_OPTIONS, options
    assert "None" not in text
    assert "STR" not in text
    assert len(re.findall(r"^examples?:", text, re.MULTILINE)) == 1
    assert max(map(len, text.splitlines())) <= 100
    rest = re.search(r"with --help-all also: (.*)", text, re.DOTALL)
    if rest:
        hidden = re.findall(r"--[a-z-]+", rest[1])
        everything = limner(*name.split(), "--help-all").out
        assert set(re.findall(r"^  (--[a-z-]+)", everything, re.MULTILINE)) == {
            *(option for option, _ in options), *hidden,
        }  # fmt: skip


def test_every_option_has_a_text():
    from limner.cli.parsing import _docs, _fields

    for kind in (Train, Evaluate, Prepare, Report):
        docs = _docs(kind)
        assert [f.name for f in _fields(kind) if not (f.arg.help or docs.get(f.name))] == []


# --- shorthands ----------------------------------------------------------------------------------


def composed(limner_words, data="digits"):
    from limner.cli.parsing import parse

    options = parse(Train, limner_words, "train", "")
    return compose(options, data, None)


def test_shorthands_are_keys_of_the_config_and_say_so():
    words = ["photos", "--batch-size", "8", "--resolution", "16", "--lr", "5e-4", "--seed", "7"]
    config, choices, said = composed([*words, "--epochs", "2"])
    assert (config.batch_size, config.data.resolution, config.seed) == (8, 16, 7)
    assert (config.steps, config.kimg) == (None, pytest.approx(2 * 1.797))
    assert config.optim.g.lr == 5e-4
    assert config.optim.d.lr == pytest.approx(4e-4)  # photos corrects it for its lazy penalty
    assert said == [
        "--epochs 2 is --set kimg=3.594, for 1,797 pictures",
        "--batch-size 8 is --set batch_size=8",
        "--resolution 16 is --set data.resolution=16",
        "--lr 0.0005 is --set optim.g.lr=0.0005 --set optim.d.lr=0.0004, in the preset's ratio",
    ]
    assert config.updates[1].terms[0].gamma == 2.0 * (16 / 64) ** 2  # what depends on it follows
    assert choices


def test_set_has_the_last_word_over_shorthands():
    words = ["digits", "--batch-size", "8", "--lr", "5e-4"]
    config, _, _ = composed([*words, "--set", "batch_size=4", "--set", "optim.d.lr=1e-3"])
    assert (config.batch_size, config.optim.g.lr, config.optim.d.lr) == (4, 5e-4, 1e-3)


def test_the_shorthands_are_told_and_saved(limner, tmp_path):
    run = tmp_path / "run"
    answer = limner("train", "digits-tiny", "--run", run, *SMALL, "--batch-size", 8, "--steps", 1)
    assert answer.code == 0, answer.err
    assert "--batch-size 8 is --set batch_size=8" in answer.err.splitlines()[0]
    assert json.loads((run / "config.json").read_text())["batch_size"] == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--flip", "no option --flip; of the config's keys: --set data.flip=VALUE (now false)"),
        ("--data.flip", "--set data.flip=VALUE (now false)"),
        ("--num-evaluate 3", "--set num_evaluate=VALUE (now "),
        ("--beta", "--set optim.g.betas=VALUE (now "),
        ("--batchsize 3", "no option --batchsize; nearest is '--batch-size'"),
        ("--steps", "--steps needs a value"),
        ("--steps few", "--steps few: give a whole number"),
        ("--fresh=yes", "--fresh takes no value"),
        ("again", "'again' is one word too many"),
    ],
)
def test_an_unknown_option_is_answered_with_what_was_meant(limner, words, message):
    answer = limner("train", "digits-tiny", *words.split())
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1


# --- defaults ------------------------------------------------------------------------------------


def test_outputs_have_names_by_themselves(limner, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert limner("sample", tiny_run, "--num", 2).out == "2 images: tiny-samples.png\n"
    assert limner("sample", tiny_run, "--num", 2).out == "2 images: tiny-samples-2.png\n"
    assert limner("interpolate", tiny_run).out == "10 images: tiny-walk.png\n"
    words = ("--training", "--seconds", 0.1, "--fps", 10)
    assert limner("video", tiny_run, *words).out.split(": ")[1][:13] == "tiny-training"
    assert limner("statistics", tiny_run, "--passes", 1).out.endswith(": tiny-statistics\n")
    assert (tmp_path / "tiny-statistics" / "model.safetensors").is_file()


def test_the_pictures_are_by_default_those_of_the_run(limner, tiny_run):
    words = ("--metrics", "msssim", "--num", 8, "--json")
    own = json.loads(limner("evaluate", tiny_run, *words).out)
    named = json.loads(limner("evaluate", tiny_run, "--data", "digits", *words).out)
    assert own == named


def test_a_run_that_goes_on_knows_its_pictures(limner, tmp_path):
    rng, folder, run = np.random.default_rng(0), tmp_path / "shots", tmp_path / "run"
    folder.mkdir()
    for number in range(6):
        pixels = rng.integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    words = ("train", "digits-tiny", "--run", run, *SMALL, "--set", "batch_size=2")
    assert limner(*words, "--data", folder, "--steps", 1).code == 0
    answer = limner(*words, "--steps", 2)
    assert answer.code == 0, answer.err
    assert "finished at step 2" in answer.out


def test_scores_that_need_classes_leave_before_a_picture_is_decoded(limner, tmp_path, monkeypatch):
    rng, folder = np.random.default_rng(0), tmp_path / "flat"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number}.png")
    words = ("train", "digits-tiny", "--data", folder, "--run", tmp_path / "run", "--steps", 1)
    settings = ("batch_size=2", "num_evaluate=4", 'metrics=["msssim","accuracy","intra-fid"]')
    pairs = [word for setting in settings for word in ("--set", setting)]
    answer = limner(*words, "--device", "cpu", *pairs)
    assert answer.code == 0, answer.err
    lines = answer.err.splitlines()
    assert lines[0] == (
        "warning: left out: accuracy, intra-fid, which need classes, and the pictures have none"
    )
    assert "ms-ssim=" in answer.err
    model = tmp_path / "run"
    monkeypatch.setattr("limner.data.opening.prepare", None)  # whatever is decoded, fails
    refused = limner("evaluate", model, "--metrics", "accuracy", "--data", folder)
    assert refused.code == 1
    assert "left out: accuracy, which need classes, and the model has none" in refused.err
    assert "none can be had" in refused.err


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp", "png"])
def test_pictures_are_what_their_name_says(limner, tiny_run, tmp_path, suffix):
    out = tmp_path / f"a.{suffix}"
    assert limner("sample", tiny_run, "--seed", 3, "--out", out).code == 0
    assert limner("sample", tiny_run, "--seed", 3, "--out", tmp_path / "b.png").code == 0
    with Image.open(out) as made, Image.open(tmp_path / "b.png") as exact:
        assert made.format == {"jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "png": "PNG"}[suffix]
        away = np.asarray(made.convert("L"), int) - np.asarray(exact.convert("L"), int)
        assert abs(away).max() <= (40 if made.format == "JPEG" else 0)
        if suffix == "png":
            text = made.text
        else:
            text = json.loads(made.getexif()[0x010E])
    assert text["seed"] == "3"
    assert text["label"] == "3"


# --- classes and seeds ---------------------------------------------------------------------------


def pixels_of(limner, run, out, *words):
    answer = limner("sample", run, "--out", out, *words)
    assert answer.code == 0, answer.err
    with np.load(out) as file:
        return file["images"], file["y"].tolist()


def test_a_seed_is_named_in_one_way(limner, tiny_run, tmp_path):
    whole, labels = pixels_of(limner, tiny_run, tmp_path / "a.npz", "--seeds", "0-9")
    alone, label = pixels_of(limner, tiny_run, tmp_path / "b.npz", "--seed", 7)
    assert label == labels[7:8]
    assert abs(alone.astype(int) - whole[7:8]).max() <= 1
    from_there, _ = pixels_of(limner, tiny_run, tmp_path / "c.npz", "--seed", 4, "--num", 3)
    assert abs(from_there.astype(int) - whole[4:7]).max() <= 1


def test_walks_take_seeds_and_classes_as_samples_do(limner, tiny_run, tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    assert limner("interpolate", tiny_run, "--out", first, "--from", "3:1", "--to", "5:2").code == 0
    words = ("--seeds", "3,5", "--classes", "1,2")
    assert limner("interpolate", tiny_run, "--out", second, *words).code == 0
    with Image.open(first) as one, Image.open(second) as other:
        assert (np.asarray(one) == np.asarray(other)).all()
        assert one.text == other.text


def test_a_sheet_of_one_class_is_about_square(limner, tiny_run, tmp_path):
    out = tmp_path / "a.png"
    assert limner("sample", tiny_run, "--classes", 3, "--num", 16, "--grid", "--out", out).code == 0
    with Image.open(out) as made:
        assert made.size == sheet(np.zeros((16, 8, 8, 1), np.uint8), columns=4).size


# --- processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [False, pytest.param(True, marks=pytest.mark.full)])
def test_gpus_starts_so_many_processes(tmp_path, broken):
    words = ["train", "digits-tiny", "--gpus", "2", "--run", str(tmp_path / "run"), "--steps", "2"]
    words += ["--batch-size", "7" if broken else "8", *SMALL]
    answer = subprocess.run(
        [*PYTHON, *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if broken:  # 7 images cannot be shared by two
        assert answer.returncode == 1
        assert "batch_size: 7 images cannot be shared by 2 processes" in answer.stderr
        said = {line.partition(": ")[0] for line in answer.stderr.splitlines()[1:]}
        assert said == {"limner train"}, answer.stderr  # and nothing from the launcher
        return
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("finished at step 2") == 1
    assert "on 2 x cpu by the first steps" in answer.stderr
    ((_, newest), *_) = list_states(tmp_path / "run" / "checkpoints")
    assert read_manifest(newest)["world_size"] == 2
