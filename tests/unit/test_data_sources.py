"""Each source reads what it says, with the right labels, and refuses the rest in one line."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from limner.core.config import Config, decode, encode
from limner.core.errors import ConfigError, DataError
from limner.data import SOURCES, DataConfig, Item, Listing, Source, open_data, prepare
from limner.data.sources import Labels, find_source


def picture(value: int) -> np.ndarray:
    return np.full((4, 4, 3), (value, 10, 20), np.uint8)


def write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(value)).save(path)


def listed(data, labels: Labels = "classes") -> tuple[dict[str, int | None], Listing]:
    listing = find_source(data).listing(labels)
    return {item.name: item.label for item in listing.items}, listing


@pytest.mark.parametrize("name", SOURCES)
def test_table(name: str):
    source = SOURCES[name]
    assert issubclass(source, Source)
    config = DataConfig(resolution=4, source=source(path="x"))  # type: ignore[call-arg]
    assert decode(DataConfig, encode(config)) == config


# --- folders --------------------------------------------------------------


def test_class_folders(tmp_path: Path):
    for i, name in enumerate(("dog/1.png", "cat/b.png", "cat/deep/er/a.png", "Zebra/1.png")):
        write(tmp_path / name, i)
    labels, listing = listed(tmp_path)
    assert listing.class_names == ["Zebra", "cat", "dog"]
    assert labels == {"Zebra/1.png": 0, "cat/b.png": 1, "cat/deep/er/a.png": 1, "dog/1.png": 2}
    assert list(labels) == sorted(labels)  # the order is that of the names, on every machine
    labels, listing = listed(tmp_path, "none")
    assert set(labels.values()) == {None}
    assert len(labels) == 4
    assert listing.class_names == []


def test_flat_folder_has_no_classes(tmp_path: Path):
    write(tmp_path / "a.png", 0)
    write(tmp_path / "b.png", 0)
    assert listed(tmp_path)[0] == {"a.png": None, "b.png": None}


def test_a_single_subfolder_is_not_a_class(tmp_path: Path):
    """As CelebA lies: img_align_celeba/*.jpg."""
    write(tmp_path / "img_align_celeba" / "1.png", 0)
    labels, listing = listed(tmp_path)
    assert labels == {"img_align_celeba/1.png": None}
    assert [(kind, "not a class" in text) for kind, text in listing.warnings] == [
        ("one_class", True)
    ]
    data = prepare(tmp_path, tmp_path.parent / "out", DataConfig(resolution=4))
    assert data.num_classes == 0
    assert data.info["warnings"][0] == listing.warnings[0]._asdict()


def test_pictures_beside_class_folders_are_refused(tmp_path: Path):
    for name in ("cat/1.png", "dog/1.png", "stray.png"):
        write(tmp_path / name, 0)
    labels, listing = listed(tmp_path)
    assert "stray.png" not in labels
    assert listing.refused[0][0] == "stray.png"


def test_empty_folders_are_no_classes(tmp_path: Path):
    write(tmp_path / "cat" / "1.png", 0)
    write(tmp_path / "dog" / "1.png", 0)
    (tmp_path / "empty").mkdir()
    assert listed(tmp_path)[1].class_names == ["cat", "dog"]


def test_root_and_classes_may_be_symbolic_links(tmp_path: Path):
    write(tmp_path / "real" / "cat" / "1.png", 1)
    write(tmp_path / "elsewhere" / "1.png", 2)
    (tmp_path / "real" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    labels, _ = listed(tmp_path / "link")
    assert labels == {"cat/1.png": 0, "dog/1.png": 1}
    data = open_data(tmp_path / "link", DataConfig(resolution=4))
    assert data.images[:, 0, 0, 0].tolist() == [1, 2]


def test_folder_with_a_label_file(tmp_path: Path):
    for name in ("00/a.png", "00/b.png"):
        write(tmp_path / name, 0)
    (tmp_path / "dataset.json").write_text('{"labels": [["00/a.png", 1], ["00/b.png", 0]]}')
    labels, listing = listed(tmp_path)
    assert labels == {"00/a.png": 1, "00/b.png": 0}
    assert listing.class_names == ["0", "1"]


# --- zips -----------------------------------------------------------------


def zipped(path: Path, names: list[str], labels: Any = "absent", prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            file = io.BytesIO()
            Image.fromarray(picture(i)).save(file, "PNG")
            archive.writestr(prefix + name, file.getvalue())
        if labels != "absent":
            archive.writestr(prefix + "dataset.json", json.dumps({"labels": labels}))
    return path


NAMES = ["00000/img0.png", "00000/img1.png", "00001/img2.png"]
ONE_HOT = [
    [name, row] for name, row in zip(NAMES, [[0, 1.0, 0], [0, 0, 1], [1, 0, 0]], strict=True)
]


@pytest.mark.parametrize(
    ("pairs", "expected", "num_classes"),
    [
        ([[NAMES[0], 6], [NAMES[1], 9], [NAMES[2], 6]], [6, 9, 6], 10),
        (ONE_HOT, [1, 2, 0], 3),
        ([[NAMES[0], [4]], [NAMES[1], [0]], [NAMES[2], [4]]], [4, 0, 4], 5),
        ("absent", [0, 0, 1], 2),
        (None, [0, 0, 1], 2),
    ],
    ids=["integers", "one-hot", "lists of one", "folders", "null"],
)
def test_zip_labels(tmp_path: Path, pairs, expected, num_classes):
    labels, listing = listed(zipped(tmp_path / "a.zip", NAMES, pairs))
    assert list(labels.values()) == expected
    assert len(listing.class_names) == num_classes
    assert not listing.notes


def test_zip_with_rows_of_numbers_keeps_them(tmp_path: Path):
    rows = [[0.25, 1], [0, -2], [3, 0.5]]
    path = zipped(tmp_path / "a.zip", NAMES, list(zip(NAMES, rows, strict=True)))
    labels, listing = listed(path)
    assert [label.tolist() for label in labels.values()] == rows  # type: ignore[union-attr]
    assert listing.class_names == ["0", "1"]
    assert "rows of 2 numbers" in listing.notes[0]


def test_zip_is_read_with_its_wrapping_folder(tmp_path: Path):
    names = ["cat/1.png", "dog/1.png"]
    path = zipped(tmp_path / "a.zip", names, prefix="my data/")
    assert listed(path)[0] == {"my data/cat/1.png": 0, "my data/dog/1.png": 1}
    path = zipped(tmp_path / "b.zip", names, [[names[0], 1], [names[1], 0]], prefix="x/")
    assert listed(path)[0] == {"x/cat/1.png": 1, "x/dog/1.png": 0}


def test_zip_file_without_label_is_refused(tmp_path: Path):
    labels, listing = listed(zipped(tmp_path / "a.zip", NAMES, [[NAMES[0], 0], [NAMES[1], 1]]))
    assert list(labels.values()) == [0, 1]
    assert listing.refused == [(NAMES[2], "has no label in dataset.json")]


@pytest.mark.parametrize("labels", [[["a"]], "x", [[1, 2]], [["00000/img0.png", -1]]])
def test_malformed_label_file(tmp_path: Path, labels):
    with pytest.raises(DataError, match=r"a\.zip/dataset\.json: "):
        listed(zipped(tmp_path / "a.zip", NAMES, labels))


def test_hostile_zip_members_are_refused_and_nothing_is_unpacked(tmp_path: Path):
    (tmp_path / "in").mkdir()
    path = zipped(tmp_path / "in" / "a.zip", ["good.png"])
    png = zipfile.ZipFile(path).read("good.png")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside.png", png)
        archive.writestr("/limner-absolute.png", png)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("ratio.png", bytes(3 * 2**20), zipfile.ZIP_DEFLATED)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("good.png", png)
    outside = tmp_path.parent / "outside.png"  # two above the zip
    assert find_source(path).listing("none").refused == [
        ("../../outside.png", "its name leads outside the zip"),
        ("/limner-absolute.png", "its name is an absolute path"),
        ("good.png", "name occurs twice in the zip"),
    ]
    data = prepare(path, tmp_path / "out", DataConfig(resolution=4, labels="none"))
    reasons = {entry["name"]: entry["reason"] for entry in data.info["refused"]}
    assert "symbolic link" in reasons["link.png"]
    assert "100-fold" in reasons["ratio.png"]
    assert not outside.exists()
    assert not Path("/limner-absolute.png").exists()
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(
        ["a.zip", "dataset.json", "images.npy", "labels.npy", "names.json"]
    )


def test_encrypted_zip_member(tmp_path: Path):
    path = zipped(tmp_path / "a.zip", ["a.png", "b.png"])
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 8] |= 1  # the flag in the central directory
    path.write_bytes(content)
    data = prepare(path, tmp_path / "out", DataConfig(resolution=4))
    assert data.names() == ["b.png"]
    assert data.info["refused"] == [{"name": "a.png", "reason": "encrypted in the zip"}]


# --- npz ------------------------------------------------------------------

ROWS = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"images": ROWS, "labels": np.arange(6)}, ROWS),
        ({"x": ROWS.transpose(0, 3, 1, 2).copy(), "y": np.arange(6)[:, None]}, ROWS),
        ({"images": ROWS[..., :1], "y": np.eye(6)}, ROWS[..., :1]),
        ({"images": ROWS[..., 0], "labels": np.arange(6, dtype=np.uint8)}, ROWS[..., :1]),
        ({"x_train": ROWS, "y_train": np.arange(6), "x_test": ROWS}, ROWS),
    ],
    ids=["nhwc", "nchw", "one-hot", "gray", "keras"],
)
def test_npz(tmp_path: Path, arrays: dict[str, np.ndarray], expected: np.ndarray):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
        listing = find_source(tmp_path / "a.npz").listing("classes")
        items = [(item.label, np.asarray(item.open())) for item in listing.items]
        assert [label for label, _ in items] == list(range(6))
        assert (np.stack([row for _, row in items]).reshape(expected.shape) == expected).all()
        assert listing.class_names == list("012345")


def test_npz_without_labels(tmp_path: Path):
    np.savez(tmp_path / "a.npz", images=ROWS)
    assert set(listed(tmp_path / "a.npz")[0].values()) == {None}
    np.savez(tmp_path / "b.npz", images=ROWS, labels=np.arange(6))
    assert listed(tmp_path / "b.npz", "none")[1].class_names == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": ROWS}, "no pictures in it"),
        ({"images": ROWS > 99}, "bool"),
        ({"images": ROWS[0, 0]}, "shape"),
        ({"images": np.asfortranarray(ROWS)}, "Fortran"),
        ({"images": np.zeros((2, 8, 8, 9), np.uint8)}, "channels"),
        ({"images": ROWS, "labels": np.arange(5)}, "for 6 pictures"),
        ({"images": ROWS, "labels": np.arange(6) - 1}, "labels run from -1"),
        ({"images": ROWS, "labels": np.arange(6) / 2}, "float64"),
        ({"images": np.array([ROWS, None], object)}, "object"),
        ({"images": ROWS, "labels": np.array([0, 1, 2, 3, 4, None], object)}, "pickle"),
    ],
)
def test_npz_refused(tmp_path: Path, arrays: dict[str, Any], message: str):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        list(find_source(tmp_path / "a.npz").listing("classes").items)


def test_npz_with_a_lying_header(tmp_path: Path):
    """A header that declares a terabyte must not make us reserve it."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 1024, 1024, 1)}
    np.lib.format.write_array_header_1_0(file, header)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", file.getvalue() + bytes(100))
    with pytest.raises(DataError, match="does not fit its length"):
        listed(tmp_path / "a.npz")


def test_arrays_of_other_channels_need_the_number(tmp_path: Path):
    four = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=four)
    with pytest.raises(DataError, match=r"set data\.channels=4"):
        prepare(tmp_path / "a.npz", tmp_path / "no", DataConfig(resolution=8))
    data = prepare(tmp_path / "a.npz", tmp_path / "yes", DataConfig(resolution=8, channels=4))
    assert (data.images == four).all()


# --- digits ---------------------------------------------------------------


def test_digits_are_the_scans():
    data = open_data("digits", DataConfig(resolution=8))
    assert data.images.shape == (1797, 8, 8, 1)
    assert np.bincount(data.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    first_row = np.array([0, 0, 5, 13, 9, 1, 0, 0])  # of the first scan, as UCI has it
    assert (data.images[0, 0, :, 0] == np.rint(first_row * 255 / 16)).all()
    assert data.images.max() == 255
    assert data.class_names == list("0123456789")


def test_digits_grow_smoothly():
    small = open_data("digits", DataConfig(resolution=8)).images.astype(float)
    large = open_data("digits", DataConfig(resolution=32)).images.astype(float)
    means = large.reshape(-1, 8, 4, 8, 4, 1).mean((2, 4))
    assert np.corrcoef(means.ravel(), small.ravel())[0, 1] > 0.97
    assert len(np.unique(large)) > 200


# --- finding and users' own ---------------------------------------------------


def test_what_is_not_understood_is_explained(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(b"tar")
    with pytest.raises(DataError, match=r"a\.tar: not understood .* folder .* zip .* 'digits'"):
        find_source(tmp_path / "a.tar")
    with pytest.raises(DataError, match="no such file or folder"):
        find_source(tmp_path / "gone")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="broken symbolic link"):
        find_source(tmp_path / "link")
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="write it again"):
        find_source(tmp_path / "bad.npz").listing("none")


class Stripes(Config, Source, frozen=True):
    """A source outside limner: gray stripes from the lines of a text file."""

    path: str = ""
    width: int = 4

    def listing(self, labels):
        numbers = [int(line) for line in Path(self.path).read_text().split()]
        names = ["even", "odd"] if labels == "classes" else []
        return Listing(
            items=(
                Item(
                    str(n),
                    n % 2 if names else None,
                    lambda n=n: np.full((4, self.width), n, np.uint8),
                )
                for n in numbers
            ),
            class_names=names,
        )


def test_a_source_of_the_user(tmp_path: Path):
    (tmp_path / "numbers.txt").write_text("7 8 9")
    tag = f"{Stripes.__module__}:Stripes"
    plain = {"resolution": 4, "source": {"type": tag, "width": 6}}
    config = decode(DataConfig, plain)
    data = open_data(tmp_path / "numbers.txt", config)
    assert data.images[:, 0, 0, 0].tolist() == [7, 8, 9]
    assert data.labels.tolist() == [1, 0, 1]
    assert data.info["source"] == {"kind": tag, "name": "numbers.txt"}
    again = open_data(
        Stripes(path=str(tmp_path / "numbers.txt"), width=6), DataConfig(resolution=4)
    )
    assert again.directory == data.directory
    wider = open_data(
        Stripes(path=str(tmp_path / "numbers.txt"), width=8), DataConfig(resolution=4)
    )
    assert wider.directory != data.directory
    with pytest.raises(ConfigError, match="no_such_module"):
        decode(DataConfig, {"resolution": 4, "source": {"type": "no_such_module:Stripes"}})
