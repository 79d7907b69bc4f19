"""Sheets put every pixel in its place; files say where they come from."""

import numpy as np
import pytest
import torch
from PIL import Image
from toy_sampling import toy_generator, toy_model

from limner.core.errors import LimnerError, MissingExtra
from limner.core.images import to_uint8
from limner.sampling import (
    FixedSamples,
    WalkStyle,
    class_sheet,
    generate,
    interpolate,
    latents_from_seeds,
    parse_endpoint,
    save_animation,
    save_png,
    sheet,
)
from limner.sampling.writing import write_npz


def flat(num, size=64, channels=3):
    """Picture i is all of the value 10 i."""
    values = 10 * np.arange(num, dtype=np.uint8)
    return np.broadcast_to(values[:, None, None, None], (num, size, size, channels)).copy()


def test_pictures_stand_in_rows_in_order_with_white_between():
    paper = np.asarray(sheet(flat(5), columns=2, padding=3))
    assert paper.shape == (3 * 67 + 3, 2 * 67 + 3, 3)
    for i in range(5):
        y, x = 3 + i // 2 * 67, 3 + i % 2 * 67
        assert (paper[y : y + 64, x : x + 64] == 10 * i).all()
    assert (paper[:3] == 255).all()
    assert (paper[:, 67:70] == 255).all()
    assert (paper[-67:, 70:] == 255).all(), "the empty place"


def test_small_pictures_are_enlarged_by_a_whole_factor():
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    paper = sheet(image, padding=0)
    assert paper.mode == "L"
    assert np.array_equal(np.asarray(paper), image[0, :, :, 0].repeat(8, 0).repeat(8, 1))
    assert sheet(flat(1, 8), padding=0, scale=1).size == (8, 8)


def test_many_small_pictures_do_not_burst_the_sheet():
    width, height = sheet(flat(1, 8).repeat(100 * 100, 0)).size
    assert max(width, height) < 5500


@pytest.mark.parametrize(
    ("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGB"), (5, "RGB")]
)
def test_any_number_of_channels_is_shown(channels, mode):
    images = flat(2, 64, channels)
    images[..., -1] = 255  # opaque, where the last channel is alpha
    paper = sheet(images, columns=2, padding=0)
    assert paper.mode == mode
    corner = np.asarray(paper.convert("RGB"))[0, 64]
    assert corner.tolist() == (
        [255] * 3 if channels == 1 else [10, 10, 255 if channels == 3 else 10]
    )


def test_transparent_means_paper():
    assert (np.asarray(sheet(np.zeros((1, 64, 64, 4), np.uint8))) == 255).all()


def test_labels_and_headings_leave_the_pictures_alone():
    plain = np.asarray(sheet(flat(4), columns=2))
    labelled = np.asarray(sheet(flat(4), columns=2, labels=["a", "b", "very " * 20, ""]))
    headed = np.asarray(sheet(flat(4), columns=2, headings=["left", "right"]))
    assert labelled.shape[0] > headed.shape[0] > plain.shape[0]
    assert np.array_equal(headed[-len(plain) + 2 :], plain[2:])
    assert (headed[: len(headed) - len(plain)] < 200).any(), "the text is visible"


@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (flat(2).astype(np.float32), {}, "must be uint8"),
        (flat(2)[0], {}, "must be uint8"),
        (flat(2), {"labels": ["a"]}, "1 labels for 2 images"),
        (flat(2), {"columns": 2, "headings": ["a"]}, "1 headings for 2 columns"),
    ],
)
def test_wrong_sheets_are_refused(images, arguments, message):
    with pytest.raises(LimnerError, match=message):
        sheet(images, **arguments)


def test_a_class_sheet_has_one_column_a_class():
    paper = np.asarray(class_sheet(flat(6), [4, 7]))  # class 4: 0 10 20, class 7: 30 40 50
    bottom = paper[-10]
    assert (bottom[10] == 20).all()
    assert (bottom[-10] == 50).all()
    with pytest.raises(LimnerError, match="do not divide"):
        class_sheet(flat(5), [4, 7])


def test_a_png_carries_its_texts(tmp_path):
    text = {"seed": "7", "truncation": "0.5", "class_name": "鶏 <b>", "model_sha256": "ab" * 32}
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    save_png(image, tmp_path / "new" / "x.png", text)
    with Image.open(tmp_path / "new" / "x.png") as read:
        assert read.text == text
        assert np.array_equal(np.asarray(read), image)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.png"]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_keeps_the_channels(tmp_path, channels):
    image = np.random.default_rng(0).integers(0, 256, (4, 4, channels), np.uint8)
    save_png(image, tmp_path / "x.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")).reshape(image.shape), image)


def test_five_channels_are_no_png(tmp_path):
    with pytest.raises(LimnerError, match="save an"):
        save_png(np.zeros((4, 4, 5), np.uint8), tmp_path / "x.png")


def test_an_npz_reproduces_the_samples(tmp_path):
    model = toy_model(3)
    plan = model.plan(num=4, classes="all")
    write_npz(model, plan, tmp_path / "s.npz", with_floats=True)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as read:
        assert {name: (read[name].dtype.name, read[name].shape) for name in read} == {
            "images": ("uint8", (12, 8, 8, 3)),
            "y": ("int64", (12,)),
            "z": ("float32", (12, 6)),
            "images_float": ("float32", (12, 3, 8, 8)),
        }
        assert np.array_equal(model.sample(z=read["z"], y=read["y"]), read["images"])
        as_bytes = to_uint8(torch.tensor(read["images_float"])).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(as_bytes, read["images"])


def test_an_npz_without_classes_has_zeros_and_the_name_given(tmp_path):
    model = toy_model()
    write_npz(model, model.plan(num=2), tmp_path / "plain")
    with np.load(tmp_path / "plain") as read:
        assert sorted(read) == ["images", "y", "z"]
        assert read["y"].tolist() == [0, 0]


# --- interpolation -----------------------------------------------------------


def test_the_ends_of_a_walk_are_their_own_samples():
    model = toy_model(4)
    for slerp in (False, True):
        walk = interpolate(model, "3:1", (5, 2), WalkStyle(5, slerp=slerp))
        assert walk.shape == (5, 8, 8, 3)
        ends = [model.sample(seeds=[3], classes=1)[0], model.sample(seeds=[5], classes=2)[0]]
        assert np.abs(walk[[0, -1]].astype(int) - np.stack(ends)).max() <= 1


def test_a_walk_along_one_keeps_the_other():
    model = toy_model(4)
    along_z = interpolate(model, (3, 1), (5, 2), WalkStyle(3, "z"))
    assert np.array_equal(along_z[-1:], model.sample(seeds=[5], classes=1))
    along_y = interpolate(model, (3, 1), (5, 2), WalkStyle(3, "y"))
    half = torch.tensor([[0.0, 0.5, 0.5, 0.0]])
    middle = model.sample(z=latents_from_seeds([3], 6), y=half)
    assert np.abs(along_y[1].astype(int) - middle[0]).max() <= 1


def test_slerp_keeps_the_length_that_a_straight_line_loses():
    model = toy_model()
    seen = []
    model.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].norm(dim=1)))
    interpolate(model, (1, None), (2, None), WalkStyle(9))
    interpolate(model, (1, None), (2, None), WalkStyle(9, slerp=True))
    straight, circle = seen
    assert circle.min() >= circle[[0, -1]].min() - 1e-5
    assert straight[4] < 0.95 * circle[4]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("num_classes", "ends", "style", "message"),
    [
        (3, ("0:3", "1"), {}, "class 3 is out of range"),
        (3, ((0, 9), (1, 0)), {}, "class 9 is out of range"),
        (3, ("x", "1"), {}, "no endpoint"),
        (3, ("0:all", "1"), {}, "names 3 classes"),
        (3, ("0", "1"), {"steps": 1}, "at least 2"),
        (3, ("0", "1"), {"along": "w"}, "unknown"),
        (0, ("0:1", "1"), {}, "no classes"),
        (0, ("0", "1"), {"along": "y"}, "no classes"),
    ],
)
def test_wrong_walks_are_refused(num_classes, ends, style, message):
    with pytest.raises(LimnerError, match=message):
        interpolate(toy_model(num_classes), *ends, WalkStyle(**style))


def test_endpoints_take_names():
    assert parse_endpoint("12:kind 2", toy_model(3)) == (12, 2)
    assert parse_endpoint("12", toy_model()) == (12, None)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_an_animation_goes_and_comes_back(tmp_path, suffix):
    save_animation(flat(4), tmp_path / f"a{suffix}", frames_per_second=20)
    with Image.open(tmp_path / f"a{suffix}") as read:
        assert read.n_frames == 6
        read.seek(2)
        read.load()
        assert read.info["duration"] == 50
        assert abs(int(np.asarray(read.convert("L"))[32, 32]) - 20) <= 2
    assert len(list(tmp_path.iterdir())) == 1


def test_mp4_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtra, match=r"limner\[video\]"):
        save_animation(flat(3), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
    with pytest.raises(LimnerError, match="no animation"):
        save_animation(flat(3), tmp_path / "a.avi")


# --- fixed latents -------------------------------------------------------------


def test_fixed_samples_are_the_same_until_the_weights_move():
    generator = toy_generator(3).train()
    draw = FixedSamples(6, num_classes=3, rows=2)
    first = np.asarray(draw(generator))
    generator(torch.randn(4, 6), torch.zeros(4, dtype=torch.int64)).sum().backward()
    assert generator.training
    generator.norm.reset_running_stats()
    assert not np.array_equal(first, np.asarray(draw(generator)))
    assert np.array_equal(first, np.asarray(draw(toy_generator(3))))


def test_fixed_samples_have_one_column_a_class_and_named_seeds():
    draw = FixedSamples(6, num_classes=1000, columns=20, rows=3, seed=50)
    assert draw.classes == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert draw.y.tolist() == draw.classes * 3
    assert torch.equal(draw.z[21], latents_from_seeds([50 + 2 * 10 + 1], 6)[0])


def test_fixed_samples_without_classes_are_a_plain_sheet():
    generator = toy_generator()
    expected = to_uint8(generate(generator, latents_from_seeds(range(6), 6)))
    paper = FixedSamples(6, columns=3, rows=2)(generator)
    assert np.array_equal(
        np.asarray(paper), np.asarray(sheet(expected.permute(0, 2, 3, 1).numpy(), columns=3))
    )
