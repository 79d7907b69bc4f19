"""The prepared form: whole or absent, identified by content and settings, prepared once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from limner.core.errors import ConfigError, DataError
from limner.core.files import cache_directory, sha256_of
from limner.data import DataConfig, Item, PreparedData, open_data, prepare
from limner.data import prepare as prepare_function
from limner.data.sources import folder as folder_module
from limner.data.sources.folder import ImageFolder

CONFIG = DataConfig(resolution=8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three classes of 4, 3 and 2 colored pictures of 12x10 pixels."""
    generator = np.random.default_rng(0)
    for name, count in (("ant", 4), ("bee", 3), ("cow", 2)):
        (tmp_path / "source" / name).mkdir(parents=True)
        for i in range(count):
            pixels = generator.integers(0, 256, (10, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "source" / name / f"{i}.png")
    return tmp_path / "source"


@pytest.fixture
def decodes(monkeypatch) -> list[Path]:
    """The picture files opened so far."""
    opened: list[Path] = []
    original = folder_module.open_picture

    def counting(path: Path) -> Image.Image:
        opened.append(path)
        return original(path)

    monkeypatch.setattr(folder_module, "open_picture", counting)
    return opened


def test_prepared_form(source: Path, tmp_path: Path):
    seen: list[tuple[int, int | None]] = []
    data = prepare(source, tmp_path / "new" / "out", CONFIG, lambda n, of: seen.append((n, of)))
    assert seen == [(i, 9) for i in range(1, 10)]
    assert len(data) == 9
    assert data.image_shape == (3, 8, 8)
    assert data.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert data.labels.dtype == np.int64
    assert (data.num_classes, data.class_names) == (3, ["ant", "bee", "cow"])
    assert data.names()[4] == "bee/0.png"
    info = json.loads((tmp_path / "new" / "out" / "dataset.json").read_text())
    assert info == data.info
    assert info["classes"] == [
        {"name": "ant", "count": 4}, {"name": "bee", "count": 3}, {"name": "cow", "count": 2},
    ]  # fmt: skip
    assert info["source"] == {"kind": "ImageFolder", "name": "source"}
    assert info["settings"] == {
        "resolution": 8, "channels": 3, "labels": "classes", "fit": "crop", "filter": "lanczos",
    }  # fmt: skip
    assert info["sizes"]["common"] == [[12, 10, 9]]
    for name, digest in info["files"].items():
        assert sha256_of(data.directory / name) == digest
    data.verify()
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["out"]


def test_identity_is_of_content_and_settings_not_of_place(source: Path, tmp_path: Path):
    first = prepare(source, tmp_path / "a", CONFIG)
    source.rename(tmp_path / "moved")
    assert prepare(tmp_path / "moved", tmp_path / "b", CONFIG).sha256 == first.sha256
    (tmp_path / "moved" / "ant").rename(tmp_path / "moved" / "anteater")
    assert prepare(tmp_path / "moved", tmp_path / "c", CONFIG).sha256 != first.sha256
    unlabelled = CONFIG.replace(labels="none")
    assert prepare(tmp_path / "moved", tmp_path / "d", unlabelled).sha256 != first.sha256


def test_settings_count_where_the_pixels_are_equal(tmp_path: Path):
    """Square pictures of the asked size come out the same by any fit; the sets are not the same."""
    crop = open_data("digits", CONFIG)
    squash = open_data("digits", CONFIG.replace(fit="squash"))
    assert (crop.images == squash.images).all()
    assert crop.sha256 != squash.sha256


CHANGES = [
    {"fit": "squash"},
    {"fit": "pad"},
    {"filter": "box"},
    {"resolution": 9},
    {"labels": "none"},
    {"channels": 1},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_setting_is_part_of_the_key(source: Path, change, decodes: list[Path]):
    first = open_data(source, CONFIG)
    other = open_data(source, CONFIG.replace(**change))
    assert len(decodes) == 18
    assert other.directory != first.directory
    assert other.sha256 != first.sha256


def test_second_open_decodes_nothing(source: Path, decodes: list[Path]):
    first = open_data(source, CONFIG)
    assert len(decodes) == 9
    assert first.directory.parent == cache_directory() / "data"
    second = open_data(str(source), CONFIG.replace(flip=True))  # flipping happens while training
    third = open_data(source, CONFIG.replace(channels=3))  # what None came to, as a run saves it
    assert len(decodes) == 9
    assert first.directory == second.directory == third.directory


@pytest.mark.parametrize("change", ["new file", "new content", "renamed", "deleted"])
def test_changed_source_is_prepared_anew(source: Path, decodes: list[Path], change: str):
    first = open_data(source, CONFIG)
    file = source / "bee" / "0.png"
    if change == "new file":
        Image.new("RGB", (9, 9)).save(source / "bee" / "new.png")
    elif change == "new content":  # of the same length, as a hasty editor might write it
        content = bytearray(file.read_bytes())
        content[-20] ^= 1
        file.write_bytes(content)
    elif change == "renamed":
        file.rename(source / "cow" / "9.png")
    else:
        file.unlink()
    decodes.clear()
    assert open_data(source, CONFIG).directory != first.directory
    assert len(decodes) >= 8


def test_prepared_directory_is_taken_as_it_is(source: Path, tmp_path: Path, decodes: list[Path]):
    made = prepare(source, tmp_path / "out", CONFIG)
    decodes.clear()
    assert open_data(tmp_path / "out", CONFIG).sha256 == made.sha256
    assert open_data(tmp_path / "out", CONFIG.replace(channels=3)).sha256 == made.sha256
    assert open_data(made, CONFIG) is made
    own = CONFIG.replace(source=ImageFolder())  # how it was read no longer matters
    assert open_data(tmp_path / "out", own).sha256 == made.sha256
    assert decodes == []


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_other_settings_of_a_prepared_directory(source: Path, tmp_path: Path, change):
    prepare(source, tmp_path / "out", CONFIG)
    ((name, value),) = change.items()
    with pytest.raises(DataError, match=rf"{name} is \w+ but {value} is asked") as caught:
        open_data(tmp_path / "out", CONFIG.replace(**change))
    assert f"--set data.{name}=" in str(caught.value)


def test_out_must_not_exist(source: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    prepare(source, tmp_path / "empty", CONFIG)
    with pytest.raises(DataError, match="exists already"):
        prepare(source, tmp_path / "empty", CONFIG)


class InterruptedFolder(ImageFolder, frozen=True):
    """Ctrl-C at the fifth picture."""

    def listing(self, labels):
        listing = ImageFolder(path=self.path).listing(labels)

        def stop() -> Image.Image:
            raise KeyboardInterrupt

        listing.items = [
            item if i != 4 else Item(item.name, item.label, stop)
            for i, item in enumerate(listing.items)
        ]
        return listing


def test_ctrl_c_leaves_nothing(source: Path, tmp_path: Path):
    interrupted = InterruptedFolder(path=str(source))
    with pytest.raises(KeyboardInterrupt):
        prepare(interrupted, tmp_path / "out", CONFIG)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
    before = set((cache_directory() / "data").glob("*/")) if cache_directory().exists() else set()
    with pytest.raises(KeyboardInterrupt):
        open_data(interrupted, CONFIG)
    after = {p for p in (cache_directory() / "data").iterdir() if p.is_dir()}
    assert after <= before


def test_everything_is_flushed_before_the_rename(source: Path, tmp_path: Path, monkeypatch):
    events: list[str] = []
    names: dict[int, str] = {}
    fsync, rename, opened = os.fsync, os.rename, os.open

    def noted_open(path, *arguments, **options):
        descriptor = opened(path, *arguments, **options)
        names[descriptor] = Path(path).name
        return descriptor

    def noted_fsync(descriptor):
        events.append(names.get(descriptor, "?"))
        fsync(descriptor)

    def noted_rename(old, new):
        events.append("rename")
        rename(old, new)

    monkeypatch.setattr(os, "open", noted_open)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_rename)
    prepare(source, tmp_path / "out", CONFIG)
    place = events.index("rename")
    flushed = set(events[:place])
    assert {"images.npy", "labels.npy", "names.json", "dataset.json"} <= flushed
    assert any(name.startswith(".tmp-out") for name in flushed)
    assert events[place + 1 :] == [tmp_path.name]


def test_remains_of_a_killed_process_are_cleared(source: Path):
    made = open_data(source, CONFIG)
    key = made.directory.name
    made.directory.rename(made.directory.with_name(f".tmp-{key}-1-dead"))
    open_data(source, CONFIG)
    assert not list(made.directory.parent.glob(".tmp-*"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "dataset.json").write_text("{"), "not valid JSON"),
        (lambda d: (d / "dataset.json").write_text("[]"), "not written by limner"),
        (lambda d: (d / "images.npy").unlink(), "images.npy"),
        (lambda d: (d / "images.npy").write_bytes(b""), "images.npy"),
        (lambda d: os.truncate(d / "images.npy", 500), "images.npy"),
        (lambda d: np.save(d / "labels.npy", np.zeros(3, np.int64)), "says"),
        (lambda d: np.save(d / "labels.npy", np.zeros(9, np.int32)), "types"),
        (lambda d: edit(d, version=99), "format version 99"),
        (lambda d: edit(d, image_shape=[3, 4, 4]), "says"),
        (lambda d: edit(d, sha256=None), "missing required field `sha256`"),
    ],
)
def test_damaged_prepared_directory(source: Path, tmp_path: Path, damage, message: str):
    prepare(source, tmp_path / "out", CONFIG)
    damage(tmp_path / "out")
    with pytest.raises(DataError, match=message):
        PreparedData(tmp_path / "out")


def test_damaged_cache_says_what_to_delete(source: Path):
    place = open_data(source, CONFIG).directory
    (place / "images.npy").unlink()
    with pytest.raises(DataError, match=f"delete {place}"):
        open_data(source, CONFIG)


def edit(directory: Path, **changes) -> None:
    info = json.loads((directory / "dataset.json").read_text())
    for name, value in changes.items():
        info.pop(name) if value is None else info.update({name: value})
    (directory / "dataset.json").write_text(json.dumps(info))


def test_verify_sees_one_flipped_bit(source: Path, tmp_path: Path):
    data = prepare(source, tmp_path / "out", CONFIG)
    with open(tmp_path / "out" / "images.npy", "r+b") as file:
        file.seek(600)
        byte = file.read(1)[0]
        file.seek(600)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(DataError, match=r"images\.npy: changed"):
        data.verify()


def test_large_source_stays_out_of_memory(tmp_path: Path):
    """100 MB of pictures come out of an .npz; the process may grow by a fraction of it only."""
    script = """
import resource, sys, zipfile
import numpy as np
from limner.data import DataConfig, prepare
folder = sys.argv[1]
header = {"descr": "|u1", "fortran_order": False, "shape": (2048, 128, 128, 3)}
with zipfile.ZipFile(folder + "/a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
    with archive.open("images.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for i in range(2048):
            file.write(bytes([i % 256]) * (128 * 128 * 3))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
prepare(folder + "/a.npz", folder + "/out", DataConfig(resolution=128))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 40


def test_preparing_needs_no_torch(source: Path, tmp_path: Path):
    script = """
import sys
from limner.data import DataConfig, prepare, report
prepare(sys.argv[1], sys.argv[2], DataConfig(resolution=4))
report(sys.argv[2])
sys.exit("torch" in sys.modules)
"""
    arguments = [sys.executable, "-W", "error", "-c", script, str(source), str(tmp_path / "out")]
    assert subprocess.run(arguments, check=False).returncode == 0


def test_two_processes_prepare_once(source: Path, tmp_path: Path):
    script = """
import sys
from limner.data import DataConfig, open_data
count = []
print(open_data(sys.argv[1], DataConfig(resolution=8), lambda n, of: count.append(n)).sha256)
print(len(count))
"""
    environment = {**os.environ, "LIMNER_CACHE": str(tmp_path / "cache")}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(source)], env=environment, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    answers = [process.communicate()[0].split() for process in running]
    assert answers[0][0] == answers[1][0]
    assert sorted(int(answer[1]) for answer in answers) == [0, 9]


@pytest.mark.parametrize("change", [{"resolution": 0}, {"resolution": -4}, {"channels": 0}])
def test_impossible_settings(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        CONFIG.replace(**change)


def test_prepare_is_the_function():
    """The package's attribute is the function, not the module of the same name."""
    assert callable(prepare_function)
