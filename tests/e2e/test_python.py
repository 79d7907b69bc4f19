"""What the commands do, in one call from Python; and what the commands tell before they fail."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image

import limner as package
from limner import api
from limner.cli.loading import warnings_as_lines
from limner.core.errors import ConfigError, LimnerError
from limner.data import PreparedData


def test_every_public_name_is_there():
    for name in package.__all__:
        assert name == "presets" or getattr(package, name) is getattr(api, name)
    assert set(package.__all__) - {"presets"} <= set(api.__all__)
    assert {name for names in api._HOMES.values() for name in names} == set(api.__all__)
    assert all(hasattr(api, name) for name in api.__all__)
    assert set(dir(package)) == {*package.__all__, "__version__"}
    assert {"biggan_cifar10", "photos"} <= set(dir(package.presets))


def test_samples_are_those_of_the_command(limner, tiny_run, tmp_path):
    model = package.load(tiny_run)
    z = np.random.default_rng(1).normal(size=(3, model.z_dim)).astype(np.float32)
    np.save(tmp_path / "z.npy", z)
    for given in (z, tmp_path / "z.npy"):
        options = package.SampleOptions(z=given, y=[1, 1, 2], npz_layout="float", batch_size=2)
        seen: list[tuple[int, int | None]] = []
        plan = package.save_samples(
            model,
            tmp_path / "a.npz",
            options,
            lambda *counted: seen.append(counted),  # noqa: B023 - called within the call
        )
        assert seen == [(2, 3), (3, 3)]
        assert plan.seeds is None
        with np.load(tmp_path / "a.npz") as held:
            assert np.array_equal(held["images"], model.sample(z=z, y=np.array([1, 1, 2])))
            assert np.array_equal(held["z"], z)
            assert held["images_float"].shape == (3, 1, 8, 8)
    options = package.SampleOptions(seeds=range(2), classes=["3", 7], standing="2x8")
    assert len(package.save_samples(tiny_run, tmp_path / "a.png", options)) == 4
    words = ("--seeds", "0,1", "--classes", "3,7", "--standing", "2x8")
    assert limner("sample", tiny_run, *words, "--out", tmp_path / "b.png").code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(LimnerError, match="give no images of your own"):
        package.SampleOptions(grid="4k", num=3)


def test_walks_and_videos(tiny_run, tmp_path):
    model = package.load(tiny_run)
    walk = package.WalkOptions(from_="0:3", to="0:8", steps=4, along="y")
    assert package.save_walk(model, tmp_path / "w.gif", walk) == 4
    assert package.save_walk(tiny_run, tmp_path / "w.png") == 10
    drift = package.Drift(seconds=0.5, frames_per_second=10, smoothing=0, classes=(4,))
    seen: list[int] = []
    assert package.save_drift(model, tmp_path / "d.png", drift, 1, lambda n, _: seen.append(n)) == 5
    assert seen == [1, 2, 3, 4, 5]
    assert package.save_training_video(tiny_run, tmp_path / "t.png", 1.0, 6.0) == 6
    for name, frames in (("w.gif", 6), ("d.png", 5)):
        with Image.open(tmp_path / name) as picture:
            assert getattr(picture, "n_frames") == frames  # noqa: B009 - of moving formats alone
    with pytest.raises(LimnerError, match="at most 50"):  # a .gif counts hundredths of a second
        package.save_drift(model, tmp_path / "d.gif", package.Drift(frames_per_second=60))
    assert not (tmp_path / "d.gif").exists()


def test_a_model_with_stored_statistics(tiny_run, tmp_path):
    plan = package.StandingPlan(2, 8, 0)
    made = package.store_statistics(tiny_run, tmp_path / "m", plan, [0.5, 1.0], "cpu")
    assert made.config.truncations == (0.5, 1.0)
    assert package.load(tmp_path / "m").standing is not None
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(LimnerError, match="is not a model folder"):
        package.store_statistics(tiny_run, tmp_path / "other", plan)
    with pytest.raises(LimnerError, match="in rising order"):
        package.store_statistics(tiny_run, tmp_path / "n", plan, [1.0, 0.5])


@pytest.fixture
def photos(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    for i in range(3):
        pixels = random.integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/cat/{i}.png")
    (tmp_path / "photos/cat/broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_data_is_prepared_converted_and_looked_at(photos, tmp_path):
    refused: list[str] = []
    options = package.PrepareOptions(resolution=8, filter="box", channels=1)
    facts = package.prepare_data(
        str(photos), tmp_path / "p", options, on_refused=lambda name, reason: refused.append(name)
    )
    prepared = PreparedData(tmp_path / "p")
    assert (facts.sha256, facts.image_shape, facts.num_images) == (prepared.sha256, (1, 8, 8), 3)
    assert refused == ["cat/broken.png"]
    as_zip = package.PrepareOptions(format="zip")
    package.prepare_data(str(tmp_path / "p"), tmp_path / "p.zip", as_zip)
    found = package.report_data(str(tmp_path / "p.zip"), sheet=tmp_path / "sheet.png")
    assert (found.num_images, (tmp_path / "sheet.png").exists()) == (3, True)


def test_configs_by_name(tmp_path):
    listed = package.list_presets()
    assert list(listed) == list(package.presets.PRESETS)
    config = package.load_config("digits")
    assert config == package.presets.digits()
    (tmp_path / "mine.json").write_text(json.dumps({"name": 3}))
    with pytest.raises(ConfigError, match=r"mine\.json"):
        package.load_config(str(tmp_path / "mine.json"))
    assert package.sizes_of(config).num_classes == 10


# --- told before the error ---------------------------------------------------


def test_a_warning_is_told_when_it_comes(capsys):
    def work() -> None:
        warnings.warn("passed\nover", stacklevel=1)
        assert capsys.readouterr().err == "limner sample: warning: passed over\n"
        raise LimnerError("ended")

    with pytest.raises(LimnerError, match="ended"), warnings_as_lines("sample"):
        work()


def test_refused_pictures_are_told_though_the_file_cannot_be_written(limner, photos, tmp_path):
    words = ("--out", tmp_path / "a.hdf5", "--format", "hdf5", "--chunk", 0)
    answer = limner("data", "prepare", photos, *words)
    assert answer.code == 1
    first, last = answer.err.splitlines()
    assert first.startswith("limner data: refused cat/broken.png: ")
    assert "give 1 or more" in last
