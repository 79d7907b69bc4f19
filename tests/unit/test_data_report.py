"""Each planted mistake fires its warning, and a clean set fires none."""

import importlib
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.core.errors import DataError
from limner.data import DataConfig, DataReport, open_data, picture_sheet, prepare, report

# The package's attribute of that name is the function.
report_module = importlib.import_module("limner.data.report")


def save(path: Path, seed: int, width: int = 6, height: int = 6, gray: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[..., 0] |= 1  # colored: red odd, green even
    pixels[..., 1] &= 254
    Image.fromarray(pixels[..., 0] if gray else pixels).save(path)


@pytest.fixture(scope="session")
def clean_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean") / "set"
    for i in range(60):
        save(root / ("cat", "dog", "eel")[i % 3] / f"{i:03}.bmp", i)
    return root


@pytest.fixture(autouse=True)
def _few_are_fewer_than_fifty(monkeypatch):
    """Real sets hold thousands; the tests' stay quick."""
    monkeypatch.setattr(report_module, "FEW_IMAGES", 50)


@pytest.fixture
def root(clean_set: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean_set, tmp_path / "set")
    return tmp_path / "set"


def kinds(made: DataReport) -> list[str]:
    return [finding.kind for finding in made.warnings]


def test_clean_set_is_silent(clean_set: Path):
    made = report(clean_set)
    assert made.warnings == []
    assert made.num_images == 60
    assert made.classes == [("cat", 20), ("dog", 20), ("eel", 20)]
    assert (made.num_gray, made.num_duplicates, made.num_refused) == (0, 0, 0)
    assert made.sizes["common"] == [[6, 6, 60]]
    assert not any("warning" in line for line in made.lines())


def test_digits_are_clean():
    made = report("digits")
    assert made.warnings == []
    assert made.num_gray == made.num_images == 1797


def few(root: Path) -> None:
    for file in list(root.rglob("*.bmp"))[:20]:
        file.unlink()


def one_folder(root: Path) -> None:
    for name in ("dog", "eel"):
        for file in (root / name).iterdir():
            file.rename(root / "cat" / file.name)
        (root / name).rmdir()


def only_one_labelled(root: Path) -> None:
    files = sorted(root.rglob("*.bmp"))
    pairs = [[f.relative_to(root).as_posix(), 2] for f in files]
    (root / "dataset.json").write_text(json.dumps({"labels": pairs}))


def nested(root: Path) -> None:
    (root / "eel" / "young").mkdir()
    for file in list((root / "eel").glob("*.bmp"))[:5]:
        file.rename(root / "eel" / "young" / file.name)


def splits(root: Path) -> None:
    for split in ("train", "val"):
        for name in ("cat", "dog", "eel"):
            (root / split / name).mkdir(parents=True)
    for i, file in enumerate(sorted(root.glob("*/*.bmp"))):
        file.rename(root / ("train", "val")[i % 2] / file.parent.name / file.name)
    for name in ("cat", "dog", "eel"):
        (root / name).rmdir()


def nine_in_a_class(root: Path) -> None:
    for i in range(9):
        save(root / "fox" / f"{i}.bmp", 1000 + i)


def copies(root: Path) -> None:
    file = sorted((root / "cat").iterdir())[0]
    # Other bytes in the file, the same pixels.
    Image.open(file).save(root / "cat" / "copy.png")


def copy_in_other_class(root: Path) -> None:
    file = sorted((root / "cat").iterdir())[0]
    shutil.copy(file, root / "dog" / "copy.bmp")


def larger(root: Path) -> None:
    save(root / "cat" / "large.bmp", 2000, 12, 12)


def wide(root: Path) -> None:
    save(root / "cat" / "wide.bmp", 2000, 12, 6)


def gray(root: Path) -> None:
    save(root / "cat" / "gray.bmp", 2000, gray=True)


def broken(root: Path) -> None:
    (root / "cat" / "broken.png").write_bytes(b"no picture")


PLANTED: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "few images": (few, ["few_images"], "only 40 pictures"),
    "one folder": (one_folder, ["one_class"], r"one subfolder \('cat'\)"),
    "one class in the labels": (
        only_one_labelled, ["one_class", "empty_classes"], r"2 of 3 classes have no picture: 0, 1",
    ),
    "folders in a class folder": (nested, ["nested_folders"], "such as eel/young"),
    "splits as classes": (splits, ["splits", "few_images"], "train alone is read, 30 pictures"),
    "tiny class": (nine_in_a_class, ["tiny_classes"], r"fox \(9\)"),
    "duplicates": (copies, ["duplicates"], "1 exact copies, such as cat/000.bmp and cat/copy.png"),
    "duplicates across classes": (
        copy_in_other_class, ["duplicates", "duplicates_across_classes"], "dog/copy.bmp",
    ),
    "mixed sizes": (larger, ["mixed_sizes"], "2 different sizes, 6x6 to 12x12"),
    "mixed aspects": (wide, ["mixed_sizes", "mixed_aspects"], "from 1.00 to 2.00"),
    "gray among color": (gray, ["gray_in_color"], "cat/gray.bmp"),
    "unreadable": (broken, ["refused"], "cat/broken.png: not a picture"),
}  # fmt: skip


@pytest.mark.parametrize("as_prepared", [False, True], ids=["source", "prepared"])
@pytest.mark.parametrize("mistake", PLANTED)
def test_planted_mistake(root: Path, tmp_path: Path, mistake: str, as_prepared: bool):
    plant, expected, message = PLANTED[mistake]
    plant(root)
    if as_prepared:
        made = report(prepare(root, tmp_path / "out", DataConfig(resolution=6)))
    else:
        made = report(root)
    assert kinds(made) == expected
    text = "\n".join(made.lines())
    assert len([line for line in made.lines() if line.startswith("warning: ")]) == len(expected)
    assert re.search(message, text)
    json.dumps(made.to_plain(), allow_nan=False)


def test_nesting_is_no_mistake_where_no_classes_are_asked(root: Path):
    nested(root)
    assert report(root, labels="none").warnings == []


@pytest.mark.parametrize(("count", "expected"), [(499, ["few_images"]), (500, [])])
def test_few_images_without_the_patch(tmp_path: Path, monkeypatch, count: int, expected: list[str]):
    monkeypatch.undo()
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    assert kinds(report(tmp_path / "a.npz")) == expected


def test_tiny_share_of_the_median(tmp_path: Path):
    np.savez(
        tmp_path / "a.npz",
        images=np.random.default_rng(0).integers(0, 256, (1020, 4, 4), dtype=np.uint8),
        labels=np.repeat([0, 1, 2], [500, 500, 20]),
    )
    assert kinds(report(tmp_path / "a.npz")) == ["tiny_classes"]


def test_near_duplicates_are_counted_not_warned_of(tmp_path: Path):
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    for quality in (60, 90):
        Image.fromarray(ramp).save(tmp_path / f"{quality}.jpg", quality=quality)
    Image.fromarray(ramp[::-1]).save(tmp_path / "other.jpg")
    made = report(tmp_path)
    assert made.num_near_duplicates == 2
    assert made.num_duplicates == 0
    assert "duplicates" not in kinds(made)


def test_zip_with_a_wrapping_folder_is_not_nested(clean_set: Path, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in clean_set.rglob("*.bmp"):
            archive.write(file, "set/" + file.relative_to(clean_set).as_posix())
    assert report(tmp_path / "a.zip").warnings == []


def test_report_of_nothing(tmp_path: Path):
    made = report(tmp_path)
    assert made.num_images == 0
    assert "few_images" in kinds(made)
    assert made.lines()[1] == "sizes: none"


def test_progress_is_told(clean_set: Path):
    seen: list[tuple[int, int | None]] = []
    report(clean_set, progress=lambda n, of: seen.append((n, of)))
    assert seen == [(i, 60) for i in range(1, 61)]


# --- sheet -----------------------------------------------------------------


@pytest.mark.parametrize("prepared", [False, True])
def test_sheet_shows_every_class_in_its_row(tmp_path: Path, prepared: bool):
    colors = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
    for name, color in colors.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (5 + i, 5 + i), color).save(tmp_path / "set" / name / f"{i}.png")
    data = tmp_path / "set"
    shown = prepare(data, tmp_path / "out", DataConfig(resolution=8)) if prepared else data
    sheet = picture_sheet(shown, columns=4, cell=16)
    assert sheet.size == (96 + 4 * 18 + 2, 3 * 18 + 2)
    for row, color in enumerate(colors.values()):
        for column in range(4):
            pixel = sheet.getpixel((96 + 10 + column * 18, 10 + row * 18))
            assert pixel == (color if column < 3 else (255, 255, 255))


def test_sheet_of_unlabelled_pictures(tmp_path: Path):
    for i in range(5):
        Image.new("L", (4, 4), i * 50).save(tmp_path / f"{i}.png")
    (tmp_path / "bad.png").write_bytes(b"")
    sheet = picture_sheet(tmp_path, columns=3, cell=8)
    assert sheet.size == (32, 22)
    assert sheet.getpixel((6, 6)) == (0, 0, 0)
    assert sheet.getpixel((16, 16)) == (200, 200, 200)
    data = open_data(tmp_path, DataConfig(resolution=4))
    assert picture_sheet(data, columns=3, cell=8).tobytes() == sheet.tobytes()


def test_sheet_of_nothing(tmp_path: Path):
    with pytest.raises(DataError, match="no picture to show"):
        picture_sheet(tmp_path)
