"""From images to results on the digits: names, floors, damage, and what an evaluator refuses."""

import msgspec
import pytest
import torch
from torch.nn import functional as F

from limner.core.config import encode
from limner.core.errors import LimnerError
from limner.data import DataConfig, open_data
from limner.metrics import (
    METRICS,
    Reference,
    Result,
    evaluate_images,
    make_evaluator,
    reference,
    score,
)
from limner.metrics.base import fed
from limner.metrics.features.base import images_at
from limner.metrics.neighbours import Cas, Prdc

FIELDS = [
    *("metric", "name", "value", "std", "extractor", "weights_sha256", "num", "floor", "seed"),
    *("num_real", "resize", "data_sha256", "higher_is_better"),
]

FITTING = [
    name
    for name, metric in METRICS.items()
    if metric.side_min <= 8 and name not in ("ppl", "eq", "cas-network")
]


@pytest.fixture(scope="module")
def digits():
    return open_data("digits", DataConfig(resolution=8))


@pytest.fixture(scope="module")
def unlabelled():
    return open_data("digits", DataConfig(resolution=8, labels="none"))


@pytest.fixture(scope="module")
def everything(digits):
    order = torch.arange(len(digits))
    return images_at(digits, order), torch.from_numpy(digits.labels.copy())


@pytest.fixture(scope="module")
def real(digits):
    return Reference(digits)


@pytest.fixture(scope="module")
def by_name(real, everything):
    images, labels = everything
    results = score(real, images[:400], labels[:400], FITTING)
    return {result.name: result for result in results}


# --- results ---------------------------------------------------------------


def test_each_metric_gives_its_figures_under_honest_names(by_name):
    assert list(by_name) == [
        *("fd-classifier", "kd-classifier", "is-classifier"),
        *("precision", "recall", "density", "coverage", "copies"),
        *("accuracy", "cas-1nn", "ms-ssim"),
        *("intra-fd-classifier", "modes", "modes-kl"),
    ]
    assert {result.metric for result in by_name.values()} == set(FITTING)


def test_a_result_is_the_json_of_the_interface(by_name):
    for result in by_name.values():
        plain = encode(result)
        assert list(plain) == FIELDS
        assert msgspec.convert(plain, Result) == result
        assert plain["num"] == 400
        assert plain["floor"] is not None
    assert by_name["kd-classifier"].std > 0
    assert by_name["cas-1nn"].extractor == "pixels"
    assert by_name["cas-1nn"].weights_sha256 is None
    assert len(by_name["recall"].weights_sha256) == 64


def test_floors_are_near_those_of_the_study(real):
    def floor(name):
        return real.floors(name, METRICS[name](), 1800)

    assert 0.15 < floor("fid")["fd"] < 0.6
    assert abs(floor("kid")["kd"]) < 0.02
    assert floor("accuracy")["accuracy"] >= 0.97
    assert 0.97 <= floor("cas")["cas-1nn"] < 1
    assert all(0.8 < floor("prdc")[name] < 1 for name in ("precision", "recall", "coverage"))


def test_floors_and_features_are_computed_once(digits, everything, real, monkeypatch):
    images, labels = everything
    first = score(real, images[:300], labels[:300], ["fid", "prdc", "cas"])

    def refuse(*_):
        raise AssertionError("read again")

    again = Reference(digits)
    monkeypatch.setattr(reference, "rows_in_parts", refuse)
    monkeypatch.setattr(reference, "halves", refuse)
    assert score(again, images[:300], labels[:300], ["fid", "prdc", "cas"]) == first
    with pytest.raises(AssertionError, match="read again"):
        score(Reference(digits, seed=1), images[:300], labels[:300], ["fid"])


def test_a_floor_of_few_images_is_higher(real):
    metric = METRICS["fid"]()
    assert real.floors("fid", metric, 150)["fd"] > 1.5 * real.floors("fid", metric, 898)["fd"]


def test_the_order_of_generated_images_does_not_matter_beyond_the_largest_number(
    real, everything, monkeypatch
):
    images, labels = everything
    by_class = labels.argsort(stable=True)
    monkeypatch.setitem(METRICS, "cas-of-300", type("Small", (Cas,), {"num_max": 300}))
    (result,) = score(real, images[by_class], labels[by_class], ["cas-of-300"])
    assert result.value > 0.9  # the first 300 alone would be zeros and ones: a score of .2
    assert (result.num, result.num_real) == (300, 300)


def test_precision_and_recall_compare_equal_numbers(real):
    seen = []

    class Recorded(Prdc):
        def compare(self, fake, real):
            seen.append((len(fake.rows), len(real.rows)))
            return super().compare(fake, real)

    metric = Recorded()
    fake = fed(metric.begin(real.fakes(metric, 200, None)), real.features[:200])
    real.compare(metric, fake, 200)
    assert seen == [(200, 200)]


def test_the_distance_of_patches_has_a_level_each_and_a_floor_below_damage(everything):
    data = open_data("digits", DataConfig(resolution=16))
    images = images_at(data, torch.arange(60))
    real = Reference(data)
    near = {result.name: result for result in score(real, images, None, ["swd"])}
    assert list(near) == ["swd-16", "swd-avg"]
    assert near["swd-avg"].value == near["swd-16"].value
    assert near["swd-16"].value < 2 * near["swd-16"].floor
    assert near["swd-16"].std > 0
    (far, _) = score(real, noisy(images, 0.3), None, ["swd"])
    assert far.value > 2 * far.floor
    with pytest.raises(LimnerError, match="'swd' needs images of at least 16 pixels"):
        make_evaluator(open_data("digits", DataConfig(resolution=8)), ["swd"], 100)


def test_similarity_floors_are_those_of_real_pairs_and_one_picture_is_alike(real, everything):
    images, _ = everything
    (whole,) = score(real, images[:800], None, ["msssim"])
    assert whole.value == pytest.approx(whole.floor, abs=0.05)  # generated are real ones here
    (one,) = score(real, images[:1].expand(50, -1, -1, -1).contiguous(), None, ["msssim"])
    assert one.value == pytest.approx(1.0)
    # classes in turn: pairs are drawn, so that some are of one class
    (turned,) = score(real, torch.stack([images[0], images[1]] * 50), None, ["msssim"])
    assert 0.3 < turned.value < 0.9


# --- damage ----------------------------------------------------------------


def noisy(images, deviation):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return (images + 255 * deviation * noise).round().clamp(0, 255).to(torch.uint8)


def blurred(images, sigma):
    places = torch.arange(-3, 4).float()
    line = torch.exp(-(places**2) / (2 * sigma**2))
    kernel = torch.outer(line, line)[None, None] / line.sum() ** 2
    padded = F.pad(images.float(), (3, 3, 3, 3), mode="replicate")
    return F.conv2d(padded, kernel).round().to(torch.uint8)


def repeated(images, num):
    generator = torch.Generator().manual_seed(2)
    chosen = torch.randperm(len(images), generator=generator)[:num]
    return images[chosen[torch.randint(0, num, (len(images),), generator=generator)]]


def distance_in_floors(real, images):
    (result,) = score(real, images, None, ["fid"])
    return result.value / real.floors("fid", METRICS["fid"](), 898)["fd"]


def test_damage_raises_the_distance_above_its_floor(real, everything):
    images, labels = everything
    assert distance_in_floors(real, images[:898]) < 1.5
    light, heavy = (distance_in_floors(real, noisy(images, s)) for s in (0.15, 0.3))
    assert 1.2 < light < heavy
    assert heavy > 5
    light, heavy = (distance_in_floors(real, blurred(images, s)) for s in (0.5, 0.8))
    assert 3 < light < heavy
    assert heavy > 15
    assert distance_in_floors(real, repeated(images, 50)) > 5
    assert distance_in_floors(real, images[(labels != 3) & (labels != 0)]) > 8


def test_every_missing_class_is_seen_by_the_classifier(real, everything):
    images, labels = everything
    for missing in range(10):
        assert distance_in_floors(real, images[labels != missing]) > 3, missing


def test_few_distinct_images_are_a_lost_recall(real, everything):
    images, _ = everything
    results = {r.name: r for r in score(real, repeated(images, 50), None, ["prdc"])}
    assert results["precision"].value > 0.95
    assert results["recall"].value < 0.2 * results["recall"].floor
    assert results["coverage"].value < 0.3 * results["coverage"].floor


def test_wrong_labels_are_seen_by_accuracy_and_neighbours(real, everything):
    images, labels = everything
    wrong = torch.where(labels < 3, (labels + 1) % 10, labels)
    share = float((labels >= 3).double().mean())
    accuracy, cas = score(real, images, wrong, ["accuracy", "cas"])
    assert accuracy.value == pytest.approx(share, abs=0.02)
    assert cas.value == pytest.approx(share, abs=0.02)


def test_random_features_see_low_level_damage_but_no_missing_class(unlabelled, everything):
    images, labels = everything
    real = Reference(unlabelled, "random-conv")
    assert distance_in_floors(real, images[:898]) < 1.5
    assert distance_in_floors(real, noisy(images, 0.3)) > 8
    assert distance_in_floors(real, blurred(images, 0.8)) > 20
    assert distance_in_floors(real, repeated(images, 50)) > 5
    assert distance_in_floors(real, images[labels != 3]) < 2  # as the module says


# --- what callers hand over ------------------------------------------------


def test_an_evaluator_asks_for_its_number_and_seed(digits, everything):
    images, labels = everything
    asked = []

    def sample(num, seed):
        asked.append((num, seed))
        return images[:num], labels[:num]

    evaluator = make_evaluator(digits, ["fid", "accuracy"], num=200, seed=3)
    results = evaluator(sample)
    assert asked == [(200, 3)]
    assert results == evaluate_images(
        images[:200], labels[:200], digits, ["fid", "accuracy"], seed=3
    )
    assert [result.seed for result in results] == [3, 3]


def test_scores_leave_the_global_random_streams_alone(real, everything):
    images, labels = everything
    state = torch.get_rng_state()
    score(real, images[:100], labels[:100], ["fid", "kid", "prdc", "accuracy", "cas"])
    assert torch.equal(torch.get_rng_state(), state)


def test_held_out_images_take_the_place_of_the_data(digits, unlabelled, everything):
    images, labels = everything
    results = evaluate_images(images[:300], None, digits, ["fid"], held_out=unlabelled)
    assert results[0].extractor == "classifier"
    other_size = open_data("digits", DataConfig(resolution=16))
    with pytest.raises(LimnerError, match="held-out images"):
        evaluate_images(images, labels, digits, ["fid"], held_out=other_size)
    with pytest.raises(LimnerError, match="'cas' needs labels of the real images"):
        evaluate_images(images, labels, digits, ["cas"], held_out=unlabelled)


def test_accuracy_beside_features_without_classes_is_the_classifiers(digits, everything):
    images, labels = everything
    fd, accuracy = evaluate_images(
        images[:300], labels[:300], digits, ["fid", "accuracy"], extractor="random-conv"
    )
    assert fd.name == "fd-random-conv"
    assert accuracy.extractor == "classifier"
    assert accuracy.value > 0.97


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_scored_says_why(digits, unlabelled, real, everything):
    images, labels = everything
    with pytest.raises(LimnerError, match="unknown metric 'fidd'; nearest is 'fid'"):
        make_evaluator(digits, ["fidd"], 100)
    for name in ("accuracy", "cas"):
        with pytest.raises(LimnerError, match=f"'{name}' needs data with classes"):
            make_evaluator(unlabelled, [name], 100)
        with pytest.raises(LimnerError, match=f"'{name}' needs labels of the generated images"):
            score(real, images, None, [name])
    with pytest.raises(LimnerError, match="1 generated images are too few"):
        make_evaluator(digits, ["fid"], 1)
    with pytest.raises(LimnerError, match=r"uint8 \[N, 1, 8, 8\]"):
        score(real, images.float(), labels, ["fid"])
    with pytest.raises(LimnerError, match=r"uint8 \[N, 1, 8, 8\]"):
        score(real, images[:, :, :4], labels, ["fid"])
    with pytest.raises(LimnerError, match="give 1797 integers"):
        score(real, images, labels[:5], ["fid"])


def test_the_inception_score_of_fewer_classes_is_lower(real, everything, digits, unlabelled):
    images, labels = everything
    (whole,) = score(real, images[:800], labels[:800], ["is"])
    assert whole.floor is not None
    assert whole.value == pytest.approx(whole.floor, rel=0.05)  # generated are real ones here
    assert 5.0 < whole.value <= 10.0  # 10 without the smoothing of its labels
    assert whole.std is not None
    some = labels < 5
    (half,) = score(real, images[some], labels[some], ["is"])
    assert 0.4 < half.value / whole.value < 0.65
    with pytest.raises(LimnerError, match="needs 10 generated images, and there are 9"):
        score(real, images[:9], labels[:9], ["is"])
    for extractor in (None, "random-conv"):
        with pytest.raises(LimnerError, match="needs a classifier"):
            make_evaluator(unlabelled, ["is"], 100, extractor)
    assert make_evaluator(digits, ["is"], 100)
