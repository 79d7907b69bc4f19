"""Metrics as functions: closed forms, naive loops, and the cases in which formulas break."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from draws import normal
from limner.core.errors import LimnerError
from limner.metrics import (
    class_accuracy,
    frechet_distance,
    frechet_from_moments,
    inception_score,
    kernel,
    kernel_distance,
    moments,
    nearest_neighbour_score,
    neighbours,
    precision_recall_density_coverage,
)
from slow_scores import naive_manifold

# --- Frechet ---------------------------------------------------------------


def test_frechet_of_commuting_gaussians_is_the_closed_form():
    a, b = torch.tensor([1.0, 4.0, 9.0]), torch.tensor([4.0, 0.25, 9.0])
    mean = torch.tensor([1.0, -2.0, 0.5]).double()
    expected = 1 + 4 + 0.25 + float((a.sqrt() - b.sqrt()).square().sum())
    found = frechet_from_moments(
        mean, a.diag().double(), torch.zeros(3).double(), b.diag().double()
    )
    assert found == pytest.approx(expected, rel=1e-12)


def test_frechet_of_two_by_two_gaussians_is_the_closed_form():
    # tr (S1 S2)^(1/2) = sqrt(tr(S1 S2) + 2 sqrt(det(S1 S2))) for 2 x 2
    s1 = torch.tensor([[2.0, 0.7], [0.7, 1.0]]).double()
    s2 = torch.tensor([[1.0, -0.4], [-0.4, 3.0]]).double()
    product = s1 @ s2
    root = math.sqrt(float(product.trace()) + 2 * math.sqrt(float(torch.linalg.det(product))))
    zero = torch.zeros(2).double()
    expected = float(s1.trace() + s2.trace()) - 2 * root
    assert frechet_from_moments(zero, s1, zero, s2) == pytest.approx(expected, rel=1e-12)


def test_frechet_in_blocks_is_that_of_the_whole_matrices():
    a, b = normal(2, 700, 600)
    sigmas = [0.1 * torch.eye(600, dtype=torch.float64) + rows.T @ rows / 700 for rows in (a, b)]
    root = torch.linalg.eigvals(sigmas[0] @ sigmas[1]).real.sqrt().sum()
    zero = torch.zeros(600, dtype=torch.float64)
    expected = float(sigmas[0].trace() + sigmas[1].trace() - 2 * root)
    found = frechet_from_moments(zero, sigmas[0], zero, sigmas[1])
    assert found == pytest.approx(expected, rel=1e-11)


def test_frechet_sees_a_shift_as_its_square():
    features = normal(200, 5)
    assert frechet_distance(features, features + 3.0) == pytest.approx(45.0, rel=1e-9)


@pytest.mark.parametrize("num", [10, 40])  # fewer and more than the 16 dimensions
def test_frechet_ignores_rotation_and_order_of_the_sides(num):
    a, b = normal(num, 16), 2 * normal(num + 5, 16, seed=1) + 1
    turned = torch.linalg.qr(normal(16, 16, seed=2)).Q
    distance = frechet_distance(a, b)
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(a @ turned, b @ turned) == pytest.approx(distance, rel=1e-9)


def test_dead_features_change_nothing():
    a, b = normal(60, 6), normal(50, 6, seed=1) * 2
    dead_a, dead_b = torch.zeros(60, 3), torch.zeros(50, 3)
    with_dead = frechet_distance(torch.cat([a, dead_a], 1), torch.cat([b, dead_b], 1))
    assert with_dead == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_dependent_features_count_like_one_of_their_length():
    # (x, x) is x stretched by sqrt 2: every distance doubles
    a, b = normal(60, 6), normal(50, 6, seed=1) * 2
    doubled = frechet_distance(torch.cat([a, a], 1), torch.cat([b, b], 1))
    assert doubled == pytest.approx(2 * frechet_distance(a, b), rel=1e-7)


def test_few_images_agree_with_the_statistics_of_those_images():
    a, b = normal(7, 12), normal(9, 12, seed=1)
    exact = frechet_distance(a, b)
    assert frechet_from_moments(*moments(a), *moments(b)) == pytest.approx(exact, rel=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_frechet_refuses_what_has_no_distance():
    with pytest.raises(LimnerError, match="1 images are too few"):
        frechet_distance(normal(1, 4), normal(5, 4))
    with pytest.raises(LimnerError, match="not finite"):
        frechet_distance(torch.full((5, 4), math.nan), normal(5, 4))
    with pytest.raises(LimnerError, match="widths: 4 and 3"):
        frechet_distance(normal(5, 4), normal(5, 3))


# --- kernel distance -------------------------------------------------------


def test_kernel_distance_is_zero_for_one_distribution_and_not_for_two():
    a, b = normal(1000, 8), normal(1000, 8, seed=1)
    mean, deviation = kernel_distance(a, b, num_subsets=20, subset_size=200)
    assert abs(mean) < 0.02
    assert 0 < deviation < 0.1
    shifted, _ = kernel_distance(a, b + 0.5, num_subsets=20, subset_size=200)
    assert shifted > 0.5


def test_kernel_distance_of_many_rows_is_that_of_one_matrix(monkeypatch):
    a, b = normal(70, 5), normal(90, 5, seed=1) + 0.3
    together = kernel_distance(a, b, num_subsets=6, subset_size=40)
    monkeypatch.setattr(kernel, "NUM_ROWS_OF_ONE_MATRIX", 89)
    assert kernel_distance(a, b, num_subsets=6, subset_size=40) == pytest.approx(together, rel=1e-9)


def test_kernel_distance_depends_on_its_seed_alone():
    a, b = normal(100, 4), normal(100, 4, seed=1)
    first = kernel_distance(a, b, num_subsets=2, subset_size=50, seed=5)
    np.random.seed(99)
    torch.manual_seed(99)
    assert kernel_distance(a, b, num_subsets=2, subset_size=50, seed=5) == first
    assert kernel_distance(a, b, num_subsets=2, subset_size=50, seed=6) != first


# --- precision, recall, density, coverage ----------------------------------


small_sets = st.lists(
    st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=4, max_size=9
).map(lambda rows: torch.tensor(rows, dtype=torch.float64))


@given(real=small_sets, fake=small_sets, k=st.integers(1, 3))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_manifold_is_that_of_naive_loops_also_with_ties_and_duplicates(real, fake, k):
    found = precision_recall_density_coverage(real, fake, k)
    assert found == pytest.approx(naive_manifold(real, fake, k), abs=1e-12)


def test_manifold_does_not_depend_on_the_blocks(monkeypatch):
    real, fake = normal(50, 4), normal(40, 4, seed=1)
    whole = precision_recall_density_coverage(real, fake)
    monkeypatch.setattr(neighbours, "ROWS_PER_BLOCK", 7)
    assert precision_recall_density_coverage(real, fake) == whole


def test_manifold_tells_lost_variety_from_poor_images():
    real = normal(300, 4)
    narrow = precision_recall_density_coverage(real, 0.1 * normal(300, 4, seed=1))
    assert narrow.precision > 0.95
    assert narrow.recall < 0.1
    scattered = precision_recall_density_coverage(real, 10 * normal(300, 4, seed=1))
    assert scattered.precision < 0.1
    assert scattered.recall > 0.7
    assert scattered.density < narrow.density


def test_manifold_refuses_neighbours_that_do_not_exist():
    with pytest.raises(LimnerError, match="too few"):
        precision_recall_density_coverage(normal(3, 2), normal(30, 2), k=3)
    with pytest.raises(LimnerError, match="begins at 1"):
        precision_recall_density_coverage(normal(30, 2), normal(30, 2), k=0)


# --- labels ----------------------------------------------------------------


def test_nearest_neighbour_score_is_that_of_naive_loops(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(0, 256, (40, 1, 3, 3), generator=generator).to(torch.uint8)
    test = torch.randint(0, 256, (30, 1, 3, 3), generator=generator).to(torch.uint8)
    train_labels = torch.randint(0, 3, (40,), generator=generator)
    test_labels = torch.randint(0, 3, (30,), generator=generator)
    hits = 0
    for image, label in zip(test.flatten(1).tolist(), test_labels, strict=True):
        gaps = [math.dist(image, other) for other in train.flatten(1).tolist()]
        hits += int(train_labels[gaps.index(min(gaps))] == label)
    monkeypatch.setattr(neighbours, "ROWS_PER_BLOCK", 8)
    found = nearest_neighbour_score(train, train_labels, test, test_labels)
    assert found == hits / 30
    assert 0.1 < found < 0.7


@pytest.mark.usefixtures("unchecked")
def test_nearest_neighbour_score_refuses_sides_that_do_not_fit():
    y = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(LimnerError, match="as many labels"):
        nearest_neighbour_score(torch.zeros(3, 4), y, torch.zeros(2, 4), y)
    with pytest.raises(LimnerError, match="one size"):
        nearest_neighbour_score(torch.zeros(2, 4), y, torch.zeros(2, 5), y)


def test_class_accuracy():
    logits = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 3.0], [0.0, 1.0]])
    assert class_accuracy(logits, torch.tensor([1, 0, 0, 1])) == 0.75


@pytest.mark.usefixtures("unchecked")
def test_class_accuracy_refuses_labels_of_another_number():
    logits = torch.zeros(4, 2)
    with pytest.raises(LimnerError, match="4 rows of logits but 3 labels"):
        class_accuracy(logits, torch.tensor([1, 0, 0]))


# --- Inception score -------------------------------------------------------


def test_inception_score_of_certain_and_of_blind_classifiers():
    certain = torch.eye(4, dtype=torch.float64).repeat(10, 1)  # zeros count for nothing
    assert inception_score(certain, 1) == pytest.approx((4.0, 0.0))
    blind = torch.full((40, 4), 0.25, dtype=torch.float64)
    assert inception_score(blind, 5) == pytest.approx((1.0, 0.0))


def test_inception_score_refuses_what_is_no_probability():
    for rows in (torch.full((20, 4), 0.3), torch.tensor([[1.5, -0.5]]).repeat(20, 1)):
        with pytest.raises(LimnerError, match="probabilities that sum to 1"):
            inception_score(rows)
    for num_splits in (0, 21):
        with pytest.raises(LimnerError, match="give 1 to 20 splits"):
            inception_score(torch.full((20, 4), 0.25), num_splits)
