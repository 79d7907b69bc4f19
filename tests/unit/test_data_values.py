"""Values of more than 8 bits by one range a set; frames, bands and transparency are told or kept."""

import io
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from limner.api.pictures import read_pictures
from limner.api.scoring import pictures_for
from limner.core.errors import ConfigError, DataError
from limner.data import DataConfig, PreparedData, prepare, report, told
from pictures import COLOR, GRAY, chunk, floats, integers, saved

CONFIG = DataConfig(resolution=8)
STEPS = np.arange(64).reshape(8, 8)
TWELVE = (STEPS * 65).astype(np.uint16)  # 0 to 4095
COLOR12 = np.stack([TWELVE, TWELVE.T, 4095 - TWELVE], 2)
Range = tuple[float, float]


def tiff(values: np.ndarray, extra: tuple[int, ...] = (), sample_format: int = 1) -> bytes:
    """A TIFF of any numbers and bands, uncompressed; `extra` says what bands beyond the colors are
    (0: unspecified, 2: transparency)."""
    height, width = values.shape[:2]
    num_bands = values.shape[2] if values.ndim == 3 else 1
    content = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    photometric = 1 if num_bands - len(extra) == 1 else 2
    tags: list[tuple[int, str, list[int]]] = [
        (256, "I", [width]), (257, "I", [height]), (258, "H", [8 * values.itemsize] * num_bands),
        (259, "H", [1]), (262, "H", [photometric]), (273, "I", [0]), (277, "H", [num_bands]),
        (278, "I", [height]), (279, "I", [len(content)]), (338, "H", list(extra)),
        (339, "H", [sample_format] * num_bands),
    ]  # fmt: skip
    tags = [tag for tag in tags if tag[2]]
    place = 8 + 2 + 12 * len(tags) + 4
    entries, beyond = b"", b""
    size = sum(
        struct.calcsize(f"<{len(v)}{t}") for _, t, v in tags if len(v) * struct.calcsize(t) > 4
    )
    for number, kind, held in tags:
        held = [place + size] if number == 273 else held
        packed = struct.pack(f"<{len(held)}{kind}", *held)
        if len(packed) > 4:
            beyond, packed = beyond + packed, struct.pack("<I", place + len(beyond))
        entries += struct.pack("<HHI", number, {"H": 3, "I": 4}[kind], len(held))
        entries += packed.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + beyond + content


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16-bit colors, which Pillow cannot write."""
    color = {3: 2, 4: 6}[values.shape[2]]
    header = struct.pack(">IIBBBBB", *values.shape[1::-1], 16, color, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in values))
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def made(root: Path, suffix: str, *contents: bytes, **settings) -> PreparedData:
    """Pictures of these contents, prepared; what is told of them is the same in the report."""
    (root / "set").mkdir(exist_ok=True)
    for number, content in enumerate(contents):
        (root / "set" / f"{number}{suffix}").write_bytes(content)
    data = prepare(root / "set", root / "out", CONFIG.replace(**settings))
    if not settings:
        kinds = [finding.kind for finding in report(root / "set").warnings]
        assert set(kinds) - {"duplicates", "few_images"} >= set(warned(data))
    return data


def warned(data: PreparedData) -> dict[str, str]:
    return {entry["kind"]: entry["message"] for entry in data.info["warnings"]}


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.rint((values.astype(float) - low).clip(0, high - low) * 255 / (high - low))


# --- deep values ---------------------------------------------------------------

TWELVE_BITS = {
    "gray png": (".png", saved(Image.fromarray(TWELVE), "PNG"), TWELVE),
    "gray tiff": (".tif", tiff(TWELVE), TWELVE),
    "gray tiff, compressed": (
        ".tif", saved(Image.fromarray(TWELVE), "TIFF", compression="tiff_lzw"), TWELVE,
    ),
    "integers of 32 bits": (".tif", integers(TWELVE), TWELVE),
    "color png": (".png", deep_png(COLOR12), COLOR12),
    "color tiff": (".tif", tiff(COLOR12), COLOR12),
}  # fmt: skip


@pytest.mark.parametrize("kind", TWELVE_BITS)
def test_twelve_bits_are_told_and_scaled_by_one_range(tmp_path: Path, kind: str):
    suffix, content, values = TWELVE_BITS[kind]
    data = made(tmp_path, suffix, content)
    assert data.images.max() <= 16
    assert "--value-range 0,4095 (data.value_range=[0,4095])" in warned(data)["value_range"]
    assert any("come out dark" in line for line in told(data))
    (tmp_path / "again").mkdir()
    data = made(tmp_path / "again", suffix, content, value_range=(0, 4095))
    assert (data.images[0].squeeze() == scaled(values, 0, 4095)).all()
    assert "value_range" not in warned(data)
    assert data.info["settings"]["value_range"] == [0, 4095]


def test_one_range_for_all_pictures(tmp_path: Path):
    dim = (TWELVE // 10).astype(np.uint16)
    contents = [saved(Image.fromarray(values), "PNG") for values in (TWELVE, dim)]
    data = made(tmp_path, ".png", *contents, value_range=(0, 4095))
    assert (data.images[1, ..., 0] == scaled(dim, 0, 4095)).all()


def test_what_lies_beyond_a_range_is_cut_and_told(tmp_path: Path):
    contents = [saved(Image.fromarray(values), "PNG") for values in (TWELVE, TWELVE // 10)]
    data = made(tmp_path, ".png", *contents, value_range=(0, 2000))
    assert (data.images[0, ..., 0] == scaled(TWELVE, 0, 2000)).all()
    assert "1 of them are cut to value_range 0,2000" in warned(data)["value_range"]
    (tmp_path / "again").mkdir()
    data = made(
        tmp_path / "again", ".png", saved(Image.fromarray(COLOR), "PNG"), value_range=(0, 9)
    )
    assert (data.images[0] == COLOR).all()
    assert "no picture has more than 8 bits" in warned(data)["value_range"]
    with pytest.raises(ConfigError, match="the second must be the larger"):
        DataConfig(resolution=8, value_range=(9, 9))


# kind: pictures, and the range that all of them are scaled by
KNOWN: dict[str, tuple[list[np.ndarray], Range]] = {
    "floats to 1": ([STEPS / 63, STEPS / 630], (0, 1)),
    "floats to 255, one dark": ([STEPS * 4.0, STEPS / 63], (0, 255)),
    "floats from -1": ([STEPS / 32 - 1, STEPS / 63], (-1, 1)),
    "integers to 255": ([STEPS * 4, STEPS // 9], (0, 255)),
    "integers to 65535": ([STEPS * 1040, STEPS * 3], (0, 65535)),
}


@pytest.mark.parametrize("form", ["tiff", "npz", "hdf5"])
@pytest.mark.parametrize("kind", KNOWN)
def test_known_ranges_hold_for_the_whole_set(tmp_path: Path, kind: str, form: str):
    pictures, (low, high) = KNOWN[kind]
    stack = np.stack(pictures)
    if form == "tiff":
        write = floats if stack.dtype.kind == "f" else integers
        data = made(tmp_path, ".tif", *(write(values) for values in pictures))
        stack = stack.astype(np.float32) if stack.dtype.kind == "f" else stack
    elif form == "npz":
        np.savez(tmp_path / "a.npz", images=stack)
        data = prepare(tmp_path / "a.npz", tmp_path / "out", CONFIG)
    else:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["images"] = stack
        data = prepare(tmp_path / "a.h5", tmp_path / "out", CONFIG)
    assert (data.images[..., 0] == scaled(stack, low, high)).all()
    assert f"{low:g} to {high:g} become black to white" in data.info["notes"][0]


SIGNED = [(STEPS * 40 - 1000).astype(np.int16), (STEPS * 3).astype(np.int16)]


@pytest.mark.parametrize("form", ["tiff", "npz"])
def test_signed_values_need_a_range(tmp_path: Path, form: str):
    """Both pictures are refused: the second alone would be scaled in another way than the first."""
    source = tmp_path / "a.npz"
    np.savez(source, images=np.stack(SIGNED))
    if form == "tiff":
        source = tmp_path / "set"
        source.mkdir()
        for number, values in enumerate(SIGNED):
            (source / f"{number}.tif").write_bytes(tiff(values, sample_format=2))
    asked = r"2 refused.* values from -1000 to 1520 .*--value-range=-1000,1520"
    with pytest.raises(DataError, match=asked):
        prepare(source, tmp_path / "no", CONFIG)
    data = prepare(source, tmp_path / "out", CONFIG.replace(value_range=(-1000, 1520)))
    assert (data.images[..., 0] == scaled(np.stack(SIGNED), -1000, 1520)).all()


def test_signed_bytes_are_not_taken_for_large_ones(tmp_path: Path):
    values = (STEPS - 30).astype(np.int8)
    with pytest.raises(DataError, match="values from -30 to 33"):
        made(tmp_path, ".tif", tiff(values, sample_format=2))
    data = made(tmp_path, ".tif", tiff(values, sample_format=2), value_range=(-30, 33))
    assert (data.images[0, ..., 0] == scaled(values, -30, 33)).all()


def test_bytes_that_are_nearly_black(tmp_path: Path):
    np.savez(tmp_path / "a.npz", images=(STEPS > 9)[None].astype(np.uint8))
    data = prepare(tmp_path / "a.npz", tmp_path / "out", CONFIG)
    assert "brightest value of all pictures is 1 of 255" in warned(data)["dark"]
    assert "dark" in [finding.kind for finding in report(tmp_path / "a.npz").warnings]


# --- frames -------------------------------------------------------------------


def frames(kind: str, num: int) -> bytes:
    shades = [Image.fromarray(np.roll(COLOR, k, 0)) for k in range(num)]
    return saved(shades[0], kind, save_all=True, append_images=shades[1:])


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG", "AVIF"])
def test_frames_are_counted(tmp_path: Path, kind: str):
    data = made(
        tmp_path, ".png", frames(kind, 3), frames(kind, 5), saved(Image.fromarray(COLOR), kind)
    )
    message = warned(data)["frames"]
    assert message.startswith("several frames or pages in 2 files, 8 in all, such as 0.png")
    wrong = [np.abs(data.images[0] - np.roll(COLOR, k, 0).astype(float)).mean() for k in range(3)]
    assert np.argmin(wrong) == 0  # the first frame; some of the formats lose a little


def test_the_preview_behind_a_photograph_is_no_frame(tmp_path: Path):
    assert "frames" not in warned(made(tmp_path, ".jpg", frames("MPO", 2)))


def test_damage_behind_the_first_frame_costs_nothing_else(tmp_path: Path):
    content = frames("GIF", 3)
    data = made(tmp_path, ".gif", content[: len(content) * 2 // 3])
    assert data.info["num_refused"] == 0
    assert "frames" in warned(data)


# --- a fourth channel ------------------------------------------------------------

ALPHA = np.dstack([COLOR, np.repeat(np.arange(8)[:, None] * 30, 8, 1).astype(np.uint8)])
FOUR = {
    "png": (".png", saved(Image.fromarray(ALPHA), "PNG")),
    "webp": (".webp", saved(Image.fromarray(ALPHA), "WEBP", lossless=True, exact=True)),
    "tga": (".tga", saved(Image.fromarray(ALPHA), "TGA")),
    "tiff, transparency": (".tif", tiff(ALPHA, (2,))),
    "tiff, unspecified": (".tif", tiff(ALPHA, (0,))),
    "tiff, unspecified, 16 bits": (".tif", tiff(ALPHA.astype(np.uint16) * 257, (0,))),
}


@pytest.mark.parametrize("kind", FOUR)
def test_a_fourth_channel_is_told_and_kept_where_asked(tmp_path: Path, kind: str):
    suffix, content = FOUR[kind]
    data = made(tmp_path, suffix, content)
    assert data.image_shape == (3, 8, 8)
    told_kind = "bands" if "unspecified" in kind else "alpha"
    assert "--channels 4 (data.channels=4) keeps the fourth" in warned(data)[told_kind]
    (tmp_path / "again").mkdir()
    data = made(tmp_path / "again", suffix, content, channels=4)
    assert (data.images[0] == ALPHA).all()
    assert warned(data) == {}


def test_transparency_that_hides_nothing_is_no_warning(tmp_path: Path):
    opaque = np.dstack([COLOR, np.full((8, 8), 255, np.uint8)])
    assert warned(made(tmp_path, ".png", saved(Image.fromarray(opaque), "PNG"))) == {}


def test_pictures_without_a_fourth_channel_are_opaque_and_told(tmp_path: Path):
    contents = [saved(Image.fromarray(values), "PNG") for values in (ALPHA, COLOR, GRAY)]
    data = made(tmp_path, ".png", *contents, channels=4)
    assert (data.images[1, ..., 3] == 255).all()
    assert (data.images[2, ..., :3] == GRAY[..., None]).all()
    assert "no fourth channel in 2 pictures, such as 1.png" in warned(data)["opaque"]


def test_bands_beyond_the_fourth(tmp_path: Path):
    five = np.dstack([ALPHA, GRAY])
    data = made(tmp_path, ".tif", tiff(five, (0, 0)), channels=4)
    assert (data.images[0] == ALPHA).all()
    assert "store the pictures in an .npz" in warned(data)["more bands"]
    data = prepare(tmp_path / "set", tmp_path / "three", CONFIG)
    assert (data.images[0] == COLOR).all()
    assert set(warned(data)) == {"bands"}


def test_color_does_not_bleed_from_under_transparency(tmp_path: Path):
    """Half of it opaque red, half transparent green: no pixel in between gets any green."""
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8], pixels[8:] = (255, 0, 0, 255), (0, 255, 0, 0)
    data = made(
        tmp_path, ".png", saved(Image.fromarray(pixels), "PNG"), channels=4, filter="bicubic"
    )
    assert data.images[0, ..., 1].max() == 0


def test_other_colors_are_told(tmp_path: Path):
    file = io.BytesIO()
    Image.fromarray(COLOR).convert("CMYK").save(file, "JPEG")
    data = made(tmp_path, ".jpg", file.getvalue())
    assert data.info["notes"] == ["1 CMYK picture became RGB; color profiles are not applied"]


# --- scores ---------------------------------------------------------------------


def test_scores_tell_what_was_done_to_pictures(tmp_path: Path):
    for name, values in (("sky", ALPHA), ("deep", TWELVE)):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(values).save(tmp_path / name / f"{number}.png")
    with pytest.warns(UserWarning, match="transparency in 2 pictures"):
        images = read_pictures(tmp_path / "sky")
    assert images.image_shape == (3, 8, 8)
    with pytest.warns(UserWarning, match="values 0 to 4095 in 2 pictures of 16 bits"):
        pictures_for((1, 8, 8), "classes", tmp_path / "deep")
