"""Generators of styles: truncation in w, noise, walks, drifts, given styles, and scores of them."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from toy_sampling import toy_model

from limner.api.drawing import pieces
from limner.api.samples import SampleOptions, save_samples
from limner.api.scoring import evaluation_sampler
from limner.api.walks import WalkOptions, save_walk
from limner.checkpoints import ModelRecord, write_model
from limner.core.errors import LimnerError
from limner.core.images import to_uint8
from limner.engine.controllers.ema import average
from limner.metrics.path_length import path_lengths
from limner.sampling import (
    Drift,
    WalkStyle,
    generate,
    interpolate,
    latents_from_seeds,
    load,
)
from limner.sampling.drifting import on_curve
from limner.sampling.looks import Look, noise_of, pictures, truncated
from styled import LAYERS, StyledNetwork, W, styled_model


def drawn(model, styles, noise="const"):
    """The synthesis itself, float32 [N, C, H, W]."""
    return model.generator.synthesis(styles, noise=noise).numpy()


def styles_of_seeds(model, seeds, y=None):
    return model.generator.mapping(latents_from_seeds(seeds, model.z_dim), y)


def towards_mean(model, styles, psi):
    mean = model.generator.mean_style
    return mean + psi * (styles - mean)


# --- truncation --------------------------------------------------------------


def test_truncation_of_a_style_model_is_in_w_by_default():
    model = styled_model()
    found = model.sample(seeds=[4, 9], truncation=0.7, as_float=True)
    styles = towards_mean(model, styles_of_seeds(model, [4, 9]), 0.7)
    assert np.allclose(found, drawn(model, styles), atol=1e-6)
    whole = model.sample(seeds=[4, 9], as_float=True)
    assert np.allclose(whole, drawn(model, styles_of_seeds(model, [4, 9])), atol=1e-6)
    assert np.array_equal(model.sample(seeds=[4, 9], truncation=1.0, as_float=True), whole)
    assert model.plan(num=1, truncation=0.7).look == Look(0.7, "w", None, "const")


def test_a_cutoff_truncates_the_first_layers_only():
    model = styled_model()
    found = model.sample(seeds=[4], truncation=0.5, truncation_cutoff=2, as_float=True)
    styles = styles_of_seeds(model, [4])
    styles[:, :2] = towards_mean(model, styles[:, :2], 0.5)
    assert np.allclose(found, drawn(model, styles), atol=1e-6)
    all_layers = model.sample(seeds=[4], truncation=0.5, truncation_cutoff=LAYERS, as_float=True)
    assert np.array_equal(all_layers, model.sample(seeds=[4], truncation=0.5, as_float=True))


def test_truncation_0_is_the_mean_and_negative_ones_are_the_other_side():
    model = styled_model()
    mean = drawn(model, model.generator.mean_style.expand(2, LAYERS, W))
    assert np.allclose(model.sample(num=2, truncation=0.0, as_float=True), mean, atol=1e-6)
    opposite = towards_mean(model, styles_of_seeds(model, [5]), -1.0)
    found = model.sample(seeds=[5], truncation=-1.0, as_float=True)
    assert np.allclose(found, drawn(model, opposite), atol=1e-6)


def test_truncated_styles_are_those_of_the_formula():
    styles, mean = torch.randn(2, 4, 3), torch.randn(3)
    slow = styles.clone()
    for i in range(2):
        for layer in range(3):
            slow[i, layer] = mean + 0.3 * (styles[i, layer] - mean)
    assert torch.allclose(truncated(styles, mean, 0.3, 3), slow)


def test_resample_still_truncates_latents():
    model = styled_model()
    z = latents_from_seeds([4], model.z_dim, 0.5)
    found = model.sample(seeds=[4], truncation=0.5, truncation_mode="resample", as_float=True)
    assert np.allclose(found, drawn(model, model.generator.mapping(z)), atol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"truncation": 0.5, "truncation_mode": "scale"}, "'scale': styles are made of a latent's"),
        ({"truncation": 0.5, "truncation_mode": "statistics"}, "holds no statistics"),
        ({"truncation": 0.5, "truncation_cutoff": 4}, "cutoff 4: this model has 3 layers"),
        ({"truncation": 0.5, "truncation_cutoff": 0}, "cutoff 0: give a number of layers"),
        ({"truncation_cutoff": 2}, "together with a truncation"),
        (
            {"truncation": 0.5, "truncation_mode": "resample", "truncation_cutoff": 2},
            "in the mode w",
        ),
        ({"truncation": float("nan")}, "is not a finite number; give one"),
        ({"noise": "rand"}, "noise 'rand' is unknown; nearest is 'random'"),
        ({"styles": np.zeros((2, 4))}, r"shape \[2, 4\]; this model needs \[N, 5\] or \[N, 3, 5\]"),
        ({"styles": np.full((2, 5), np.nan)}, "not finite"),
        ({"styles": np.zeros((2, 5)), "num": 2}, "leave out num"),
        (
            {"styles": np.zeros((2, 5)), "truncation": 1.0, "truncation_mode": "resample"},
            "truncation modes other than w",
        ),
    ],
)
def test_what_a_style_model_cannot_do_is_one_line(arguments, words):
    with pytest.raises(LimnerError, match=words) as raised:
        styled_model().sample(**arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"truncation": 0.5, "truncation_mode": "w"}, "truncation mode 'w': this model has no"),
        ({"truncation": 0.5, "truncation_cutoff": 1}, "cutoff 1: this model has no styles"),
        ({"noise": "none"}, "noise 'none': this model has no styles"),
        ({"styles": np.zeros((2, 5))}, "this model has none"),
    ],
)
def test_a_model_without_styles_refuses_what_is_of_styles(arguments, words):
    with pytest.raises(LimnerError, match=words) as raised:
        toy_model().sample(**arguments)
    assert "\n" not in str(raised.value)


# --- noise -------------------------------------------------------------------


def test_noise_is_const_unless_asked():
    model = styled_model()
    styles = styles_of_seeds(model, [1, 2])
    assert np.allclose(model.sample(seeds="1-2", as_float=True), drawn(model, styles), atol=1e-6)
    quiet = model.sample(seeds="1-2", noise="none", as_float=True)
    assert np.allclose(quiet, drawn(model, styles, "none"), atol=1e-6)
    assert not np.allclose(quiet, drawn(model, styles), atol=1e-2)


def test_random_noise_belongs_to_the_seed_in_any_batch():
    model = styled_model()
    state = torch.get_rng_state()
    together = model.sample(seeds="0-6", noise="random", as_float=True)
    in_parts = model.sample(seeds="0-6", noise="random", as_float=True, batch_size=2)
    assert np.allclose(together, in_parts, atol=1e-5)
    alone = model.sample(seeds=[5], noise="random", as_float=True)
    assert np.allclose(alone[0], together[5], atol=1e-5)
    assert torch.equal(state, torch.get_rng_state())
    # the latent of seed 5 with the noise of another place
    other = model.sample(z=latents_from_seeds([5], model.z_dim), noise="random", as_float=True)
    assert not np.allclose(other[0], together[5], atol=1e-2)


def test_maps_of_noise_are_normal_and_each_layers_own():
    maps = noise_of([3, 8], torch.zeros(1))
    first, second = maps((2, 1, 64, 64)), maps((2, 1, 64, 64))
    both = torch.cat([first, second])
    assert both.dtype == torch.float32
    assert both.mean().abs() < 0.05
    assert abs(both.std() - 1) < 0.05
    rows = both.flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(4)).abs().max() < 0.08


def test_a_class_shows_a_seeds_noise_again():
    model = styled_model(3)
    rows = model.sample(seeds=[7, 8], classes=[2, 0], noise="random", as_float=True)
    one = model.sample(seeds=[8], classes=[0], noise="random", as_float=True)
    assert np.allclose(rows[3], one[0], atol=1e-5)


# --- classes, styles, files --------------------------------------------------


def test_classes_and_rows_that_mix_them():
    model = styled_model(3)
    z = latents_from_seeds([1, 2], model.z_dim)
    rows = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    found = model.sample(seeds=[1, 2], y=rows, truncation=0.6, as_float=True)
    styles = towards_mean(model, model.generator.mapping(z, rows), 0.6)
    assert np.allclose(found, drawn(model, styles), atol=1e-6)
    found = model.sample(num=4, as_float=True)
    styles = styles_of_seeds(model, range(4), torch.tensor([0, 1, 2, 0]))
    assert np.allclose(found, drawn(model, styles), atol=1e-6)


def test_styles_can_be_had_and_given():
    model = styled_model(3)
    plan = model.plan(seeds=[1, 2], classes=[1])
    styles = model.styles(plan)
    assert styles.shape == (2, LAYERS, W)
    wanted = model.sample(seeds=[1, 2], classes=[1], truncation=0.4, as_float=True)
    assert np.allclose(
        model.sample(styles=styles, truncation=0.4, as_float=True), wanted, atol=1e-6
    )
    same = model.sample(styles=styles[:, 0], truncation=0.4, as_float=True)
    assert np.allclose(same, wanted, atol=1e-6)
    with pytest.raises(LimnerError, match="no styles"):
        toy_model().styles(toy_model().plan(num=1))


def test_an_npz_of_given_styles_holds_them_and_can_be_given_back(tmp_path):
    model = styled_model()
    styles = model.styles(model.plan(num=3))
    save_samples(model, tmp_path / "a.npz", SampleOptions(styles=styles))
    with np.load(tmp_path / "a.npz") as file:
        assert sorted(file) == ["images", "styles", "y"]
        assert np.array_equal(file["images"], model.sample(num=3))
    save_samples(model, tmp_path / "b.npz", SampleOptions(styles=tmp_path / "a.npz"))
    with np.load(tmp_path / "b.npz") as file:
        assert np.array_equal(file["styles"], styles)


def test_a_png_says_truncation_cutoff_and_noise(tmp_path):
    model = styled_model()
    asked = SampleOptions(seeds=[3], truncation=0.7, truncation_cutoff=2, noise="random")
    save_samples(model, tmp_path / "a.png", asked)
    with Image.open(tmp_path / "a.png") as picture:
        text = picture.info
    assert (text["truncation"], text["truncation_mode"]) == ("0.7", "w")
    assert (text["truncation_cutoff"], text["noise"], text["seed"]) == ("2", "random", "3")
    save_samples(model, tmp_path / "b.png", SampleOptions(num=4))
    with Image.open(tmp_path / "b.png") as picture:
        assert (picture.info["truncation"], picture.info["noise"]) == ("none", "const")
    save_samples(toy_model(), tmp_path / "c.png", SampleOptions(num=1, truncation=0.7))
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.info["truncation_mode"] == "resample"
        assert "noise" not in picture.info


def test_a_model_folder_keeps_the_mean_style(tmp_path):
    model = styled_model(2)
    write_model(tmp_path / "m", ModelRecord(model.config, model.generator.state_dict()))
    again = load(tmp_path / "m", "cpu")
    assert torch.equal(again.generator.mean_style, model.generator.mean_style)
    wanted = model.sample(num=4, truncation=0.5)
    assert np.array_equal(again.sample(num=4, truncation=0.5), wanted)


def test_an_average_that_copies_buffers_has_the_mean_style_of_the_trained():
    ema, trained = StyledNetwork((1, 4, 4), 0), StyledNetwork((1, 4, 4), 0)
    average(ema, trained, decay=0.9, average_buffers=False)
    assert torch.equal(ema.mean_style, trained.mean_style)


def test_generation_moves_no_mean_style():
    model = styled_model()
    model.generator.train()
    before = model.generator.mean_style.clone()
    model.sample(num=4, truncation=0.5)
    assert torch.equal(model.generator.mean_style, before)
    assert model.generator.training


# --- walks -------------------------------------------------------------------


def test_a_walk_goes_straight_from_styles_to_styles():
    model = styled_model(3)
    frames = interpolate(model, "3:1", "5:2", WalkStyle(5, truncation=0.8))
    ends = styles_of_seeds(model, [3, 5], torch.tensor([1, 2]))
    share = torch.linspace(0, 1, 5)[:, None, None]
    way = towards_mean(model, ends[:1] + (ends[1:] - ends[:1]) * share, 0.8)
    wanted = to_uint8(torch.from_numpy(drawn(model, way))).permute(0, 2, 3, 1).numpy()
    assert abs(frames.astype(int) - wanted).max() <= 1
    ends = model.sample(seeds=[3], classes=[1], truncation=0.8)
    assert np.array_equal(frames[:1], ends)
    ends = model.sample(seeds=[5], classes=[2], truncation=0.8)
    assert np.array_equal(frames[-1:], ends)


def test_a_walk_in_w_keeps_the_latent_or_the_class_that_it_does_not_walk():
    model = styled_model(3)
    along_z = interpolate(model, (3, 1), (5, 2), WalkStyle(3, "z"))
    assert np.array_equal(along_z[-1:], model.sample(seeds=[5], classes=[1]))
    along_y = interpolate(model, (3, 1), (5, 2), WalkStyle(3, "y"))
    assert np.array_equal(along_y[-1:], model.sample(seeds=[3], classes=[2]))


def test_a_walk_in_z_is_asked_for_or_comes_with_circles():
    model = styled_model()
    in_w = interpolate(model, "3", "5", WalkStyle(5))
    in_z = interpolate(model, "3", "5", WalkStyle(5, space="z"))
    assert not np.array_equal(in_w, in_z)
    first, last = latents_from_seeds([3, 5], model.z_dim)
    z = torch.lerp(first, last, torch.linspace(0, 1, 5)[:, None])
    assert np.array_equal(in_z, model.sample(z=z))
    circles = interpolate(model, "3", "5", WalkStyle(5, slerp=True))
    assert np.array_equal(
        circles, interpolate(model, "3", "5", WalkStyle(5, slerp=True, space="z"))
    )


@pytest.mark.usefixtures("unchecked")
def test_spaces_that_a_walk_cannot_take_are_refused():
    with pytest.raises(LimnerError, match="slerp walks latents on circles"):
        interpolate(styled_model(), "3", "5", WalkStyle(5, slerp=True, space="w"))
    with pytest.raises(LimnerError, match="space 'w': this model has no styles"):
        interpolate(toy_model(), "3", "5", WalkStyle(5, space="w"))
    with pytest.raises(LimnerError, match="space 'x' is unknown"):
        interpolate(styled_model(), "3", "5", WalkStyle(5, space="x"))


def test_a_walk_with_random_noise_has_that_of_its_first_seed():
    model = styled_model()
    frames = interpolate(model, "3", "3", WalkStyle(4, noise="random"))
    assert (frames == frames[0]).all()
    assert np.array_equal(frames[:1], model.sample(seeds=[3], noise="random"))


def test_a_sheet_of_walks_says_how_it_was_made(tmp_path):
    model = styled_model()
    save_walk(model, tmp_path / "a.png", WalkOptions(rows=2, truncation=0.6))
    with Image.open(tmp_path / "a.png") as picture:
        text = picture.info
    assert (text["space"], text["truncation"], text["noise"]) == ("w", "0.6", "const")
    assert save_walk(model, tmp_path / "a.gif", WalkOptions(steps=3, space="z")) == 3


# --- drifts ------------------------------------------------------------------


def frames_of(model, **changes):
    drift = Drift(**{"seconds": 4, "frames_per_second": 5, "grid": "2x1", **changes})
    return np.stack(list(drift.frames(model))).astype(int)


def test_a_drift_in_w_begins_with_its_seeds_and_closes():
    model = styled_model(3)
    frames = frames_of(model, seed=40, truncation=0.9)
    assert len(frames) == 20
    first = model.sample(seeds=[40, 41], y=[0, 1], truncation=0.9)
    assert np.array_equal(frames[0], np.concatenate(list(first), axis=1))
    # two keys in four seconds: halfway stand the next two seeds
    middle = model.sample(seeds=[42, 43], y=[0, 1], truncation=0.9)
    assert np.array_equal(frames[10], np.concatenate(list(middle), axis=1))
    steps = abs(np.diff(frames, axis=0, append=frames[:1])).mean(axis=(1, 2, 3))
    assert steps[-1] < 2 * steps.mean()
    assert steps.mean() > 0


def test_a_drift_does_not_flicker_and_depends_on_no_batch():
    model = styled_model(noise_strength=1.0)
    still = frames_of(model, truncation=0.0, noise="random")
    assert (still == still[0]).all()
    assert not np.array_equal(still[0, :, :8], still[0, :, 8:])  # each cell has noise of its own
    assert abs(frames_of(model, batch_size=2) - frames_of(model, batch_size=64)).max() <= 1


def test_a_drift_in_z_is_that_of_any_model_with_truncation_in_w():
    model = styled_model()
    assert not np.array_equal(frames_of(model, space="z"), frames_of(model))
    still = frames_of(model, space="z", truncation=0.0)
    assert (still == still[0]).all()
    with pytest.raises(LimnerError, match="space 'w': this model has no styles"):
        frames_of(toy_model(), space="w")
    with pytest.raises(LimnerError, match="noise 'none': this model has no styles"):
        frames_of(toy_model(), noise="none")


def test_the_curve_goes_through_its_points_with_one_slope_on_both_sides():
    points = list(torch.randn(5, 3, dtype=torch.float64))
    before, after = points[:4], points[1:]
    assert torch.equal(on_curve(before, 0.0), points[1])
    assert torch.allclose(on_curve(before, 1.0), points[2])
    slope = (on_curve(before, 1.0) - on_curve(before, 1 - 1e-6)) / 1e-6
    assert torch.allclose(slope, (points[3] - points[1]) / 2, atol=1e-4)
    assert torch.allclose((on_curve(after, 1e-6) - points[2]) / 1e-6, slope, atol=1e-4)
    line = [torch.tensor([float(i)]) for i in range(4)]
    assert on_curve(line, 0.3).item() == pytest.approx(1.3)


# --- scores ------------------------------------------------------------------


def test_scored_images_have_random_noise_of_their_seeds_in_any_part():
    model = styled_model(3)
    images, labels = evaluation_sampler(model.generator, 3)(10, 20)
    z, y = latents_from_seeds(range(20, 30), model.z_dim), torch.arange(10) % 3
    wanted = generate(model.generator, z, y, look=Look(noise="random"), seeds=range(20, 30))
    assert torch.equal(labels, y)
    assert torch.equal(images.part(0, 10), to_uint8(wanted))
    assert (images.part(7, 9).int() - to_uint8(wanted[7:9]).int()).abs().max() <= 1
    const = to_uint8(generate(model.generator, z, y))
    assert (images.part(0, 10).int() - const.int()).abs().max() > 10


def test_both_ends_of_a_way_have_one_noise():
    """Without it a step of 1e-4 would be lost in the noise's own difference."""
    model = styled_model(2, noise_strength=2.0)
    images, _ = evaluation_sampler(model.generator, 2)(8, 0)
    asked = images.generate, lambda floats: floats.flatten(1), 40, images.z_dim, 2
    in_z = path_lengths(*asked)
    in_w = path_lengths(*asked, styles=images.styles)
    assert in_z.max() < 1e4
    assert in_w.max() < 1e4
    apart = images.generate(torch.ones(2, images.z_dim), torch.zeros(2).long(), torch.arange(2))
    assert (apart[0] - apart[1]).square().sum() / 1e-8 > 1e6


def test_rows_of_labels_are_chosen_for_styles_too():
    model = styled_model(2)
    rows = np.array([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]], np.float32)
    images, _ = evaluation_sampler(model.generator, 2, label_rows=rows)(4, 0)
    z = latents_from_seeds([3], model.z_dim)
    found = images.styles(z, torch.tensor([1]))
    assert torch.allclose(found, model.generator.mapping(z, torch.from_numpy(rows[1:2])))
    assert evaluation_sampler(toy_model().generator, 0)(4, 0)[0].styles is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
        ),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_halves_the_batch_and_the_images_stay(error, monkeypatch):
    model = styled_model()
    plan = model.plan(num=9, noise="random")
    expected = model.draw(plan, 8)
    sizes = []

    def scarce(generator, z, *more):
        if len(z) > 2 and sizes:  # the first pass of a size still fits
            raise error
        sizes.append(len(z))
        return pictures(generator, z, *more)

    monkeypatch.setattr(sys.modules["limner.sampling.generate"], "pictures", scarce)
    with pytest.warns(UserWarning, match="at most 2 a batch from now on"):
        found = list(pieces(model, plan, 4))
    assert sizes == [4, 2, 2, 1]
    assert [(piece.begin, piece.batch_size) for piece in found] == [(0, 4), (4, 2), (6, 2), (8, 2)]
    whole = np.concatenate([piece.images for piece in found]).astype(int)
    assert abs(whole - expected).max() <= 1  # floats within 1e-5


def test_one_image_that_does_not_fit_is_an_error_and_others_pass(monkeypatch):
    model = styled_model()

    def fails(*given):
        raise error

    monkeypatch.setattr(sys.modules["limner.sampling.generate"], "pictures", fails)
    error = MemoryError()
    with (
        pytest.raises(LimnerError, match="not even one"),
        pytest.warns(UserWarning, match="at most 1 a batch"),
    ):
        model.draw(model.plan(num=4), 2)
    error = RuntimeError("size mismatch")
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.draw(model.plan(num=4), 2)
