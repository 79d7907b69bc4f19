"""Bad input ends in one line that names what, where and what to do: no traceback, exit code 1."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

# Words of the command, what stderr must say. {run} {tmp} stand for folders, see `bad`.
USER_ERRORS = [
    ("train digitz", "no preset 'digitz'; nearest is 'digits'"),
    ("train {tmp}/none.json --data digits", "none.json: no such file"),
    ("train {tmp}/file.json --data digits", "not valid JSON"),
    ("train digits --set optim.g.lrr=1", "optim.g.lrr: unknown key; nearest is 'lr'"),
    ("train digits --steps 3 --kimg 2", "either --steps or --kimg"),
    ("train digits-tiny --steps 1 --run {tmp}/r --set metrics=fud", "metrics"),
    ('train digits-tiny --steps 1 --run {tmp}/r --set metrics=["fud"]', "nearest is 'fid'"),
    ("train digits-tiny --steps 1 --run {tmp}/r --workers -1", "-1 is negative"),
    ("train digits-tiny --steps 1 --run {tmp}/r --device tpux", "device 'tpux' is unknown"),
    ("train digits-tiny --steps 1 --run {tmp}/r --from {tmp}/none", "none: no run here"),
    ("sample {tmp}/none --out {tmp}/a.png", "none: no such run directory or model folder"),
    ("sample {tmp}/pictures --out {tmp}/a.png", "neither a model folder"),
    ("sample {run}@step-3 --out {tmp}/a.png", "no checkpoint of step 3"),
    ("sample {run}@best-fid --out {tmp}/a.png", "no result of the metric 'fid'"),
    ("sample {run} --out {tmp}/a.tiff", "'.tiff' is not written"),
    ("sample runs/x", "no such run directory or model folder"),
    ("sample {run} --out {tmp}/a.npz --seed 1 --seeds 0-4", "either --seed or --seeds"),
    ("evaluate runs/x", "no such run directory or model folder"),
    ("evaluate {tmp}/pictures", "no run, whose pictures would be known"),
    ("train photos --data {tmp}/none", "no such file or folder"),
    ("train digits --init {tmp}/none", "no such run directory or model folder"),
    ("train digits --epochs 2 --kimg 2", "one of --epochs, --steps and --kimg"),
    ("train digits --resolution big", "--resolution big: give pixels, as 64 or 48x80"),
    ("train digits --gpus 0", "--gpus 0: give 1 or more"),
    ("interpolate {run} --seeds 3", "--seeds 3: give two, as in 3,7"),
    ("interpolate {run} --from 1:3 --seeds 3,4", "leave --seeds and --classes out"),
    ("sample {run} --out {tmp}/a.npz --grid", "--grid makes a sheet"),
    ("sample {run} --out {tmp}/a.png --float", "--float stores numbers"),
    ("sample {run} --out {tmp}/file", "it is a file"),
    ("sample {run} --out {tmp}/a.npz --num 0", "num 0 is less than 1"),
    ("sample {run} --out {tmp}/a.npz --num 3 --seeds 0-4", "either num or seeds"),
    ("sample {run} --out {tmp}/a.npz --seeds 4-0", "runs backwards"),
    ("sample {run} --out {tmp}/a.npz --classes 10", "class 10 is out of range"),
    ("sample {run} --out {tmp}/a.npz --classes cat", "'cat' is no class"),
    ("sample {run} --out {tmp}/a.npz --truncation 0", "truncation 0.0"),
    ("sample {run} --out {tmp}/a.npz --batch-size 0", "give 1 or more"),
    ("sample {run} --out {tmp}/a.npz --device tpux", "device 'tpux' is unknown"),
    ("sample {run} --out {tmp}/a.npz --module no_such_module", "'no_such_module'"),
    ("sample {run} --out {tmp}/a.npz --z {tmp}/none.npy", "none.npy: no such file"),
    ("sample {run} --out {tmp}/a.npz --z {tmp}/pickle.npy", "a pickle, which is never read"),
    ("sample {run} --out {tmp}/a.npz --z {tmp}/file", "not a numpy array"),
    ("sample {run} --out {tmp}/a.npz --z {tmp}/short.npy", "does not fit its length"),
    ("sample {run} --out {tmp}/a.npz --z {tmp}/words.npy", "not a numpy array of numbers"),
    ("sample {run} --out {tmp}/a.npz --z {tmp}/images.npz", "no 'z' in it (it holds images)"),
    ("sample {run} --out {tmp}/a.npz --z {tmp}/narrow.npy", "this model needs [N, 32]"),
    ("sample {run} --out {tmp}/a.npz --y {tmp}/narrow.npy", "y has the shape [2, 3]"),
    ("interpolate {run} --out {tmp}/a.avi", "'.avi' is not written"),
    ("interpolate {run} --out {tmp}/a.png --num 1", "at least 2 images"),
    ("interpolate {run} --out {tmp}/a.png --from x", "'x' is no endpoint"),
    ("interpolate {run} --out {tmp}/a.gif --fps 0", "--fps 0"),
    ("evaluate {run} --data digits --metrics fud", "unknown metric 'fud'; nearest is 'fid'"),
    ("evaluate {run} --data digits --metrics ,", "--metrics is empty"),
    ("evaluate {run} --data digits --num 1", "at least 2 images"),
    ("evaluate {run} --data {tmp}/none", "no such file or folder"),
    ("evaluate {tmp}/none --data digits", "no such run directory"),
    ("evaluate {tmp}/mixed --data digits", "big.png is 16x16"),
    ("evaluate {tmp}/wide --data digits", "1 image; scores need at least 2"),
    ("evaluate {tmp}/pictures --data digits --num 99", "fewer than --num 99"),
    ("evaluate {run} --data digits --metrics fid --features clasifier", "unknown features"),
    ("data prepare {tmp}/none --out {tmp}/p --resolution 8", "no such file or folder"),
    ("data prepare {tmp}/mixed --out {tmp}/p", "give --resolution"),
    (
        "data prepare {tmp}/pictures --out {tmp}/p --resolution 0",
        "--resolution '0': give a side, as 64, or height x width, as 48x80",
    ),
    ("data prepare {tmp}/pictures --out {tmp}/mixed", "exists already"),
    ("data prepare {tmp}/pictures --out {tmp}/p --keep-aspect --format zip", "holds squares"),
    ("data prepare {tmp}/pictures --out {tmp}/p --keep-aspect --fit pad", "leave --fit pad out"),
    ("data prepare {tmp}/pictures --out {tmp}/p --format hdf5 --chunk 0", "give 1 or more"),
    ("data prepare {tmp}/pictures --out {tmp}/mixed --format zip", "exists already"),
    (
        "data prepare {tmp}/pictures --out {tmp}/p --labels l.csv",
        "l.csv: cannot be read (No such file",
    ),
    (
        "data prepare {tmp}/pictures --out {tmp}/p --labels yes",
        "give classes, folders, used, none, or a file",
    ),
    ("data report {tmp}/none", "no such file or folder"),
    ("data report {tmp}/pictures --out {tmp}/a.pdf", "give FILE.png"),
    ("presets digitz", "no preset 'digitz'; nearest is 'digits'"),
    ("import dcgan-mmgn {tmp}/file --out {tmp}/m", "the formats are biggan-pytorch, dcgan-mmgen"),
    ("import dcgan-mmgen {tmp}/none.pth --out {tmp}/m", "none.pth: no such file"),
    ("import dcgan-mmgen {tmp}/file --out {tmp}/m", "file"),
    ("report {tmp}/none", "no such run directory"),
    ("report {tmp}/pictures", "no run here"),
    ("report {run} --out {tmp}/a.pdf", "give FILE.html"),
]


@pytest.fixture(scope="module")
def bad(tmp_path_factory, tiny_run) -> dict[str, str]:
    """A folder of things that are wrong, each in one way."""
    tmp = tmp_path_factory.mktemp("bad")
    (tmp / "file").write_text("no picture, no model\n")
    (tmp / "file.json").write_text('{"name":')
    np.save(tmp / "pickle.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.save(tmp / "words.npy", np.array(["a", "b"]))
    np.save(tmp / "narrow.npy", np.zeros((2, 3)))
    whole = (tmp / "narrow.npy").read_bytes()
    (tmp / "short.npy").write_bytes(whole[:-8])
    np.savez(tmp / "images.npz", images=np.zeros((2, 8, 8, 1), np.uint8))
    for name, size in (
        ("pictures/a.png", (8, 8)),
        ("pictures/b.png", (8, 8)),
        ("mixed/a.png", (8, 8)),
        ("mixed/big.png", (16, 16)),
        ("wide/wide.png", (16, 8)),
    ):
        (tmp / name).parent.mkdir(exist_ok=True)
        Image.new("L", size, 99).save(tmp / name)
    return {"tmp": str(tmp), "run": str(tiny_run)}


@pytest.mark.parametrize(("words", "message"), USER_ERRORS, ids=[words for words, _ in USER_ERRORS])
def test_one_line_and_exit_code_1(limner, bad, words, message):
    answer = limner(*(word.format(**bad) for word in words.split()))
    assert answer.code == 1
    assert message in answer.err
    assert answer.err.startswith(f"limner {words.split()[0]}: ")
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    "words",
    [
        "",
        "smaple runs/x",
        "sample",
        "sample runs/x --out a.png --numb 3",
        "sample runs/x --out a.png --num three",
        "sample runs/x --out a.png --truncation-mode clip",
        "train digits --flip",
        "train digits --run --fresh",
        "data",
        "data prepair x",
        "data prepare photos --out p --fit stretch",
        "import dcgan-mmgen",
    ],
)
def test_wrong_usage_is_exit_code_2(limner, words):
    answer = limner(*words.split())
    assert answer.code == 2
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("words", ["data", "data prepare", "data report", "presets", "report"])
def test_help_imports_neither_torch_nor_numpy(words):
    command = f"import sys; from limner.cli.main import main; main({[*words.split(), '--help']})"
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('heavy:', {'torch', 'numpy'} & set(sys.modules)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script + command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0
    assert "example" in answer.stdout
    assert "heavy: set()" in answer.stdout
