"""TensorFlow checkpoints: every variable, and every kind of damage by its file's name."""

import functools
import json
import sys

import numpy as np
import pytest

import bundles
from limner.core.errors import CheckpointError, MissingExtra
from limner.formats.tensorflow_bundle import TensorflowBundle, masked_crc32c

VARIABLES = {
    "Generator/conv0/w": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "Generator/conv0/w/ema": -np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "Generator/conv0/b": np.array([1.5, -2.5], np.float64),
    "Generator/conv1/b": np.zeros((0, 3), np.int32),
    "flag": np.array([True, False]),
    "global_step": np.array(150_000),
}


def write(folder, files):
    for ending, content in files.items():
        (folder / f"variables{ending}").write_bytes(content)
    return folder / "variables"


def with_pairs(folder, pairs, data=b"", **options):
    files = {".index": bundles.table(pairs, **options), ".data-00000-of-00001": data}
    return write(folder, files)


@pytest.mark.parametrize("num_shards", [1, 3])
def test_variables_come_back(tmp_path, num_shards):
    found = TensorflowBundle(write(tmp_path, bundles.bundle(VARIABLES, num_shards)))
    assert set(found.entries) == set(VARIABLES)
    for name, array in VARIABLES.items():
        got = found.read(name)
        assert got.dtype == array.dtype
        np.testing.assert_array_equal(got, array)


def test_what_tensorflow_wrote(golden):
    h5py = pytest.importorskip("h5py")
    folder = golden("biggan_tfhub/tfhub_module_128_ch4")
    listed = json.loads((folder / "variables.json").read_text())
    found = TensorflowBundle(folder / "variables" / "variables")
    assert set(found.entries) == set(listed)
    with h5py.File(folder / "dump.h5") as dump:
        for name, (dtype, shape) in listed.items():
            array = found.read(name)
            assert (str(array.dtype), list(array.shape)) == (dtype, shape)
            np.testing.assert_array_equal(array, dump[f"module/{name}:0"][()])


def test_the_checksum_is_that_of_the_standard():
    assert bundles.google_crc32c.value(b"123456789") == 0xE3069283  # RFC 3720's check value
    unmasked = (masked_crc32c(b"123456789") - 0xA282EAD8) & 0xFFFFFFFF
    assert (unmasked >> 17 | unmasked << 15) & 0xFFFFFFFF == 0xE3069283


def test_bfloat16_is_widened(tmp_path):
    content = np.array([0x3FC0, 0xC000], "<u2").tobytes()  # 1.5 and -2
    pairs = [(b"", bundles.header(1)), (b"x", bundles.entry(14, [2], 0, 0, content))]
    array = TensorflowBundle(with_pairs(tmp_path, pairs, content)).read("x")
    assert array.dtype == np.float32
    assert array.tolist() == [1.5, -2.0]


def test_missing_data_files_are_named(tmp_path):
    prefix = write(tmp_path, bundles.bundle(VARIABLES, 3))
    for number in (0, 2):
        (tmp_path / f"variables.data-0000{number}-of-00003").unlink()
    with pytest.raises(CheckpointError) as caught:
        TensorflowBundle(prefix)
    assert "variables.data-00000-of-00003, variables.data-00002-of-00003" in str(caught.value)
    assert "00001-of" not in str(caught.value)


def test_a_cut_data_file_is_named(tmp_path):
    files = bundles.bundle(VARIABLES)
    files[".data-00000-of-00001"] = files[".data-00000-of-00001"][:-1]
    with pytest.raises(CheckpointError, match=r"data-00000-of-00001: damaged .*global_step"):
        TensorflowBundle(write(tmp_path, files))


def test_a_flipped_bit_is_found_in_its_variable(tmp_path):
    files = bundles.bundle(VARIABLES)
    data = bytearray(files[".data-00000-of-00001"])
    data[-1] ^= 1
    found = TensorflowBundle(write(tmp_path, {**files, ".data-00000-of-00001": bytes(data)}))
    with pytest.raises(CheckpointError, match=r"data-00000-of-00001: 'global_step' is damaged"):
        found.read("global_step")
    assert found.read("Generator/conv0/w").shape == (2, 3, 4)


def test_any_flipped_byte_of_the_index_is_found(tmp_path):
    files = bundles.bundle(VARIABLES, 2)
    content = files[".index"]
    write(tmp_path, files)
    meta = content.index(bundles.block([]))
    unread = [*range(meta, meta + len(bundles.block([]))), *range(len(content) - 48, len(content))]
    for i in range(len(content)):
        if i not in unread:  # the empty meta block; the footer, whose magic has a test of its own
            (tmp_path / "variables.index").write_bytes(
                content[:i] + bytes([content[i] ^ 0x55]) + content[i + 1 :]
            )
            with pytest.raises(CheckpointError, match=r"variables\.index: .*the checksum"):
                TensorflowBundle(tmp_path / "variables")


@pytest.mark.parametrize(
    ("pairs", "options", "said"),
    [
        ([(b"", bundles.header(1))], {"kind": 1}, "Snappy"),
        ([], {}, "empty"),
        ([(b"x", b"")], {}, "header"),
        ([(b"", bundles.header(0))], {}, "0 data files"),
        ([(b"", bundles.header(10**6))], {}, "1000000 data files"),
        ([(b"", bundles.header(1, endianness=1))], {}, "big-endian"),
        ([(b"", bundles.header(1)), (b"x", b"\xff" * 11)], {}, "an entry cannot be read"),
        ([(b"", bundles.header(1)), (b"x", bundles.field(1, 1) * 2000)], {}, "an entry"),
        ([(b"", bundles.header(1)), (b"x", bundles.field(3, 1))], {}, "data file 1 of 1"),
        ([(b"", bundles.header(1)), (b"x", bundles.entry(1, [2**60], 0, 0, b""))], {}, "shape"),
        ([(b"", bundles.header(1)), (b"x", bundles.entry(1, [1] * 9, 0, 0, b""))], {}, "shape"),
        ([(b"", bundles.header(1)), (b"x", b""), (b"x", b"")], {}, "twice"),
    ],
)
def test_indexes_that_mean_harm_or_another_format(tmp_path, pairs, options, said):
    with pytest.raises(CheckpointError, match=said) as caught:
        TensorflowBundle(with_pairs(tmp_path, pairs, **options))
    assert str(tmp_path / "variables.index") in str(caught.value)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda c: bundles.entry(7, [2], 0, 0, c), "type 7"),
        (lambda c: bundles.entry(1, [2], 0, 0, c) + bundles.field(7, b""), "slices"),
        (lambda c: bundles.entry(1, [3], 0, 0, c), r"shape \[3\], which 8 bytes"),
        (lambda c: bundles.entry(1, [2], 0, 0, c, crc=1), "checksum"),
    ],
)
def test_variables_that_cannot_be_read(tmp_path, made, said):
    content = np.ones(2, np.float32).tobytes()
    pairs = [(b"", bundles.header(1)), (b"x", made(content))]
    found = TensorflowBundle(with_pairs(tmp_path, pairs, content))
    with pytest.raises(CheckpointError, match=said):
        found.read("x")


def test_the_same_bytes_twice_are_refused(tmp_path):
    """So that a small file cannot be read as many large variables."""
    content = np.ones(2, np.float32).tobytes()
    pairs = [(b"", bundles.header(1))]
    pairs += [(name, bundles.entry(1, [2], 0, 0, content)) for name in (b"x", b"y")]
    with pytest.raises(CheckpointError, match="'y' overlaps another variable"):
        TensorflowBundle(with_pairs(tmp_path, pairs, content))


def test_endless_prefixes_are_refused(tmp_path, monkeypatch):
    long = b"a" * 60_000
    pairs = [(b"", bundles.header(1))]
    pairs += [(long + b"%03d" % i, b"") for i in range(200)]
    block = bundles.block(pairs, restart_every=1000)
    assert len(block) < 62_000
    monkeypatch.setattr(bundles, "block", functools.partial(bundles.block, restart_every=1000))
    with pytest.raises(CheckpointError, match="keys are longer"):
        TensorflowBundle(with_pairs(tmp_path, pairs, per_block=1000))


def test_other_files_and_none(tmp_path):
    (tmp_path / "variables.index").write_bytes(b"x" * 100)
    with pytest.raises(CheckpointError, match="not the index of a TensorFlow checkpoint"):
        TensorflowBundle(tmp_path / "variables")
    with pytest.raises(CheckpointError, match=r"none\.index: no such file"):
        TensorflowBundle(tmp_path / "none")


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    prefix = write(tmp_path, bundles.bundle(VARIABLES))
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(MissingExtra, match=r"limner\[import\]"):
        TensorflowBundle(prefix)
