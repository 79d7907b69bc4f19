"""`limner data prepare` and `limner data report` on folders made here."""

import json

import numpy as np
import pytest
from PIL import Image

from limner.data import PreparedData


@pytest.fixture
def photos(tmp_path):
    """Two classes of 12x12 pictures and one file that is no picture."""
    random = np.random.default_rng(1)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = random.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "photos" / "dog" / "broken.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_prepare_writes_what_its_options_say(limner, photos, tmp_path):
    words = ("--out", tmp_path / "p", "--resolution", 8, "--channels", 1, "--fit", "squash")
    answer = limner("data", "prepare", photos, *words, "--filter", "box", "--json")
    assert answer.code == 0, answer.err
    facts = json.loads(answer.out)
    data = PreparedData(tmp_path / "p")
    assert facts["out"] == str(tmp_path / "p")
    assert facts["num_images"] == len(data) == 6
    assert facts["num_refused"] == 1
    assert facts["image_shape"] == [1, 8, 8]
    assert facts["sha256"] == data.sha256
    assert facts["classes"] == [{"name": "cat", "count": 3}, {"name": "dog", "count": 3}]
    settings = data.info["settings"]
    assert (settings["fit"], settings["filter"], settings["labels"]) == ("squash", "box", "classes")


def test_prepare_keeps_the_size_and_says_what_it_refused(limner, photos, tmp_path):
    answer = limner("data", "prepare", photos, "--out", tmp_path / "p", "--labels", "folders")
    assert answer.code == 0, answer.err
    assert "6 pictures 3x12x12, 2 classes" in answer.out
    assert "refused: 1, first dog/broken.png" in answer.out


def test_what_is_prepared_is_named_after_its_source(limner, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("data", "prepare", photos, "--resolution", 8)
    for name in (f"{photos.name}-prepared", f"{photos.name}-prepared-2"):
        assert limner(*words).code == 0
        assert (tmp_path / name / "dataset.json").exists()
    assert limner(*words, "--format", "zip").code == 0
    packed = tmp_path / f"{photos.name}-prepared.zip"
    assert limner("data", "prepare", packed).code == 0
    assert (tmp_path / f"{photos.name}-prepared-prepared" / "dataset.json").exists()


def test_prepare_without_labels(limner, photos, tmp_path):
    answer = limner("data", "prepare", photos, "--out", tmp_path / "p", "--labels", "none")
    assert "no classes" in answer.out
    assert PreparedData(tmp_path / "p").num_classes == 0


def test_the_report_of_a_source_and_of_its_prepared_form(limner, photos, tmp_path):
    answer = limner("data", "report", photos, "--out", tmp_path / "sheet.png", "--json")
    assert answer.code == 0, answer.err
    facts = json.loads(answer.out)
    assert facts["num_images"] == 6
    assert facts["num_refused"] == 1
    assert facts["sheet"] == str(tmp_path / "sheet.png")
    assert "few_images" in [warning["kind"] for warning in facts["warnings"]]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 100
    assert limner("data", "prepare", photos, "--out", tmp_path / "p").code == 0
    answer = limner("data", "report", tmp_path / "p")
    assert answer.code == 0, answer.err
    assert "6 pictures, 2 classes" in answer.out
    assert "class cat: 3" in answer.out
    assert "warning: only 6 pictures" in answer.out


def test_whole_pictures_for_random_crops(limner, photos, tmp_path):
    Image.new("RGB", (24, 12), (1, 2, 3)).save(photos / "cat" / "wide.png")
    words = ("--out", tmp_path / "p", "--resolution", 8, "--keep-aspect")
    answer = limner("data", "prepare", photos, *words)
    assert answer.code == 0, answer.err
    assert "7 pictures 3x8x8, 2 classes" in answer.out
    data = PreparedData(tmp_path / "p")
    assert {data.picture(i).shape for i in range(7)} == {(8, 8, 3), (8, 16, 3)}
    assert limner("data", "report", tmp_path / "p").code == 0


def test_hdf5_and_zip_there_and_back(limner, photos, tmp_path):
    h5py = pytest.importorskip("h5py")
    answer = limner("data", "prepare", photos, "--out", tmp_path / "p")
    assert answer.code == 0, answer.err
    expected = PreparedData(tmp_path / "p")
    words = ("--format", "hdf5", "--chunk", 4, "--compression", "gzip", "--json")
    answer = limner("data", "prepare", photos, "--out", tmp_path / "a.hdf5", *words)
    assert answer.code == 0, answer.err
    facts = json.loads(answer.out)
    assert (facts["out"], facts["num_images"]) == (str(tmp_path / "a.hdf5"), 6)
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert (file["imgs"].chunks, file["imgs"].compression) == ((4, 3, 12, 12), "gzip")
    for source, kind in ((tmp_path / "a.hdf5", "zip"), (tmp_path / "p", "zip")):
        out = tmp_path / f"{source.stem}.{kind}"
        answer = limner("data", "prepare", source, "--out", out, "--format", kind)
        assert answer.code == 0, answer.err
        assert f"{out}: 6 pictures 3x12x12, 2 classes" in answer.out
        again = tmp_path / f"{source.stem}-again"
        assert limner("data", "prepare", out, "--out", again).code == 0
        assert (PreparedData(again).images == expected.images).all()
        assert (PreparedData(again).labels == expected.labels).all()
    assert not list(tmp_path.glob(".tmp-*"))
    words = ("--out", tmp_path / "b.zip", "--format", "zip", "--resolution", 8)
    answer = limner("data", "prepare", tmp_path / "p", *words)
    assert answer.code != 0
    assert "--resolution 8: " in answer.err


def test_help_lists_both(limner):
    answer = limner("data", "--help")
    assert answer.code == 0
    assert "prepare" in answer.out
    assert "report" in answer.out


def test_tfrecords_both_ways(limner, photos, tmp_path):
    words = ("--resolution", 8, "--format", "tfrecord", "--json")
    answer = limner("data", "prepare", photos, "--out", tmp_path / "set", *words)
    assert answer.code == 0, answer.err
    facts = json.loads(answer.out)
    assert (facts["out"], facts["num_images"]) == (str(tmp_path / "set"), 6)
    names = ["set-r02.tfrecords", "set-r03.tfrecords", "set-rxx.labels"]
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == names
    assert limner("data", "prepare", tmp_path / "set", "--out", tmp_path / "p").code == 0
    answer = limner("data", "report", tmp_path / "set", "--out", tmp_path / "sheet.png")
    assert answer.code == 0, answer.err
    assert "6 pictures, 2 classes" in answer.out
    words = ("--format", "tfrecord", "--no-shuffle")
    answer = limner("data", "prepare", tmp_path / "p", "--out", tmp_path / "again" / "set", *words)
    assert answer.code == 0, answer.err
    for name in ("set-r02.tfrecords", "set-r03.tfrecords", "set-rxx.labels"):
        assert (tmp_path / "again/set" / name).read_bytes() == (
            tmp_path / "set" / name
        ).read_bytes()
    words = ("--format", "tfrecord", "--resolution", 10)
    answer = limner("data", "prepare", photos, "--out", tmp_path / "ten", *words)
    assert answer.code != 0
    assert "--resolution: 10 pixels" in answer.err
    assert "the nearest is 8" in answer.err
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_source_named_by_read_as(limner, photos, tmp_path):
    cut = json.dumps({"type": "CelebaCrop", "center": [6, 6], "size": 4})
    answer = limner("data", "prepare", photos, "--out", tmp_path / "p", "--read-as", cut)
    assert answer.code == 0, answer.err
    assert "6 pictures 3x4x4, 2 classes" in answer.out
    whole = np.asarray(Image.open(photos / "cat" / "0.png"))
    assert (PreparedData(tmp_path / "p").images[0] == whole[4:8, 4:8]).all()
    answer = limner("data", "report", photos, "--read-as", "ImageFolder")
    assert "6 pictures, 2 classes" in answer.out
    for words, problem in (
        ("CelebsCrop", "source: unknown type 'CelebsCrop'; nearest is 'CelebaCrop'"),
        ('{"type": "Celeb"}', "nearest is 'CelebaCrop'"),
        ("nothing_here:Scans", "needs the module 'nothing_here'"),
        ("{", "--read-as {: "),
        ("MnistRgb", "no train-images-idx3-ubyte"),
    ):
        answer = limner("data", "prepare", photos, "--out", tmp_path / "q", "--read-as", words)
        assert answer.code != 0
        assert problem in answer.err
