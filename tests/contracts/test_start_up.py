"""What a user waits for: wrong words are answered before torch is imported, and one picture does not
wait for what only other work needs."""

import subprocess
import sys

import pytest

from limner.api import early
from limner.metrics import METRICS
from limner.metrics.features import EXTRACTORS
from limner.metrics.protocols import PROTOCOLS

HEAVY = ("torch", "numpy", "PIL", "rich")
ERRORS = [
    ("train phots --data {tmp}", "no preset 'phots'"),
    ("train photos --data {tmp}/none", "no such file or folder"),
    ("train photos", "--data"),
    ("train digits --steps few", "a whole number"),
    ("train digits --init {tmp}/none", "no such run directory"),
    ("train digits --from {tmp}/none", "no run here"),
    ("train digits --track wand", "no such tracker; nearest is 'wandb'"),
    ("train {tmp}/none.json --data digits", "no such file"),
    ("sample {tmp}/none", "no such run directory"),
    ("sample {tmp}/empty", "neither a model folder"),
    ("sample {tmp}/model --classes 2", "class 2 is out of range"),
    ("sample {tmp}/model --classes cow", "'cow' is no class"),
    ("sample {tmp}/model --seeds 4-1", "runs backwards"),
    ("sample {tmp}/model --z {tmp}/none.npy", "no such file"),
    ("sample {tmp}/model --out {tmp}/a.tiff", "is not written"),
    ("interpolate {tmp}/model --to 1:cow", "'cow' is no class"),
    ("video {tmp}/model --classes cow", "'cow' is no class"),
    ("evaluate {tmp}/none --data digits", "no such run directory"),
    ("evaluate {tmp}/model --data {tmp}/none", "no such file or folder"),
    ("evaluate {tmp}/model --data digits --metrics fud", "unknown metric 'fud'; nearest is 'fid'"),
    ("evaluate {tmp}/model --data digits --features clasifier", "nearest is 'classifier'"),
    ("curve {tmp}/model@best-fid --data digits", "no checkpoints"),
    ("statistics {tmp}/none", "no such run directory"),
    ("import known bigan-deep-128", "nearest is 'biggan-deep-128'"),
    ("export {tmp}/model --format web --runtime {tmp}/none", "none: no such file"),
    ("push {tmp}/none ann/digits", "no such run directory"),
    ("push {tmp}/model digits", "give hf:USER/NAME"),
    ("studio {tmp}/none", "no such run directory"),
    ("studio {tmp}/empty", "neither a model folder"),
    ("studio {tmp}/model --port 0", "from 1 to 65535"),
    ("studio {tmp}/model --host me", "give --listen too"),
    ("studio", "MODEL|RUN|DIR is missing"),
]

SCRIPT = """
import sys
from limner.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as left:
    code = left.code
print(code, *sorted(set(name.partition(".")[0] for name in sys.modules)))
print(*(name for name in sys.modules if name.startswith("limner.")))
"""


def after(*words: str) -> subprocess.CompletedProcess[str]:
    """The exit code and the imported packages, then limner's modules, on two lines at the end."""
    command = [sys.executable, "-c", SCRIPT, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that holds what looks like a model with two classes from outside."""
    tmp = tmp_path_factory.mktemp("place")
    (tmp / "empty").mkdir()
    (tmp / "model").mkdir()
    (tmp / "model/config.json").write_text('{"num_classes": 2, "class_names": ["cat", "dog"]}')
    (tmp / "model/model.safetensors").write_bytes(b"")
    return tmp


@pytest.mark.parametrize(("words", "message"), ERRORS, ids=[words for words, _ in ERRORS])
def test_wrong_words_are_answered_before_torch_is_imported(place, words, message):
    answer = after(*words.format(tmp=place).split())
    code, *imported = answer.stdout.splitlines()[-2].split()
    assert code in "12"
    assert message in answer.stderr
    assert set(HEAVY).isdisjoint(imported)


def test_the_check_sees_torch(place):
    answer = after("sample", str(place / "model"), "--classes", "dog")
    code, *imported = answer.stdout.splitlines()[-2].split()
    assert code == "1"  # the model is none, which only opening it shows
    assert "torch" in imported


def test_one_picture_waits_for_nothing_else(place):
    answer = after("sample", str(place / "model"), "--seed", "0")
    *_, packages, modules = answer.stdout.splitlines()
    assert "rich" not in packages.split()
    others = ("data", "metrics", "engine", "objectives", "presets", "reports", "running")
    rooms = {name.split(".")[1] for name in modules.split()}
    assert "sampling" in rooms
    assert rooms.isdisjoint(others)


def test_the_names_that_are_known_early_are_all_of_them():
    assert set(early.METRIC_NAMES) == {*METRICS, *PROTOCOLS}
    assert set(early.FEATURE_NAMES) == set(EXTRACTORS)
