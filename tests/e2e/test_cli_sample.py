"""`limner sample` and `limner interpolate` on a run that was trained a moment before."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import limner as package
from limner.sampling import Model, SamplePlan, latents_from_seeds
from limner.sampling.writing import class_folders, picture_names


@pytest.fixture(scope="module")
def model(tiny_run) -> Model:
    return package.load(tiny_run)


def arrays(path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_an_npz_holds_what_model_sample_returns(limner, tiny_run, model, tmp_path):
    out = tmp_path / "deep" / "a.npz"
    answer = limner("sample", tiny_run, "--num", 12, "--float", "--out", out, "--json")
    assert answer.code == 0, answer.err
    facts = json.loads(answer.out)
    assert facts["num_images"] == 12
    assert facts["image_shape"] == [1, 8, 8]
    assert facts["model_sha256"] == model.sha256
    held = arrays(out)
    assert np.array_equal(held["images"], model.sample(num=12))
    assert np.array_equal(held["images_float"], model.sample(num=12, as_float=True))
    assert np.array_equal(held["z"], latents_from_seeds(range(12), model.z_dim).numpy())
    assert held["y"].tolist() == [*range(10), 0, 1]
    assert sorted(held) == ["images", "images_float", "y", "z"]


def test_seeds_and_classes_are_class_major(limner, tiny_run, model, tmp_path):
    words = ("--seeds", "5-6,20", "--classes", "7,3", "--truncation", 0.5)
    assert limner("sample", tiny_run, *words, "--out", tmp_path / "a.npz").code == 0
    held = arrays(tmp_path / "a.npz")
    assert held["y"].tolist() == [7, 7, 7, 3, 3, 3]
    expected = latents_from_seeds([5, 6, 20], model.z_dim, 0.5).numpy()
    assert np.array_equal(held["z"], np.concatenate([expected, expected]))
    assert abs(held["z"]).max() <= 0.5
    words = (*words, "--truncation-mode", "scale")
    assert limner("sample", tiny_run, *words, "--out", tmp_path / "b.npz").code == 0
    scaled = latents_from_seeds([5, 6, 20], model.z_dim, 0.5, "scale").numpy()
    assert np.array_equal(arrays(tmp_path / "b.npz")["z"][:3], scaled)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e300])
def test_latents_that_are_not_finite_are_refused(limner, tiny_run, model, tmp_path, value):
    z = np.zeros((2, model.z_dim))
    z[1, 3] = value
    np.save(tmp_path / "z.npy", z)
    answer = limner("sample", tiny_run, "--z", tmp_path / "z.npy", "--out", tmp_path / "a.npz")
    assert answer.code == 1
    assert "z.npy: it holds numbers that are not finite in float32" in answer.err
    assert answer.err.count("\n") == 1


def test_given_latents_and_labels_are_used_as_they_are(limner, tiny_run, model, tmp_path):
    z = np.random.default_rng(3).normal(size=(5, model.z_dim))
    rows = np.full((5, 10), 0.1)
    np.save(tmp_path / "z.npy", z)
    np.save(tmp_path / "y.npy", rows)
    given = ("--z", tmp_path / "z.npy", "--y", tmp_path / "y.npy", "--float")
    assert limner("sample", tiny_run, *given, "--out", tmp_path / "a.npz").code == 0
    held = arrays(tmp_path / "a.npz")
    assert np.array_equal(held["z"], z.astype(np.float32))
    assert held["y"].dtype == np.float32
    wanted = model.sample(z=z, y=rows, as_float=True)
    assert np.array_equal(held["images_float"], wanted)
    assert not np.array_equal(wanted, model.sample(z=z, y=np.zeros(5, int), as_float=True))

    # what was written can be given back
    again = ("--z", tmp_path / "a.npz", "--y", tmp_path / "a.npz")
    assert limner("sample", tiny_run, *again, "--out", tmp_path / "b.npz").code == 0
    assert np.array_equal(arrays(tmp_path / "b.npz")["images"], held["images"])


def test_the_batch_size_changes_no_latent_and_hardly_a_float(limner, tiny_run, tmp_path):
    for size, name in ((3, "a.npz"), (64, "b.npz")):
        words = ("--num", 10, "--float", "--batch-size", size, "--out", tmp_path / name)
        assert limner("sample", tiny_run, *words).code == 0
    a, b = arrays(tmp_path / "a.npz"), arrays(tmp_path / "b.npz")
    assert np.array_equal(a["z"], b["z"])
    assert abs(a["images_float"] - b["images_float"]).max() < 1e-5


def test_one_png_has_the_image_and_says_its_origin(limner, tiny_run, model, tmp_path):
    out = tmp_path / "one.png"
    assert limner("sample", tiny_run, "--seeds", 13, "--out", out).code == 0
    with Image.open(out) as picture:
        assert np.array_equal(np.asarray(picture), model.sample(seeds=[13])[0, :, :, 0])
        assert picture.info["seed"] == "13"
        assert picture.info["label"] == "3"
        assert picture.info["model_sha256"] == model.sha256


def test_several_images_to_a_png_are_a_sheet(limner, tiny_run, tmp_path):
    words = ("--seeds", "0-2", "--classes", "all", "--out", tmp_path / "sheet.png")
    assert limner("sample", tiny_run, *words).code == 0
    assert limner("sample", tiny_run, "--num", 1, "--grid", "--out", tmp_path / "g.png").code == 0
    with Image.open(tmp_path / "sheet.png") as sheet, Image.open(tmp_path / "g.png") as grid:
        assert sheet.width > 10 * 64  # a column a class, small pictures enlarged
        assert 3 * 64 < sheet.height < 4 * 64 + 40
        assert sheet.info["seeds"] == "0-2"
        assert sheet.info["classes"] == "all"
        assert grid.width > 64


def test_a_folder_gets_a_png_an_image_by_class_and_seed(limner, tiny_run, model, tmp_path):
    words = ("--seeds", "4,9", "--classes", "0,8", "--out", tmp_path / "pictures")
    assert limner("sample", tiny_run, *words).code == 0
    names = sorted(p.relative_to(tmp_path / "pictures").as_posix() for p in tmp_path.rglob("*.png"))
    assert names == [f"{c}/seed-0000000{s}.png" for c in (0, 8) for s in (4, 9)]
    with Image.open(tmp_path / "pictures" / names[3]) as picture:
        wanted = model.sample(seeds=[4, 9], classes=[0, 8])[3, :, :, 0]
        assert np.array_equal(np.asarray(picture), wanted)


class Named:
    """As much of a Model as names need."""

    def __init__(self, *names: str):
        self.num_classes, self.names = len(names), names

    def class_name(self, index: int) -> str:
        return self.names[index]


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("cat", "dog"), ["cat", "dog"]),
        (("dog", "cat"), ["0-dog", "1-cat"]),
        (("a/b", "a:b"), ["0-a_b", "1-a_b"]),
        (("..", "x"), ["0", "1-x"]),
        (tuple(map(str, range(11))), [f"{i:02d}" for i in range(11)]),
    ],
)
def test_class_folders_sort_in_the_order_of_the_classes(names, folders):
    assert class_folders(Named(*names)) == folders  # type: ignore[arg-type]
    assert sorted(folders) == folders


def test_repeated_seeds_and_given_latents_get_names_of_their_own(model):
    z = latents_from_seeds([1, 1, 2], model.z_dim)
    plan = SamplePlan(z, None, [1, 1, 2])
    assert picture_names(model, plan) == [
        "seed-00000001.png",
        "seed-00000001-2.png",
        "seed-00000002.png",
    ]
    assert picture_names(model, SamplePlan(z, None, None))[2] == "image-00000002.png"


def test_steps_and_raw_weights_are_other_models(limner, tiny_run, tmp_path):
    for i, spec in enumerate((tiny_run, f"{tiny_run}@step-2", f"{tiny_run}:raw")):
        assert limner("sample", spec, "--num", 4, "--out", tmp_path / f"{i}.npz").code == 0
    images = [arrays(tmp_path / f"{i}.npz")["images"] for i in range(3)]
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_line(limner, tiny_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    shutil.rmtree(run / "model")
    newest = max((run / "checkpoints").iterdir())
    for file in newest.glob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-1])
    assert limner("sample", f"{run}@step-2", "--num", 2, "--out", tmp_path / "a.npz").code == 0
    answer = limner("sample", run, "--num", 2, "--out", tmp_path / "b.npz")
    assert answer.code == 0
    assert answer.err.startswith("limner sample: warning: ")
    assert answer.err.count("\n") == 1
    a, b = arrays(tmp_path / "a.npz"), arrays(tmp_path / "b.npz")
    assert np.array_equal(a["images"], b["images"])


# --- interpolate -------------------------------------------------------------


def test_a_walk_as_a_row_of_pictures(limner, tiny_run, tmp_path):
    words = ("--from", "0:3", "--to", "1:8", "--steps", 5, "--out", tmp_path / "w.png", "--json")
    answer = limner("interpolate", tiny_run, *words)
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == {"out": str(tmp_path / "w.png"), "num_images": 5}
    with Image.open(tmp_path / "w.png") as picture:
        assert 5 * 64 < picture.width < 6 * 64
        assert picture.info["from"] == "0:3"


def test_a_walk_that_moves(limner, tiny_run, tmp_path):
    words = ("--along", "y", "--from", "0:3", "--to", "0:8", "--steps", 4, "--slerp", "--fps", 5)
    assert limner("interpolate", tiny_run, *words, "--out", tmp_path / "w.gif").code == 0
    with Image.open(tmp_path / "w.gif") as picture:
        assert getattr(picture, "n_frames") == 6  # noqa: B009 - there and back
        assert picture.info["duration"] == 200
