"""TFRecords of several resolutions: what TensorFlow wrote is read and written again to the byte."""

import math
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from PIL import Image

from golden_files import Golden
from limner.core.errors import DataError, LimnerError
from limner.data import DataConfig, PreparedData, prepare, report, write_tfrecords
from limner.data.sources import find_source
from limner.data.tfrecord_export import order_of
from limner.formats.tfrecords import example_of, framed, level_of, pixels_of, pyramid, records_of

FORM = "tfrecords_8"


def pictures(num: int, size: int, channels: int = 3) -> np.ndarray:
    """uint8 [num, size, size, channels] over the whole range."""
    values = np.random.default_rng(num + size).integers(0, 256, (num, size, size, channels))
    return values.astype(np.uint8)


def prepared(path: Path, images: np.ndarray, labels: np.ndarray | None = None) -> PreparedData:
    held = {} if labels is None else {"labels": labels}
    np.savez(path.with_suffix(".npz"), images=images, **held)
    config = DataConfig(resolution=images.shape[1], channels=images.shape[3])
    return prepare(path.with_suffix(".npz"), path, config)


def record_set(path: Path, images: np.ndarray, labels: np.ndarray | None = None) -> Path:
    """A set of one resolution, uint8 [N, H, W, C]."""
    path.mkdir()
    level = int(math.log2(images.shape[1]))
    file = path / f"{path.name}-r{level:02d}.tfrecords"
    file.write_bytes(b"".join(framed(example_of(x.transpose(2, 0, 1))) for x in images))
    if labels is not None:
        with open(path / f"{path.name}-rxx.labels", "wb") as opened:
            np.save(opened, labels)
    return file


# --- what TensorFlow wrote --------------------------------------------------------


@pytest.mark.parametrize("level", [2, 3])
def test_golden_records_are_read_and_written(golden: Golden, level: int):
    file = golden(f"pggan/{FORM}/{FORM}-r{level:02d}.tfrecords")
    expected = np.load(golden(f"pggan/{FORM}/expected.npz"))[f"images_r{level:02d}"]
    read = [pixels_of(content, file, offset) for offset, content in records_of(file)]
    np.testing.assert_array_equal(np.stack(read), expected)
    assert b"".join(framed(example_of(pixels)) for pixels in expected) == file.read_bytes()


def test_golden_set_there_and_back(golden: Golden, tmp_path: Path):
    folder = golden(f"pggan/{FORM}")
    expected = np.load(folder / "expected.npz")
    data = prepare(folder, tmp_path / "p", DataConfig(resolution=8))
    np.testing.assert_array_equal(data.images.transpose(0, 3, 1, 2), expected["images_r03"])
    np.testing.assert_array_equal(np.eye(4)[data.labels], expected["labels"])
    assert data.num_classes == 4
    out = write_tfrecords(data, tmp_path / FORM, shuffle=False)
    assert sorted(path.name for path in out.iterdir()) == sorted(p.name for p in folder.glob("tf*"))
    for level in (2, 3):
        name = f"{FORM}-r{level:02d}.tfrecords"
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    labels = np.load(out / f"{FORM}-rxx.labels")
    assert (labels.dtype, labels.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_array_equal(labels, expected["labels"])


# --- sizes ------------------------------------------------------------------------

CIFAR_BYTES = {2: 4_900_000, 3: 12_350_000, 4: 41_150_000, 5: 156_350_000}
CIFAR_LABEL_BYTES = 2_000_080


def sizes_of(num: int, tmp_path: Path) -> dict[str, int]:
    labels = np.arange(num) % 10
    data = prepared(tmp_path / "p", pictures(num, 32), labels)
    out = write_tfrecords(data, tmp_path / "cifar10")
    return {path.name: path.stat().st_size for path in out.iterdir()}


def test_sizes_of_cifar_by_record(tmp_path: Path):
    """All records of a file are as long as each other, so that 500 tell the sizes of 50,000."""
    num = 500
    sizes = sizes_of(num, tmp_path)
    for level, num_bytes in CIFAR_BYTES.items():
        assert sizes.pop(f"cifar10-r{level:02d}.tfrecords") * (50_000 // num) == num_bytes
    header = 80  # as long for 50,000 rows as for 500
    assert sizes.pop("cifar10-rxx.labels") == header + num * 40
    assert header + 50_000 * 40 == CIFAR_LABEL_BYTES
    assert sizes == {}


@pytest.mark.full
def test_sizes_of_cifar(tmp_path: Path):
    expected = {f"cifar10-r{level:02d}.tfrecords": n for level, n in CIFAR_BYTES.items()}
    assert sizes_of(50_000, tmp_path) == {**expected, "cifar10-rxx.labels": CIFAR_LABEL_BYTES}


# --- content ----------------------------------------------------------------------


def test_levels_are_means_of_the_float_picture():
    """Rounding each level and taking means of that would differ."""
    pixels = np.zeros((1, 16, 16), np.uint8)
    pixels[0, 0:4, 0:4] = [[1, 1, 1, 1], [0, 0, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    levels = list(pyramid(pixels))
    assert [level.shape for level in levels] == [(1, 16, 16), (1, 8, 8), (1, 4, 4)]
    assert levels[1][0, :2, :2].tolist() == [[0, 1], [1, 0]]  # 0.5, 0.75, 0.75, 0.5
    assert levels[2][0, 0, 0] == 1  # 0.625; of the rounded ones it would be 0.5, and so 0


def test_every_level_of_a_set_and_its_order(tmp_path: Path):
    images, labels = pictures(7, 16, 1), np.array([0, 2, 1, 2, 2, 0, 1])
    data = prepared(tmp_path / "p", images, labels)
    out = write_tfrecords(data, tmp_path / "set")
    order = np.arange(7)
    np.random.RandomState(123).shuffle(order)
    assert order.tolist() != list(range(7))
    assert order_of(7, False).tolist() == list(range(7))
    for level in (4, 3, 2):
        size = 2**level
        expected = images.reshape(7, size, 16 // size, size, 16 // size).mean((2, 4))
        expected = np.rint(expected).astype(np.uint8)[order][:, None]
        file = out / f"set-r{level:02d}.tfrecords"
        read = [pixels_of(content, file, offset) for offset, content in records_of(file)]
        np.testing.assert_array_equal(np.stack(read), expected)
    np.testing.assert_array_equal(np.load(out / "set-rxx.labels"), np.eye(3)[labels[order]])
    again = prepare(out, tmp_path / "again", DataConfig(resolution=16))
    np.testing.assert_array_equal(again.images, images[order])
    np.testing.assert_array_equal(again.labels, labels[order])
    assert "set-r04.tfrecords" in again.info["notes"][0]
    assert report(out).num_images == 7


def test_without_classes_there_is_no_labels_file(tmp_path: Path):
    data = prepared(tmp_path / "p", pictures(2, 4))
    out = write_tfrecords(data, tmp_path / "set")
    assert [path.name for path in out.iterdir()] == ["set-r02.tfrecords"]
    assert prepare(out, tmp_path / "again", DataConfig(resolution=4)).num_classes == 0


def test_one_file_of_a_set_can_be_given(tmp_path: Path):
    data = prepared(tmp_path / "p", pictures(3, 8), np.array([0, 1, 1]))
    out = write_tfrecords(data, tmp_path / "set", shuffle=False)
    listing = find_source(out / "set-r02.tfrecords").listing("classes")
    assert listing.num_items == 3
    held = [(item.name, item.label, np.asarray(item.open()).shape) for item in listing.items]
    assert held[0] == ("set-r02.tfrecords/0", 0, (4, 4, 3))
    assert [label for _, label, _ in held] == [0, 1, 1]


def test_a_class_without_pictures_stays(tmp_path: Path):
    """The width of the rows is the number of classes, whichever occur."""
    record_set(tmp_path / "set", pictures(2, 4), np.eye(5, dtype=np.float32)[[1, 1]])
    assert len(find_source(tmp_path / "set").listing("classes").class_names) == 5
    assert find_source(tmp_path / "set").listing("none").class_names == []


# --- what is refused ----------------------------------------------------------------


def problem(path: Path, labels: str = "classes") -> str:
    with pytest.raises(DataError) as caught:
        list(find_source(path).listing(labels).items)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (0, "the checksum of its length differs"),
        (9, "the checksum of its length differs"),
        (60, "its checksum differs"),
        (97, "its checksum differs"),
    ],
)
@pytest.mark.parametrize("record", [0, 2])
def test_a_flipped_bit_names_file_offset_and_remedy(
    golden: Golden, tmp_path: Path, at: int, what: str, record: int
):
    content = bytearray(golden(f"pggan/{FORM}/{FORM}-r02.tfrecords").read_bytes())
    content[98 * record + at] ^= 4
    file = tmp_path / "set-r02.tfrecords"
    file.write_bytes(content)
    line = problem(tmp_path)
    assert line.startswith(f"{file}: the record at byte {98 * record} is damaged ({what}")
    assert "download the file again, or write it anew" in line


@pytest.mark.parametrize("length", [3, 97, 98 + 11, 98 + 50, 98 * 2 + 97])
def test_a_cut_names_file_offset_and_remedy(golden: Golden, tmp_path: Path, length: int):
    content = golden(f"pggan/{FORM}/{FORM}-r02.tfrecords").read_bytes()
    file = tmp_path / "set-r02.tfrecords"
    file.write_bytes(content[:length])
    line = problem(tmp_path)
    assert line.startswith(f"{file}: the record at byte {length // 98 * 98} is damaged (")
    assert "again" in line


def test_a_length_beyond_reason_is_not_believed(tmp_path: Path):
    header = (2**62).to_bytes(8, "little")
    crc = google_crc32c.value(header)
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    (tmp_path / "set-r02.tfrecords").write_bytes(header + masked.to_bytes(4, "little"))
    assert "at most" in problem(tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xff\xff", "is no tf.train.Example"),
        (b"", "holds nothing, not 'shape' and 'data'"),
        (example_of(np.zeros((3, 4, 4), np.uint8)).replace(b"shape", b"sHape"), "'sHape'"),
        (example_of(np.zeros((5, 4, 4), np.uint8)), "has the shape [5, 4, 4]"),
        (example_of(np.zeros((4, 4), np.uint8)), "has the shape [4, 4]"),
        (example_of(np.zeros((3, 4, 4), np.uint8)).replace(b"\3\4\4", b"\3\4\5"), "holds 48 bytes"),
    ],
)
def test_other_examples(tmp_path: Path, content: bytes, what: str):
    file = tmp_path / "set-r02.tfrecords"
    file.write_bytes(framed(content))
    line = problem(tmp_path)
    assert line.startswith(f"{file}: the record at byte 0 ")
    assert what in line


def test_unpacked_shapes_are_read(tmp_path: Path):
    """Other writers store the three numbers one by one."""
    packed = example_of(np.arange(16, dtype=np.uint8).reshape(1, 4, 4))
    one_by_one = packed.replace(b"\x1a\x05\x0a\x03\1\4\4", b"\x1a\x06\x08\1\x08\4\x08\4")
    one_by_one = one_by_one.replace(b"\x12\x07\x1a", b"\x12\x08\x1a")
    one_by_one = one_by_one.replace(b"\x0a\x10\x0a\x05shape", b"\x0a\x11\x0a\x05shape")
    one_by_one = b"\x0a" + bytes((one_by_one[1] + 1,)) + one_by_one[2:]
    np.testing.assert_array_equal(
        pixels_of(one_by_one, tmp_path, 0), pixels_of(packed, tmp_path, 0)
    )


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (np.array([[0.5, np.nan], [1, 0]], np.float32), "row 0, column 1 is nan"),
        (np.array([[1, 1, 0], [1, 0, 1e39]], np.float64), "row 1, column 2 is 1e+39"),
        (np.zeros((2, 100_001), np.float32), "shape (2, 100001)"),
        (np.zeros((3, 2), np.float32), "3 labels, set-r02.tfrecords has 2 pictures"),
        (np.array([0, 1], np.float32), "shape (2,)"),
        (np.eye(3, dtype=np.float32), "3 labels, set-r02.tfrecords has 2 pictures"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, labels: np.ndarray, what: str):
    record_set(tmp_path / "set", pictures(2, 4), labels)
    line = problem(tmp_path / "set")
    assert line.startswith(str(tmp_path / "set" / "set-rxx.labels"))
    assert what in line
    assert "--labels none" in line
    assert len(list(find_source(tmp_path / "set").listing("none").items)) == 2


def test_labels_of_mixed_records_are_counted_while_reading(tmp_path: Path):
    file = record_set(tmp_path / "set", pictures(2, 4), np.eye(2, dtype=np.float32))
    file.write_bytes(file.read_bytes() + framed(example_of(np.zeros((3, 8, 8), np.uint8))))
    assert "more than 2" in problem(tmp_path / "set")


@pytest.mark.parametrize(
    ("size", "channels", "what"),
    [(12, 3, "the nearest is 16"), (2, 1, "the nearest is 4"), (8, 2, "2 channels")],
)
def test_sizes_that_cannot_be_written(tmp_path: Path, size: int, channels: int, what: str):
    data = prepared(tmp_path / "p", pictures(2, size, channels))
    with pytest.raises(DataError, match=what):
        write_tfrecords(data, tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "p.npz"]


def test_out_must_be_new_and_pictures_square(tmp_path: Path):
    data = prepared(tmp_path / "p", pictures(2, 4))
    with pytest.raises(DataError, match="exists already"):
        write_tfrecords(data, tmp_path / "p")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 4)).save(tmp_path / "photos" / "a.png")
    kept = prepare(tmp_path / "photos", tmp_path / "k", DataConfig(resolution=4, crop="random"))
    with pytest.raises(DataError, match="keep their aspects"):
        write_tfrecords(kept, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert not list(tmp_path.glob(".tmp-*"))


def test_levels():
    assert [level_of(size, "x") for size in (4, 32, 1024)] == [2, 5, 10]
    with pytest.raises(DataError, match=r"x: 48 pixels .* nearest is 64"):
        level_of(48, "x")


def test_labels_of_which_no_one_knows_whose_they_are(tmp_path: Path):
    file = record_set(tmp_path / "a", pictures(2, 4))
    for name in ("x", "y"):
        np.save(tmp_path / "a" / name, np.eye(2, dtype=np.float32))
        (tmp_path / "a" / f"{name}.npy").rename(tmp_path / "a" / f"{name}.labels")
    (finding,) = find_source(file).listing("classes").warnings
    assert finding.kind == "labels_lost"
    assert "x.labels, y.labels" in finding.message
    assert finding.message.endswith("call it a-rxx.labels")


def test_several_sets_in_one_folder(tmp_path: Path):
    for name in ("a", "b"):
        file = record_set(tmp_path / name, pictures(2, 4))
        (tmp_path / "both").mkdir(exist_ok=True)
        file.rename(tmp_path / "both" / file.name)
    assert "files of several sets (a, b)" in problem(tmp_path / "both")
    assert find_source(tmp_path / "both" / "b-r02.tfrecords").listing("none").num_items == 2


def test_without_the_package_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    record_set(tmp_path / "set", pictures(1, 4))
    monkeypatch.setitem(__import__("sys").modules, "google_crc32c", None)
    with pytest.raises(LimnerError, match=r"limner\[tfrecord\]"):
        list(find_source(tmp_path / "set").listing("none").items)
