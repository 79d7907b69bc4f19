"""`limner evaluate`, `presets`, `import` and `report`: what they print and what they write."""

import importlib
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import limner as package
from limner import api, presets
from limner.api import choosing
from limner.api.sizes import memory_bytes, num_parameters, sizes_of
from limner.core.config import from_json
from limner.engine import RunConfig

FIELDS = {
    *("metric", "name", "value", "std", "extractor", "weights_sha256", "num", "floor", "seed"),
    *("num_real", "resize", "data_sha256", "higher_is_better"),
}
FAST = ("--features", "random-conv", "--json")


def results(answer) -> dict[str, dict]:
    assert answer.code == 0, answer.err
    held = json.loads(answer.out)["results"]
    assert all(set(result) == FIELDS for result in held)
    return {result["name"]: result for result in held}


# --- evaluate ----------------------------------------------------------------


def test_a_run_is_scored_against_pictures_prepared_its_way(limner, tiny_run):
    words = ("--data", "digits", "--metrics", "fid,prdc", "--num", 60, "--seed", 2)
    scores = results(limner("evaluate", tiny_run, *words, *FAST))
    assert set(scores) == {"fd-random-conv", "precision", "recall", "density", "coverage"}
    assert all(score["num"] == 60 and score["seed"] == 2 for score in scores.values())
    assert scores["fd-random-conv"]["value"] > scores["fd-random-conv"]["floor"] > 0
    for spec in (tiny_run, f"{tiny_run}@step-2", f"{tiny_run}:raw"):
        recipe = api.recipe_of(spec)
        assert recipe is not None
        assert recipe.filter == "box"
    assert api.recipe_of(tiny_run / "model") is None
    model = package.load(tiny_run)
    again = package.evaluate(
        model, "digits", ["fid"], 60, "random-conv", 2, recipe=api.recipe_of(tiny_run)
    )
    assert again[0].value == scores["fd-random-conv"]["value"]


def test_the_table_shows_value_floor_and_number(limner, tiny_run):
    words = ("--data", "digits", "--metrics", "fid", "--num", 40, "--features", "random-conv")
    answer = limner("evaluate", tiny_run, *words)
    assert answer.code == 0
    assert answer.out.startswith(f"{tiny_run} against digits\n")
    for word in ("score", "value", "floor", "images", "fd-random-conv", " 40 "):
        assert word in answer.out
    answer = limner("evaluate", tiny_run, *words[2:])
    assert answer.out.startswith(f"{tiny_run} against its own pictures\n")


def test_samples_in_npz_and_folder_score_as_the_model_does(limner, tiny_run, tmp_path):
    for out in ("s.npz", "pictures"):
        assert limner("sample", tiny_run, "--num", 60, "--out", tmp_path / out).code == 0
    words = ("--data", "digits", "--metrics", "fid", *FAST)
    values = [
        results(limner("evaluate", place, *words))["fd-random-conv"]["value"]
        for place in (tmp_path / "s.npz", tmp_path / "pictures")
    ]
    whole = results(limner("evaluate", tiny_run, "--num", 60, *words))["fd-random-conv"]["value"]
    assert values == pytest.approx([whole, whole], rel=1e-6)


def test_the_labels_of_samples_are_used(limner, tmp_path):
    words = ("data", "prepare", "digits", "--out", tmp_path / "digits")
    assert limner(*words).code == 0
    data = package.data.PreparedData(tmp_path / "digits")
    images, labels = data.images[:200], data.labels[:200]
    for name, y in (("right", labels), ("wrong", (labels + 1) % 10), ("unsaid", labels * 0)):
        np.savez(tmp_path / f"{name}.npz", images=images, y=y)
    words = ("--data", tmp_path / "digits", "--metrics", "cas", *FAST)
    right = results(limner("evaluate", tmp_path / "right.npz", *words))
    wrong = results(limner("evaluate", tmp_path / "wrong.npz", *words))
    assert [score["value"] for score in right.values()][0] > 0.8  # noqa: RUF015
    assert [score["value"] for score in wrong.values()][0] < 0.2  # noqa: RUF015
    answer = limner("evaluate", tmp_path / "unsaid.npz", *words)
    assert answer.code == 1
    assert "labels" in answer.err


def test_gray_images_may_stand_beside_colored_pictures(limner, tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "colored").mkdir()
    (tmp_path / "gray").mkdir()
    for i in range(12):
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"colored/{i}.png")
        Image.fromarray(pixels[:, :, 0]).save(tmp_path / f"gray/{i}.png")
    words = ("--metrics", "fid", *FAST)
    one = results(limner("evaluate", tmp_path / "gray", "--data", tmp_path / "colored", *words))
    other = results(limner("evaluate", tmp_path / "colored", "--data", tmp_path / "gray", *words))
    assert one["fd-random-conv"]["num"] == other["fd-random-conv"]["num"] == 12
    same = results(limner("evaluate", tmp_path / "gray", "--data", tmp_path / "gray", *words))
    assert same["fd-random-conv"]["value"] == pytest.approx(0, abs=1e-6)


def test_pictures_of_another_size_are_refused_not_resized(limner, tiny_run, tmp_path):
    words = ("digits", "--resolution", 16, "--out", tmp_path / "digits16")
    assert limner("data", "prepare", *words).code == 0
    answer = limner("evaluate", tiny_run, "--data", tmp_path / "digits16", *FAST)
    assert answer.code == 1
    assert "the pictures are 1x16x16, the images 1x8x8" in answer.err


# --- presets -----------------------------------------------------------------


@pytest.fixture
def speed(monkeypatch):
    """A machine that needs no measuring."""
    monkeypatch.setattr(choosing, "speed_here", lambda: ("cpu", 2e10))


def test_the_list_has_groups_and_for_each_preset_what_it_costs(limner, speed):
    lines = limner("presets").out.splitlines()
    heading, photos = (" ".join(line.split()) for line in lines[:2])
    assert heading == "start here px labels weights memory time here"
    assert photos == "photos 64 if given 0.488 M 106 MiB ~1.6 h"
    shown = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    kept_back = presets.GROUPS["ablations"]
    assert shown == [name for name in presets.PRESETS if name not in kept_back]
    assert [line for line in lines if line in presets.GROUPS] == list(presets.GROUPS)[1:-1]
    every = limner("presets", "--all").out
    assert all(f"  {name} " in every for name in presets.PRESETS)
    assert max(map(len, every.splitlines())) <= 120
    listed = json.loads(limner("presets", "--all", "--json").out)["presets"]
    assert [entry["name"] for entry in listed] == list(presets.PRESETS)
    for entry in listed:
        assert {"group", "side", "labels", "num_parameters", "memory", "seconds_here"} <= set(entry)
        described = presets.get(entry["name"]).__doc__ or ""
        assert entry["summary"] == described.partition("\n")[0]
        assert entry["summary"]


@pytest.mark.parametrize("name", list(presets.PRESETS))
def test_the_json_of_a_preset_is_its_config(limner, name):
    answer = limner("presets", name, "--json")
    assert from_json(RunConfig, answer.out, "stdout") == presets.get(name)()


def test_a_preset_stays_callable_from_python_after_its_module_was_imported():
    for target in presets.PRESETS.values():
        if isinstance(target, str):
            importlib.import_module(target.partition(":")[0])
    for name in presets.PRESETS:
        assert getattr(presets, name.replace("-", "_"))().name == name


def test_the_json_of_a_preset_trains(limner, tmp_path):
    (tmp_path / "mine.json").write_text(limner("presets", "digits-tiny", "--json").out)
    words = ("--run", tmp_path / "run", "--set", "metrics=[]", "--set", "batch_size=8")
    assert limner("train", tmp_path / "mine.json", *words).code == 2  # on which pictures?
    words = (*words, "--data", "digits")
    answer = limner("train", tmp_path / "mine.json", *words, "--steps", 1, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["step"] == 1


def test_a_command_for_pictures_and_a_comparison(limner, speed, tmp_path):
    answer = limner("presets", "--for", "digits", "--json")
    assert json.loads(answer.out)["command"].startswith("limner train digits --data digits --run ")
    advised = limner("presets", "--for", tmp_path)
    assert advised.code == 1
    assert "no picture" in advised.err
    np.savez(tmp_path / "some.npz", images=np.zeros((9, 40, 40, 3), np.uint8))
    advised = limner("presets", "--for", tmp_path / "some.npz").out
    assert f"limner train photos --data {tmp_path}/some.npz --run runs/some" in advised
    assert "time here" in advised
    reported = limner("data", "report", tmp_path / "some.npz").out
    assert f"limner train photos --data {tmp_path}/some.npz --run runs/some" in reported
    different = limner("presets", "digits", "--diff", "digits-tiny").out
    assert "data.resolution" in different
    assert "32 -> 8" in different
    assert "before --diff" in limner("presets", "--diff", "digits").err
    assert "leave NAME" in limner("presets", "digits", "--for", "digits").err


def test_a_preset_shows_keys_that_set_takes_and_sizes(limner, speed):
    answer = limner("presets", "digits")
    assert "optim.g.lr = 0.0012\n" in answer.out
    assert "updates.0.terms.0.type = " in answer.out
    config = presets.get("digits")()
    generator = config.generator.build((3, 32, 32), 10)
    num_generator = sum(p.numel() for p in generator.parameters())
    assert num_parameters(config.generator, (3, 32, 32), 10) == num_generator
    assert f"{num_generator:,} parameters" in answer.out
    assert "counted for 3 channels and 10 classes" in answer.out
    # weights, gradients and two moments of both, one average of the generator, 4 bytes each
    assert memory_bytes(config, 100, 10) == 4 * (4 * 110 + 100)
    # one channel is written in this one, and it reads no labels
    assert "counted for" not in limner("presets", "dcgan-mnist").out
    # one column of the labels: G has 512 x 16 weights a class more than without labels
    column = limner("presets", "pggan-cond1").out
    assert f"{23_079_115 + 8192:,} parameters" in column
    assert "counted for" not in column
    # BigGAN-PyTorch's own counts, which have the 1000 classes of ImageNet
    large = limner("presets", "biggan-imagenet128-bs256x8").out
    assert "70,433,988 parameters" in large
    assert "87,982,370 parameters" in large
    assert "counted for 1,000 classes: the data decide" in large


def test_presets_say_the_classes_of_their_data():
    held = {"imagenet": 1000, "biggan-ladder": 1000, "cifar100": 100, "r3gan-cifar10": 10}
    for name in presets.PRESETS:
        wanted = next((num for part, num in held.items() if part in name), None)
        assert presets.get(name)().data.expected_classes == wanted, name
    config = presets.get("digits-tiny")()
    config = config.replace(data=config.data.replace(expected_classes=3))
    assert sizes_of(config).num_classes == 3  # of any config, whatever its name
    assert sizes_of(config.replace(num_classes=5)).num_classes == 5


# --- import ------------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A DCGAN of 16x16 images under the names of MMGeneration."""
    from limner.models import DcganDiscriminator, DcganGenerator

    def old_names(state: dict, of_generator: bool) -> dict:
        renamed = {}
        for key, value in state.items():
            name = key.replace(".norm.", ".bn.").replace("output.", "output_layer.conv.")
            if of_generator:
                name = name.replace("blocks.0.", "noise2feat.")
                name = name.replace("blocks.1.", "upsampling.0.")
            renamed[name.replace("blocks.", "downsamples.")] = value
        return renamed

    shape = (3, 16, 16)
    g = DcganGenerator(width=4, z_dim=5, max_channels=8).build(shape, 0).state_dict()
    d = DcganDiscriminator(width=4, max_channels=8).build(shape, 0).state_dict()
    state = {f"generator.{k}": v for k, v in old_names(g, True).items()}
    state |= {f"discriminator.{k}": v for k, v in old_names(d, False).items()}
    path = tmp_path_factory.mktemp("foreign") / "iter_1.pth"
    torch.save({"state_dict": state}, path)
    return path


def test_an_imported_model_samples_and_bgr_swaps_its_colors(limner, foreign, tmp_path):
    answer = limner("import", "dcgan-mmgen", foreign, "--out", tmp_path / "bgr")
    assert answer.code == 0, answer.err
    assert "3x16x16, no classes" in answer.out
    assert "BGR (as trained)" in answer.out
    answer = limner("import", "dcgan-mmgen", foreign, "--out", tmp_path / "rgb", "--bgr", "--json")
    facts = json.loads(answer.out)
    assert facts["image_shape"] == [3, 16, 16]
    assert facts["origin"]["importer"] == "dcgan-mmgen"
    for name in ("bgr", "rgb"):
        words = ("--num", 3, "--out", tmp_path / f"{name}.npz")
        assert limner("sample", tmp_path / name, *words).code == 0
    bgr, rgb = (np.load(tmp_path / f"{name}.npz")["images"] for name in ("bgr", "rgb"))
    assert np.array_equal(bgr[..., ::-1], rgb)


def test_an_import_replaces_a_model_and_nothing_else(limner, foreign, tmp_path):
    words = ("import", "dcgan-mmgen", foreign, "--out", tmp_path / "model")
    assert limner(*words).code == 0
    assert limner(*words).code == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    answer = limner("import", "dcgan-mmgen", foreign, "--out", tmp_path / "other")
    assert answer.code == 1
    assert "is not a model folder" in answer.err
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.txt"]


# --- a model of the user's own classes ---------------------------------------

OWN = """
import torch
from torch import nn
from limner.core.config import Config
from limner.core.protocols import NetworkConfig


class Stripes(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.z_dim, self.shape = 2, shape
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, z, y=None):
        return (z[:, :1] + self.level)[:, :, None, None].expand(-1, *self.shape)


class StripesConfig(Config, NetworkConfig, frozen=True):
    def build(self, image_shape, num_classes):
        return Stripes(image_shape)
"""


def test_only_a_module_that_is_named_is_imported(limner, tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "stripes_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "code")
    (tmp_path / "model").mkdir()
    config = {
        "generator": {"type": "stripes_of_mine:StripesConfig"},
        "image_shape": [1, 4, 4],
        "format_version": 1,
    }
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    weights = {"generator.level": torch.full((1,), 0.25)}
    save_file(weights, tmp_path / "model" / "model.safetensors")
    words = ("sample", tmp_path / "model", "--num", 2, "--out", tmp_path / "a.npz")
    answer = limner(*words)
    assert answer.code == 1
    assert "name it with --module stripes_of_mine" in answer.err
    answer = limner(*words, "--module", tmp_path / "code" / "stripes_of_mine.py", "--float")
    assert answer.code == 0, answer.err
    held = np.load(tmp_path / "a.npz")
    assert held["images_float"][:, 0, 0, 0] == pytest.approx(held["z"][:, 0] + 0.25)


# --- report ------------------------------------------------------------------


def test_the_page_is_written_where_it_is_asked(limner, tiny_run, tmp_path):
    answer = limner("report", tiny_run, "--out", tmp_path / "deep" / "page.html")
    assert answer.code == 0, answer.err
    assert answer.out.strip() == str(tmp_path / "deep" / "page.html")
    assert "digits-tiny" in (tmp_path / "deep" / "page.html").read_text()
