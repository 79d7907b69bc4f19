"""What becomes of labels and folders: classes with the right numbers, or a line that says why not.

Each case is read from a folder and from a zip, and both say the same.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from limner.core.errors import DataError
from limner.data import DataConfig, PreparedData, open_data, prepare, report, told
from limner.data.sources.folder import ImageFolder
from pictures import COLOR, Image, saved

Put = Callable[[Path, dict[str, bytes]], Path]
CONFIG = DataConfig(resolution=8)


def picture(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, COLOR.shape, dtype=np.uint8)
    return saved(Image.fromarray(noise), "PNG")


def on_disk(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "set" / name).write_bytes(content)
    return root / "set"


def in_a_zip(root: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(root / "set.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return root / "set.zip"


@pytest.fixture(params=[on_disk, in_a_zip])
def put(request: pytest.FixtureRequest) -> Put:
    return request.param


def files(*names: str, **others: str) -> dict[str, bytes]:
    """Pictures of these names; and other files, whose suffix follows "__"."""
    held = {name: picture(seed) for seed, name in enumerate(names)}
    return held | {name.replace("__", "."): text.encode() for name, text in others.items()}


def labelled(pairs: Any) -> str:
    return json.dumps({"labels": pairs})


FOUR = ("00/a.png", "00/b.png", "00/c.png", "00/d.png")


def warned(data: PreparedData) -> dict[str, str]:
    return {entry["kind"]: entry["message"] for entry in data.info["warnings"]}


# name: (files, class names, labels, notes or warnings that say so)
READ: dict[str, tuple[dict[str, bytes], list[str], list[int], str]] = {
    "texts": (
        files(*FOUR, dataset__json=labelled(dict(zip(FOUR, ["dog", "cat"] * 2, strict=True)))),
        ["cat", "dog"], [1, 0, 1, 0], "",
    ),
    "texts of integers": (
        files(*FOUR, dataset__json=labelled(dict(zip(FOUR, ["10", "9"] * 2, strict=True)))),
        ["9", "10"], [1, 0, 1, 0], "",
    ),
    "one-hot rows of a class that is empty": (
        files(*FOUR, dataset__json=labelled({name: [0, 1, 0] for name in FOUR})),
        ["0", "1", "2"], [1, 1, 1, 1], "2 of 3 classes have no picture: 0, 2",
    ),
    "labels from one": (
        files(*FOUR, dataset__json=labelled({name: 1 + i % 2 for i, name in enumerate(FOUR)})),
        ["0", "1", "2"], [1, 2, 1, 2], "class 0 of 3 has no picture (labels run from 1)",
    ),
    "half without labels": (
        files(*FOUR, dataset__json=labelled({FOUR[0]: 1, FOUR[2]: 0, FOUR[3]: None})),
        ["0", "1"], [1, 0], "2 of 4 pictures have no label in dataset.json, such as 00/b.png",
    ),
    "names of files that are not there": (
        files(*FOUR, dataset__json=labelled({**dict.fromkeys(FOUR, 0), "gone.png": 1})),
        ["0"], [0] * 4, "1 labelled files of dataset.json are not there, such as gone.png",
    ),
    "names in another case and with backslashes": (
        files(*FOUR, dataset__json=labelled({".\\00\\A.PNG": 1, "00/b.png": 0})),
        ["0", "1"], [1, 0], "2 of 4 pictures",
    ),
    "names with the folders of another machine": (
        files("a/0.png", "b/0.png", dataset__json=labelled({"/d/a/0.png": 1, "/d/b/0.png": 0})),
        ["0", "1"], [1, 0], "names are matched by their last folder, such as /d/a/0.png",
    ),
    "a name twice": (
        files(*FOUR, dataset__json=labelled([[name, i] for i in (0, 1) for name in FOUR])),
        ["0", "1"], [1] * 4, "4 names stand in dataset.json more than once",
    ),
    "labels.csv with a heading": (
        files(*FOUR, labels__csv="file,label\n" + "\n".join(f"{n},{n[3]}" for n in FOUR)),
        ["a", "b", "c", "d"], [0, 1, 2, 3], "",
    ),
    "labels.csv without one, semicolons, quotes, a mark": (
        files(*FOUR, labels__csv="\ufeff00/a.png;10\r\n00/b.png;\"9\"\r\n"),
        ["9", "10"], [1, 0], "2 of 4 pictures have no label in labels.csv",
    ),
    "labels.csv of another order, without suffixes": (
        files(*FOUR, labels__csv="breed,id\n" + "\n".join(f"{n[3]},{n[3]}" for n in FOUR)),
        ["a", "b", "c", "d"], [0, 1, 2, 3], "names are matched without folders and suffix",
    ),
    "labels.csv with a column a class": (
        files(*FOUR, labels__csv="file,x,y\n" + "\n".join(f"{n},{i},{1 - i}"
              for i, n in enumerate(FOUR[:2]))),
        ["x", "y"], [1, 0], "",
    ),
    "a folder around everything, with the labels in it": (
        files("s/a.png", "s/b.png") | {"s/labels.csv": b"a.png,cat\nb.png,dog"},
        ["cat", "dog"], [0, 1], "",
    ),
    "folders around everything": (
        files("s/t/cat/a.png", "s/t/dog/a.png"), ["cat", "dog"], [0, 1], "",
    ),
    "classes called by integers": (
        files(*(f"{number}/a.png" for number in (0, 1, 10, 11, 2))),
        ["0", "1", "2", "10", "11"], [0, 1, 3, 4, 2], "",
    ),
    "classes called by integers and words": (
        files("1/a.png", "10/a.png", "2/a.png", "x/a.png"), ["1", "10", "2", "x"], [0, 1, 2, 3], "",
    ),
    "a split": (
        files("Train/cat/a.png", "Train/dog/a.png", "valid/cat/a.png", "test_set/cat/a.png"),
        ["cat", "dog"], [0, 1],
        "Train alone is read, 2 pictures of test_set, valid are left out",
    ),
    "a split in a folder, without classes": (
        files("s/train/a.png", "s/test/b.png"), [], [0], "train alone is read, 1 pictures of test",
    ),
    "parts without one for training": (
        files("val/a.png", "test/a.png"), ["test", "val"], [0, 1],
        "test, val are taken as classes and look like parts of a split",
    ),
    "StyleGAN's folders of a thousand": (
        files("00000/img00000000.png", "00001/img00001000.png", dataset__json=labelled(None)),
        [], [0, 0], "number the pictures and are no classes",
    ),
    "a table of another name": (
        files("a.png", "b.png", train__csv="a.png,1\nb.png,2"), [], [0, 0],
        "train.csv may hold labels and is not read",
    ),
    "pictures of other kinds": (
        files("a/x.png", "b/x.png", IMG__HEIC="", b__cr2="", c__DNG="", d__mov=""),
        ["a", "b"], [0, 1], "1 HEIC file left out, such as IMG.HEIC",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_read(tmp_path: Path, put: Put, case: str):
    held, names, labels, message = READ[case]
    source = put(tmp_path, held)
    data = prepare(source, tmp_path / "out", CONFIG)
    assert data.class_names == names
    assert data.labels.tolist() == labels
    text = "\n".join(told(data))
    assert message in text
    assert message in "\n".join(report(source).lines())
    assert f"{len(labels)} pictures" in text


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (
            files(*FOUR, dataset__json=labelled({"x/1.jpg": 0})),
            r"none of its 1 names, such as x/1.jpg, is a picture here, such as 00/a.png",
        ),
        (
            files(*FOUR, dataset__json=labelled({FOUR[0]: [1, 2], FOUR[1]: "x"})),
            "labels of different kinds",
        ),
        (files(*FOUR, labels__csv="file,u,v\n00/a.png,x,y"), "none of its columns .* called label"),
        (files(*FOUR, labels__csv="file,label\n00/a.png,1,2"), "line 2 has not 2 columns"),
        (files(IMG__heic="", IMG2__HEIC=""), "2 HEIC files left out, such as IMG.heic.*convert"),
    ],
)
def test_refused(tmp_path: Path, put: Put, held: dict[str, bytes], message: str):
    with pytest.raises(DataError, match=message):
        prepare(put(tmp_path, held), tmp_path / "out", CONFIG)


def test_rows_of_numbers_stay(tmp_path: Path, put: Put):
    table = "file,age,size\n00/a.png,1.5,2\n00/b.png,0,-1"
    data = prepare(put(tmp_path, files(*FOUR[:2], labels__csv=table)), tmp_path / "out", CONFIG)
    assert data.class_names == ["age", "size"]
    assert data.labels.tolist() == [[1.5, 2], [0, -1]]
    assert "rows of 2 numbers" in data.info["notes"][0]


def test_a_file_that_was_renamed_is_named_by_what_it_holds(tmp_path: Path, put: Put):
    held = files("a.png") | {"b.jpg": b"\0\0\0\x18ftypheic" + bytes(200)}
    data = prepare(put(tmp_path, held), tmp_path / "out", CONFIG)
    assert data.info["refused"][0]["reason"].startswith("a HEIC file, not a picture in a known")


# --- classes without pictures --------------------------------------------------


def of_labels(path: Path, labels: list[int]) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    if path.suffix == ".npz":
        np.savez(path, images=images, labels=labels)
        return path
    with h5py.File(path, "w") as file:
        file["images"], file["labels"] = images, labels
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_only_the_classes_that_are_used(tmp_path: Path, name: str):
    path = of_labels(tmp_path / name, [5, 900, 0, 5])
    whole = open_data(path, CONFIG)
    assert whole.num_classes == 901
    assert "898 of 901 classes have no picture: 1, 2, 3" in "\n".join(told(whole))
    used = open_data(path, CONFIG.replace(labels="used"))
    assert used.class_names == ["0", "5", "900"]
    assert used.labels.tolist() == [1, 2, 0, 1]
    assert used.info["settings"]["labels"] == "used"
    assert "no picture" not in "\n".join(told(used))
    assert report(path, "used").classes == [("0", 1), ("5", 2), ("900", 1)]


def test_labels_under_a_name_that_is_not_read(tmp_path: Path):
    images = np.zeros((2, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", images=images, breed=[0, 1])
    data = prepare(tmp_path / "a.npz", tmp_path / "out", CONFIG)
    assert "not from what else is there (breed)" in warned(data)["labels_lost"]
    np.savez(tmp_path / "b.npz", x_train=images, y_train=[0, 1], x_test=images)
    data = prepare(tmp_path / "b.npz", tmp_path / "out2", CONFIG)
    assert data.info["notes"] == ["arrays that are not read: x_test"]


# --- a file of labels elsewhere -------------------------------------------------


def test_a_file_of_labels_elsewhere(tmp_path: Path):
    root = on_disk(tmp_path, files(*FOUR))
    table = tmp_path / "table.csv"
    table.write_text("file,label\n" + "\n".join(f"{n},{n[3]}" for n in FOUR))
    source = ImageFolder(path=str(root), label_file=str(table))
    data = open_data(source, CONFIG)
    assert data.class_names == ["a", "b", "c", "d"]
    table.write_text("file,label\n" + "\n".join(f"{n},x" for n in FOUR))
    again = open_data(source, CONFIG)  # its content is part of what is prepared
    assert again.class_names == ["x"]
