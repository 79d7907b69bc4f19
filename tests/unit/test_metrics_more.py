"""Modes, path length, classes, nearest images: each beside a slow computation of its formula."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from draws import normal
from limner.core.errors import LimnerError
from limner.data import DataConfig, open_data
from limner.metrics import (
    Reference,
    frechet_distance,
    intra_class_distance,
    mean_path_length,
    modes_and_divergence,
    nearest_rows,
    path_lengths,
    score,
)
from limner.metrics.arrays import ArrayData
from limner.metrics.classes import classification_accuracy
from limner.metrics.features.base import images_at
from limner.metrics.modes import StackedClassifier, classifier_of_modes, stacked_base
from limner.metrics.path_length import EPSILON, features_of_floats, interpolated
from limner.metrics.streams import ImageStream


@pytest.fixture(scope="module")
def digits():
    return open_data("digits", DataConfig(resolution=8))


# --- modes -----------------------------------------------------------------


def test_modes_and_divergence_are_those_of_a_loop():
    predicted = torch.tensor([0, 0, 0, 2, 2, 4])
    shares = {0: 3 / 6, 2: 2 / 6, 4: 1 / 6}
    slow = sum(p * math.log(p / (1 / 5)) for p in shares.values())
    assert modes_and_divergence(predicted, 5) == (3, pytest.approx(slow, rel=1e-12))
    q = {0: 0.5, 1: 0.1, 2: 0.2, 3: 0.1, 4: 0.1}
    slow = sum(p * math.log(p / q[mode]) for mode, p in shares.items())
    given = torch.tensor(list(q.values()))
    assert modes_and_divergence(predicted, 5, given)[1] == pytest.approx(slow, rel=1e-6)


def test_one_mode_costs_the_log_of_their_number_and_all_cost_nothing():
    assert modes_and_divergence(torch.zeros(50, dtype=torch.int64), 1000) == (
        1,
        pytest.approx(math.log(1000)),
    )
    assert modes_and_divergence(torch.arange(1000), 1000) == (1000, pytest.approx(0, abs=1e-12))


@pytest.mark.parametrize("predicted", [[], [3], [-1]])
def test_modes_out_of_range_are_refused(predicted):
    with pytest.raises(LimnerError, match="each in 0-2"):
        modes_and_divergence(torch.tensor(predicted, dtype=torch.int64), 3)


def test_a_mode_that_the_reference_never_shows_is_refused():
    with pytest.raises(LimnerError, match="no share"):
        modes_and_divergence(torch.tensor([0, 1]), 2, torch.tensor([1.0, 0.0]))


class Brightest:
    """Class 1 for images with a bright corner."""

    name, weights_sha256, held_out_accuracy = "brightest", "b" * 64, 1.0

    def features(self, images):
        return images.flatten(1).float()

    def logits(self, images):
        bright = (images[:, 0, 0, 0] > 128).float()
        return torch.stack([1 - bright, bright], dim=1) * 9


def test_the_modes_of_stacked_channels_are_the_triples_of_their_classes():
    places = [(r, g, b) for r in (0, 1) for g in (0, 1) for b in (0, 1)]
    images = torch.zeros(8, 3, 2, 2, dtype=torch.uint8)
    for row, place in enumerate(places):
        for channel, bit in enumerate(place):
            images[row, channel, 0, 0] = 255 * bit
    stacked = StackedClassifier(Brightest(), 2, 3)
    assert stacked.logits(images).argmax(dim=1).tolist() == [
        4 * r + 2 * g + b for r, g, b in places
    ]
    assert stacked.logits(images).exp().sum(dim=1) == pytest.approx(torch.ones(8))
    assert stacked.features(images).shape == (8, 12)


def stacked_digits(digits, num):
    """Two digits stacked: class 10 a + b."""
    random = np.random.default_rng(0)
    pairs = random.integers(0, len(digits), (num, 2))
    images = np.stack([digits.images[pairs[:, i], :, :, 0] for i in (0, 1)], axis=3)
    labels = digits.labels[pairs[:, 0]] * 10 + digits.labels[pairs[:, 1]]
    return ArrayData(images, labels, 100, "stacked digits")


def test_stacked_data_get_a_classifier_of_single_channels(digits):
    data = stacked_digits(digits, 1500)
    assert stacked_base(data) == 10
    assert stacked_base(digits) is None
    classifier = classifier_of_modes(data)
    assert classifier.name == "classifier-per-channel"
    predicted = classifier.logits(images_at(data, torch.arange(1500))).argmax(dim=1)
    assert (predicted.numpy() == data.labels).mean() > 0.95
    (modes, divergence) = score(
        Reference(data, "random-conv"),
        images_at(data, torch.arange(600)),
        None,
        ["modes", "modes-kl"],
    )
    assert modes.value == len(set(predicted[:600].tolist())) > 90
    assert modes.extractor == "classifier-per-channel"
    assert divergence.value == modes_and_divergence(predicted[:600], 100)[1]
    assert 0 < divergence.floor < 0.3
    one = images_at(data, torch.zeros(50, dtype=torch.int64))
    (modes, divergence) = score(Reference(data, "random-conv"), one, None, ["modes", "modes-kl"])
    assert modes.value == 1
    assert divergence.value == pytest.approx(math.log(100))


# --- path length -----------------------------------------------------------


def test_great_circles_keep_their_ends_and_lengths():
    a, b = normal(5, 6), 3 * normal(5, 6, seed=1)
    for t in (0.0, 1.0):
        found = interpolated(a, b, torch.full((5,), t))
        assert torch.allclose(found, b if t else a, atol=1e-12)
    middle = interpolated(a, b, torch.full((5,), 0.5))
    assert torch.allclose(middle.norm(dim=1), (a.norm(dim=1) + b.norm(dim=1)) / 2)
    assert torch.allclose(interpolated(a, 2 * a, torch.full((5,), 0.5)), 1.5 * a)


def test_the_length_through_a_linear_generator_is_that_of_the_latents():
    """f(G(z)) = W z, and the way at t = 0 by finite differences, in doubles and in a loop."""
    matrix = normal(6, 4, seed=3).float()

    def generate(z, y, numbers):
        assert y is None
        return (z @ matrix.T).view(-1, 1, 2, 3)

    lengths = path_lengths(generate, lambda images: images.flatten(1), 40, 4, where="end", seed=5)
    seen = []
    path_lengths(
        lambda *asked: seen.append(asked[0]) or generate(*asked),
        lambda x: x.flatten(1),
        40,
        4,
        0,
        "end",
        seed=5,
    )
    pairs = torch.cat([part.view(2, -1, 4) for part in seen], dim=1).double()
    slow = [
        float((matrix.double() @ (q - p)).square().sum()) / EPSILON**2
        for p, q in zip(*pairs, strict=True)
    ]
    assert lengths.tolist() == pytest.approx(slow, rel=2e-2)  # rounding of float32 latents
    again = path_lengths(generate, lambda images: images.flatten(1), 40, 4, where="end", seed=5)
    assert torch.equal(again, lengths)
    full = path_lengths(generate, lambda images: images.flatten(1), 40, 4, where="full", seed=5)
    assert not torch.allclose(full, lengths, rtol=1e-2)


def test_both_ends_of_a_step_have_one_class():
    asked = []

    def generate(z, y, numbers):
        asked.append(y)
        return z.view(-1, 1, 2, 2)

    path_lengths(generate, lambda x: x.flatten(1), 40, 4, num_classes=3)
    for y in asked:
        first, second = y.chunk(2)
        assert torch.equal(first, second)
    assert set(torch.cat(asked).tolist()) == {0, 1, 2}


def test_the_mean_leaves_out_the_percentiles_beyond_1_and_99():
    lengths = torch.cat([torch.arange(1.0, 200.0), torch.tensor([1e9])])
    low, high = (
        np.percentile(lengths.numpy(), 1, method="lower"),
        np.percentile(lengths.numpy(), 99, method="higher"),
    )
    kept = [x for x in lengths.tolist() if low <= x <= high]
    mean = sum(kept) / len(kept)
    deviation = math.sqrt(sum((x - mean) ** 2 for x in kept) / len(kept))
    assert mean_path_length(lengths) == (pytest.approx(mean), pytest.approx(deviation))
    assert mean < 200
    with pytest.raises(LimnerError, match="not finite"):
        mean_path_length(torch.tensor([1.0, math.nan]))


@pytest.mark.parametrize("name", ["classifier", "random-conv", "effnet-lite0"])
def test_floats_have_the_features_of_their_pictures(digits, name):
    extractor = Reference(digits, name).extractor
    images = images_at(digits, torch.arange(20))
    floats = images.float() / 127.5 - 1
    found = features_of_floats(extractor)(floats)
    assert torch.allclose(found, extractor.features(images), atol=1e-4)


def test_features_that_read_pictures_only_have_no_path_length():
    with pytest.raises(LimnerError, match="256 steps"):
        features_of_floats(Brightest())


def test_the_path_length_is_named_by_its_extractor_and_needs_a_generator(digits):
    matrix = normal(64, 4, seed=3).float() / 4

    def floats(z, y, numbers):
        return (z @ matrix.T).view(-1, 1, 8, 8)

    def part(begin, end):
        return images_at(digits, torch.arange(begin, end))

    real = Reference(digits, "random-conv")
    stream = ImageStream(60, (1, 8, 8), part, floats, z_dim=4)
    full, end = score(real, stream, None, ["ppl"])
    assert (full.name, end.name) == ("ppl-random-conv", "ppl-end-random-conv")
    assert full.floor is None
    assert full.value > 0
    with pytest.raises(LimnerError, match="needs a generator"):
        score(real, part(0, 60), None, ["ppl"])


def test_the_path_length_in_pretrained_features_is_that_of_double_precision(digits):
    """A step of 1e-4 in float32 images and features still tells how far they move."""
    matrix = normal(64, 4, seed=3) / 4

    def generate(z, y, numbers):
        return (z.double() @ matrix.T).view(-1, 1, 8, 8)

    real = Reference(digits, "effnet-lite0")
    stream = ImageStream(
        6, (1, 8, 8), lambda *_: digits, lambda *asked: generate(*asked).float(), z_dim=4
    )
    full, end = score(real, stream, None, ["ppl"])
    assert (full.name, end.name) == ("ppl-effnet-lite0", "ppl-end-effnet-lite0")
    assert full.weights_sha256 == real.extractor.weights_sha256
    exact = copy.deepcopy(real.extractor.network).double()

    def features(images):
        pictures = images.expand(-1, 3, -1, -1) * 127.5 + 127.5
        large = F.interpolate(pictures, (224, 224), mode="bilinear", antialias=True)
        return exact((large - 127) / 128)[0]

    slow = path_lengths(generate, features, 6, 4, where="full")
    assert full.value == pytest.approx(mean_path_length(slow)[0], rel=0.03)


# --- classes ---------------------------------------------------------------


def test_swapped_classes_cost_within_classes_only():
    real = torch.cat([normal(200, 4), normal(200, 4, seed=1) + 9])
    labels = torch.arange(400) // 200
    right, _ = intra_class_distance(real, labels, real, labels)
    swapped, _ = intra_class_distance(real, 1 - labels, real, labels)
    assert right == pytest.approx(0, abs=1e-9)
    assert swapped > 300
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)


def test_a_class_without_images_is_named():
    rows, labels = normal(6, 3), torch.tensor([0, 0, 0, 1, 1, 1])
    with pytest.raises(LimnerError, match="class 1 has 1 generated images"):
        intra_class_distance(rows[:4], labels[:4], rows, labels)


def test_a_network_trained_on_real_images_knows_others_and_on_wrong_labels_does_not(digits):
    images, labels = (
        images_at(digits, torch.arange(900)),
        torch.from_numpy(digits.labels[:900].copy()),
    )
    train, test = slice(0, 600), slice(600, 900)

    def accuracy(of_train):
        return classification_accuracy(images[train], of_train, images[test], labels[test])

    right = accuracy(labels[train])
    assert right > 0.85
    assert accuracy(labels[train]) == right
    assert accuracy((labels[train] + 1) % 10) < 0.2


# --- nearest images --------------------------------------------------------


def test_the_nearest_rows_are_those_of_a_loop():
    queries, rows = normal(7, 3), normal(20, 3, seed=1)
    distances, places = nearest_rows(queries, rows, 4)
    for i, query in enumerate(queries):
        slow = sorted((float((query - row).norm()), j) for j, row in enumerate(rows))[:4]
        assert places[i].tolist() == [j for _, j in slow]
        assert distances[i].tolist() == pytest.approx([d for d, _ in slow], rel=1e-12)
    copied, places = nearest_rows(rows[5:6], rows, 1)
    assert (float(copied), int(places)) == (0.0, 5)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("width", "k"), [(3, 21), (3, 0), (2, 1)])
def test_neighbours_that_do_not_exist_are_refused(width, k):
    with pytest.raises(LimnerError, match="nearest images"):
        nearest_rows(normal(4, width), normal(20, 3), k)
