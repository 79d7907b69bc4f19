"""Images part by part: what is kept is what all of them at once give, and memory stays flat."""

import dataclasses
import importlib
import weakref

import pytest
import torch

from draws import normal
from limner.core.errors import LimnerError
from limner.data import DataConfig, open_data
from limner.metrics import (
    METRICS,
    Distribution,
    ImageStream,
    Reference,
    Rows,
    RunningMoments,
    Side,
    check_metrics,
    features_id,
    frechet_from_moments,
    inception_score,
    kernel,
    kernel_distance,
    moments,
    notes,
    read_moments,
    score,
    streams,
    write_moments,
)
from limner.metrics.base import fed
from limner.metrics.features.base import images_at
from limner.metrics.inception_score import LogitSums, SplitSums
from limner.metrics.reading import accumulated
from limner.metrics.streams import Wanted, as_stream, read

swd_module = importlib.import_module("limner.metrics.sliced_wasserstein")


@pytest.fixture(scope="module")
def digits():
    return open_data("digits", DataConfig(resolution=8))


def test_moments_part_by_part_are_those_of_all_even_far_from_zero():
    rows = normal(1000, 7) + 1e6
    running = RunningMoments()
    for part in rows.split(37):
        running.add(part)
    mean, covariance = running.gaussian()
    centred = rows - rows.mean(dim=0)
    assert torch.allclose(mean, rows.mean(dim=0), rtol=1e-14)
    assert torch.allclose(covariance, centred.T @ centred / 999, atol=1e-9)
    with pytest.raises(LimnerError, match="widths: 7 and 6"):
        running.add(rows[:, :6])
    with pytest.raises(LimnerError, match="1 images are too few"):
        moments(rows[:1])


def test_rows_and_sums_of_parts_are_those_of_all(monkeypatch):
    monkeypatch.setattr(streams, "IMAGES_PER_PART", 16)
    images = torch.randint(0, 256, (100, 2, 3, 3), dtype=torch.uint8)
    rows = images.flatten(1).double()
    seen = []

    def part(begin, end):
        seen.append((begin, end))
        return images[begin:end]

    def flat(x):
        return x.flatten(1).double()

    places = torch.tensor([70, 3, 99, 4])
    every, some = Rows(Side(100, 0)), Rows(Side(100, 0), places)
    sums, few = Distribution(Side(100, 100)), Distribution(Side(100, 35))
    wanted = [Wanted(every, flat), Wanted(some, lambda x: x), Wanted(sums, flat), Wanted(few, flat)]
    read(ImageStream(100, (2, 3, 3), part), wanted)
    assert seen == [(i, min(i + 16, 100)) for i in range(0, 100, 16)]
    assert torch.equal(every.rows, rows)
    assert torch.equal(some.rows, images[places])
    assert torch.equal(few.kept.rows, rows)  # 35 real ones are too few for 18 features
    assert isinstance(sums.kept, RunningMoments)
    assert torch.allclose(sums.gaussian().covariance, moments(rows).covariance)


def test_parts_hold_whole_batches_and_bounded_bytes():
    def sizes(shape):
        stream = ImageStream(5000, shape, lambda begin, end: torch.empty(0))
        return [end - begin for begin, end in stream.parts()]

    assert set(sizes((3, 32, 32))[:-1]) == {512}
    assert set(sizes((3, 512, 512))[:-1]) == {128}
    assert set(sizes((3, 1024, 1024))[:-1]) == {42}
    assert sum(sizes((3, 1024, 1024))) == 5000


def test_the_distance_by_sums_is_that_by_rows(digits):
    images = images_at(digits, torch.arange(900))
    real = Reference(digits, "random-conv")
    (by_sums,) = score(real, images, None, ["fid"])
    by_rows, _ = score(real, images, None, ["fid", "kid"])
    assert by_sums.value == pytest.approx(by_rows.value, rel=1e-9)
    assert by_sums.replace(value=by_rows.value) == by_rows


def test_parts_are_let_go_before_the_next_is_made(digits, monkeypatch):
    monkeypatch.setattr(streams, "IMAGES_PER_PART", 64)
    real = Reference(digits, "random-conv")
    made, alive = [], []

    def part(begin, end):
        images = images_at(digits, torch.arange(begin, end))
        made.append(weakref.ref(images))
        alive.append(sum(ref() is not None for ref in made))
        return images

    stream = ImageStream(960, (1, 8, 8), part)
    kept = Distribution(Side(960, 960))
    read(stream, [Wanted(kept, real.extractor.features)])
    assert len(made) == 15
    assert max(alive) <= 2  # the one in use, and the one before it
    assert isinstance(kept.kept, RunningMoments)  # no row is kept


def test_statistics_are_written_as_others_read_them(tmp_path, digits):
    real = Reference(digits, "random-conv")
    write_moments(tmp_path / "a.npz", real.gaussian)
    file = read_moments(tmp_path / "a.npz")
    assert torch.equal(file.mean, real.gaussian.mean)
    assert torch.equal(file.covariance, real.gaussian.covariance)
    images = images_at(digits, torch.arange(600))
    (plain,) = score(real, images, None, ["fid"])
    (against,) = score(Reference(digits, "random-conv", moments=file), images, None, ["fid"])
    assert against.value == pytest.approx(plain.value, rel=1e-9)
    assert against.data_sha256 == file.sha256
    with pytest.raises(LimnerError, match=r"FILE\.npz"):
        write_moments(tmp_path / "a.npy", real.gaussian)


def test_statistics_of_other_features_or_weights_are_refused(tmp_path, digits):
    real = Reference(digits, "random-conv")
    sha256 = real.extractor.weights_sha256
    for own, told in (
        (features_id("random-conv", sha256), None),
        (features_id("random-conv", "0" * 64), "other weights of 'random-conv'"),
        (features_id("inception", sha256), "of features of 'inception'"),
    ):
        write_moments(tmp_path / "a.npz", real.gaussian, own)
        assert read_moments(tmp_path / "a.npz").features == own
        if told is None:
            Reference(digits, "random-conv", moments=tmp_path / "a.npz")
            continue
        with pytest.raises(LimnerError, match=rf"a\.npz: .*{told}"):
            Reference(digits, "random-conv", moments=tmp_path / "a.npz")


def test_moments_of_the_reference_are_read_from_the_cache(digits, monkeypatch):
    first = Reference(digits, "random-conv").gaussian
    monkeypatch.setattr(Reference, "features", property(lambda _: pytest.fail("computed again")))
    again = Reference(digits, "random-conv").gaussian
    assert torch.equal(again.covariance, first.covariance)


def test_constant_features_drop_out_of_the_moments_too():
    a, b = normal(60, 6), normal(50, 6, seed=1) * 2
    dead = torch.cat([a, torch.zeros(60, 3)], 1), torch.cat([b, torch.ones(50, 3)], 1)
    found = frechet_from_moments(*moments(dead[0]), *moments(dead[1]))
    assert found == pytest.approx(frechet_from_moments(*moments(a), *moments(b)) + 3, rel=1e-10)


def test_few_images_are_noted_in_one_line(digits):
    images = images_at(digits, torch.arange(200))
    real = Reference(digits, "random-conv")
    (line,) = notes(score(real, images, None, ["fid", "kid", "msssim"]))
    assert "fid of 200 images" in line
    assert "prefer kid" in line
    assert notes(score(real, images, None, ["kid", "prdc"])) == []
    assert METRICS["fid"].num_published == 10_000


def test_a_tensor_is_a_stream_of_itself():
    images = torch.randint(0, 256, (5, 1, 2, 2), dtype=torch.uint8)
    stream = as_stream(images)
    assert stream.shape == (5, 1, 2, 2)
    assert torch.equal(stream.part(1, 4), images[1:4])
    assert as_stream(stream) is stream


class Named:
    """Features and logits from one pass, under any name."""

    weights_sha256 = "c" * 64
    resize = "nearest-8"

    def __init__(self, name):
        self.name, self.num_passes = name, 0

    def rows(self, images):
        self.num_passes += 1
        flat = images.flatten(1).float()
        return flat[:, 20:26], flat[:, 30:40] / 64

    def features(self, images):
        return self.rows(images)[0]

    def logits(self, images):
        return self.rows(images)[1]


def test_only_inceptions_scores_are_called_fid_kid_and_is(digits):
    images = images_at(digits, torch.arange(200))
    metrics = ["fid", "kid", "is", "prdc"]
    plain = ["precision", "recall", "density", "coverage"]
    results = score(Reference(digits, Named("inception")), images, None, metrics)
    assert [result.name for result in results] == ["fid", "kid", "is", *plain]
    assert all(result.resize == "nearest-8" for result in results)
    other = score(Reference(digits, Named("inception-0a1b")), images, None, metrics)
    names = [f"{key}-inception-0a1b" for key in ("fd", "kd", "is")]
    assert [result.name for result in other] == [*names, *plain]


def test_features_and_probabilities_share_a_pass(digits):
    images = images_at(digits, torch.arange(200))
    extractor = Named("once")
    real = Reference(digits, extractor)
    real.features  # noqa: B018 - not counted below
    for name in ("kid", "is"):
        real.floors(name, METRICS[name](), 200)
    extractor.num_passes = 0
    both = score(real, images, None, ["kid", "is"])
    assert extractor.num_passes == 1
    assert both[1] == score(real, images, None, ["is"])[0]


def few_rows(monkeypatch):
    """Metrics that look at fewer images than there are."""
    monkeypatch.setattr(kernel, "NUM_SUBSETS", 4)
    monkeypatch.setattr(kernel, "SUBSET_SIZE", 50)
    monkeypatch.setitem(METRICS, "prdc", type("Small", (METRICS["prdc"],), {"num_max": 120}))
    monkeypatch.setattr(streams, "IMAGES_PER_PART", 64)


def test_a_figure_is_the_same_whatever_else_is_asked_for(digits, monkeypatch):
    few_rows(monkeypatch)
    images = images_at(digits, torch.arange(800))
    labels = torch.from_numpy(digits.labels[:800].copy())
    real = Reference(digits, Named("other"))
    names = ["kid", "prdc", "is", "fid", "cas", "accuracy", "modes"]
    together = score(real, images, labels, names)
    alone = [result for name in names for result in score(real, images, labels, [name])]
    assert together == alone


def test_only_the_rows_that_metrics_look_at_are_kept(digits, monkeypatch):
    """However many images there are: sums where they do, and rows of a number that is bounded."""
    few_rows(monkeypatch)
    real = Reference(digits, Named("other"))
    metrics = {name: METRICS[name]() for name in ("fid", "kid", "is", "prdc")}
    for num in (1000, 4000):
        images = images_at(digits, torch.arange(num) % len(digits))
        kept, failed = accumulated(as_stream(images), None, real, metrics)
        assert failed == {}
        assert isinstance(kept["fid"].kept, RunningMoments)
        assert kept["is"].sums.shape == (10, 10)
        assert 100 < len(kept["kid"].rows) <= 4 * 50
        assert len(kept["prdc"].rows) == 120


def test_the_kernel_distance_of_the_kept_rows_is_that_of_all_in_the_datas_order(
    digits, monkeypatch
):
    few_rows(monkeypatch)
    extractor = Named("other")
    images = images_at(digits, torch.arange(900, 1700))
    (found,) = score(Reference(digits, extractor, seed=3), images, None, ["kid"])
    every = extractor.features(images_at(digits, torch.arange(len(digits))))
    rows = extractor.features(images)
    wanted = kernel_distance(rows, every, 4, 50, seed=3)
    assert (found.value, found.std) == pytest.approx(wanted, rel=1e-9)
    assert found.num == 800


def test_scores_of_splits_do_not_depend_on_the_parts():
    logits = 3 * normal(1003, 12)
    probabilities = logits.softmax(dim=1)
    whole = inception_score(probabilities)
    sums = SplitSums(1003)
    for begin, end in ((600, 1003), (0, 1), (1, 600)):
        sums.add(probabilities[begin:end], torch.arange(begin, end))
    assert sums.score() == pytest.approx(whole, rel=1e-12)
    assert fed(LogitSums(1003), logits).score() == pytest.approx(whole, rel=1e-12)
    with pytest.raises(LimnerError, match="not finite"):
        fed(LogitSums(20), torch.full((20, 3), float("nan")))


def test_numbers_are_those_of_the_images_that_the_figure_is_of(digits, monkeypatch):
    monkeypatch.setitem(METRICS, "prdc", type("Small", (METRICS["prdc"],), {"num_max": 150}))
    real = Reference(digits, "random-conv")
    images = images_at(digits, torch.arange(300))
    fd, precision, *_ = score(real, images, None, ["fid", "prdc"])
    assert (fd.num, fd.num_real) == (300, 1797)
    assert (precision.num, precision.num_real) == (150, 150)
    few = score(real, images[:80], None, ["prdc"])[0]
    assert (few.num, few.num_real) == (80, 80)


def test_a_real_side_that_is_too_small_is_noted_too(monkeypatch):
    data = open_data("digits", DataConfig(resolution=16))
    monkeypatch.setitem(METRICS, "swd", type("Small", (METRICS["swd"],), {"num_published": 2000}))
    images = images_at(data, torch.arange(40)).repeat(50, 1, 1, 1)
    monkeypatch.setattr(swd_module, "NUM_REPEATS", 1)
    monkeypatch.setattr(swd_module, "NUM_PATCHES", 2)
    line = notes(score(Reference(data, "random-conv"), images, None, ["swd"])[:1])[0]
    assert "swd of 1,797 images is larger" in line


@pytest.mark.parametrize("name", ["is", "modes"])
def test_what_needs_classes_says_so_in_one_line_before_anything_is_made(name):
    data = open_data("digits", DataConfig(resolution=8, labels="none"))
    if name == "modes":
        with pytest.raises(LimnerError, match="'modes' needs data with classes"):
            check_metrics([name], data, "random-conv")
        return
    stream = ImageStream(100, (1, 8, 8), lambda *_: pytest.fail("made"))
    with pytest.raises(LimnerError, match="'random-conv' have no logits and the data no classes"):
        score(Reference(data, "random-conv"), stream, None, [name])


def test_a_path_length_that_cannot_be_had_is_refused_before_anything_is_made(digits):
    stream = ImageStream(100, (1, 8, 8), lambda *_: pytest.fail("made"))
    with pytest.raises(LimnerError, match="'ppl' needs a generator"):
        score(Reference(digits, "random-conv"), stream, None, ["ppl"])
    generated = dataclasses.replace(stream, generate=lambda z, *_: z, z_dim=4)
    with pytest.raises(LimnerError, match="256 steps"):
        score(Reference(digits, "pixels"), generated, None, ["ppl"])
